# SPDX-License-Identifier: Apache-2.0
"""Running a function of the cpu backend in every way that must not change a bit, and of cuda, against golden."""

from __future__ import annotations

import ctypes
import importlib
import itertools
import math
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from bits import assert_same_bits
from fp8ref import _ext
from fp8ref.backends import BACKENDS, backend
from fp8ref.errors import BackendError, OpError
from fp8ref.table import ops

HAS_MXCSR = sys.platform == "linux" and platform.machine() == "x86_64"


def implementation(name: str, function: str) -> Callable[..., Any]:
    """A backend's function, by the module of its own stem only."""
    stem = next(op.stem for op in ops() if function in op.functions)
    return getattr(importlib.import_module(f"{BACKENDS[name]}.{stem}"), function)


def _instruction_sets() -> tuple[str, ...]:
    """The kernels that this machine can run."""
    found, before = [], _ext.isa()
    for name in ("portable", "avx2"):
        try:
            _ext.set_isa(name)
            found.append(name)
        except OpError:
            continue
    _ext.set_isa(before)
    return tuple(found)


INSTRUCTION_SETS = _instruction_sets()


def _cuda_functions() -> tuple[str, ...]:
    """The functions to run on CUDA too: those of the table, where the backend is built and has a device."""
    if os.environ.get("FP8REF_TEST_CUDA") == "off":
        return ()
    try:
        backend("cuda")
    except BackendError:
        return ()
    return tuple(function for op in ops() if "cuda" in op.backends for function in op.functions)


CUDA_FUNCTIONS = _cuda_functions()


EMULATED = bool(CUDA_FUNCTIONS) and importlib.import_module("fp8ref.backends.cuda._device").is_emulated()
EMULATED_WORK = 20_000  # what the SIMT emulator does in some tenths of a second


@contextmanager
def execution(isa: str, threads: int) -> Iterator[None]:
    """Run with these kernels and so many threads."""
    isa_before, threads_before = _ext.isa(), _ext.threads()
    _ext.set_isa(isa)
    _ext.set_threads(threads)
    try:
        yield
    finally:
        _ext.set_isa(isa_before)
        _ext.set_threads(threads_before)


def _environment(libm: Any) -> Any:
    """glibc's fenv_t of x86-64: 28 bytes of the x87, then MXCSR."""
    words = (ctypes.c_uint32 * 8)()
    assert libm.fegetenv(words) == 0
    return words


@contextmanager
def hostile_environment() -> Iterator[None]:
    """Round upward and flush subnormals on this thread; afterwards check that nobody has changed that."""
    libm = ctypes.CDLL("libm.so.6")
    before, hostile = _environment(libm), _environment(libm)
    hostile[0] = hostile[0] & ~0x0C00 | 0x0800  # x87: round upward
    hostile[7] = hostile[7] & ~0x6000 | 0x4000 | 0x8040  # MXCSR: round upward, flush to zero, denormals are zero
    assert libm.fesetenv(hostile) == 0
    try:
        yield
    finally:
        after = _environment(libm)
        assert libm.fesetenv(before) == 0
    control = 0xFFC0  # MXCSR without the exception flags, which Python's own arithmetic may set
    assert (after[7] & control, after[0] & 0x0F3F) == (hostile[7] & control, hostile[0] & 0x0F3F)


def _own(named: dict[str, Any]) -> dict[str, Any]:
    """Arguments for one call: an array that is written in place is a copy, for the next call wants it as it was."""
    return {name: value.copy() if name == "out" and value is not None else value for name, value in named.items()}


def _work(arguments: Iterable[Any]) -> int:
    """About how many steps a call takes: elements, or for two matrices of one depth, products."""
    shapes = [x.shape for x in arguments if isinstance(x, np.ndarray)]
    elements = sum(math.prod(shape) for shape in shapes)
    if len(shapes) > 1 and min(len(shapes[0]), len(shapes[1])) >= 2 and shapes[0][-1] == shapes[1][-1]:
        return elements + math.prod(shapes[0][:-1]) * math.prod(shapes[1])
    return elements


def _runs_on_cuda(function: str, values: Iterable[Any]) -> bool:
    """Every call on a device; on the emulator the small ones, unless all are asked for."""
    if function not in CUDA_FUNCTIONS:
        return False
    return not EMULATED or os.environ.get("FP8REF_TEST_CUDA") == "all" or _work(values) <= EMULATED_WORK


def assert_everywhere(function: str, *arguments: Any, **named: Any) -> None:
    """cpu gives golden's bits with every instruction set, with 1 and 2 threads, and in a hostile environment; and cuda
    does where there is a device."""
    expected = implementation("golden", function)(*arguments, **_own(named))
    compiled = implementation("cpu", function)
    for isa, threads in itertools.product(INSTRUCTION_SETS, (1, 2)):
        with execution(isa, threads):
            assert_same_bits(compiled(*arguments, **_own(named)), expected, f"{function}, {isa}, {threads} threads")
    if HAS_MXCSR:
        with execution(INSTRUCTION_SETS[-1], 2):
            with hostile_environment():
                actual = compiled(*arguments, **_own(named))
            assert_same_bits(actual, expected, f"{function}, hostile environment")
    if _runs_on_cuda(function, [*arguments, *named.values()]):
        with hostile_environment() if HAS_MXCSR else nullcontext():
            actual = implementation("cuda", function)(*arguments, **_own(named))
        assert_same_bits(actual, expected, f"{function}, cuda, hostile environment")
