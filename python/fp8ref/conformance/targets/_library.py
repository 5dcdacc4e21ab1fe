# SPDX-License-Identifier: Apache-2.0
"""C libraries as targets: a shared library with functions of fp8ref.h, in a process of its own. spec/c_abi.md"""

from __future__ import annotations

import functools
import inspect
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends import backend
from ...golden._args import SCALING
from ...golden._foreign import as_array
from ..outcome import Array, Outcome
from . import _library_worker
from ._outputs import dtype_of, outputs_of
from ._target import OUTPUTS, Target, TargetError

ABI_VERSION = 2
TIMEOUT = 60.0  # seconds for one call
GRACE = 5.0  # seconds for a process to end
GIVEN_UP = 3  # calls of a function that got no answer; after them it is called no more
FILLS = (0xA5, 0x5A)  # outputs hold such bytes before a call; the second tells a value from what was never written
INTEGERS = ("positions", "experts", "order")  # arguments of integers that may have another type
RUN = 4  # so many elements in a row that are still as they were are suspicious
# fp8ref_dtype of fp8ref.h.
DTYPES = {
    "float32": 1, "float64": 2, "float16": 3, "bfloat16": 4, "float8_e4m3fn": 5, "float8_e5m2": 6,
    "float8_e8m0fnu": 7, "int32": 8, "int64": 9,
}  # fmt: skip
OK, UNSUPPORTED, INVALID_ARGUMENT = 0, 1, 2
STATUSES = {3: "FP8REF_ERROR"}

Passed = tuple[Any, ...]  # a kind, the argument's name, and the value


class LibraryTarget(Target):
    """A library loaded by path; each call is made in another process, which is replaced if it dies or hangs.

    Example:
        >>> with LibraryTarget.load("libx.so") as target:  # doctest: +SKIP
        ...     target.functions()
        ('scaled_mm',)
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self.name = path.name
        self._path, self._timeout = path, timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._threads: int | None = None
        self._silent: Counter[str] = Counter()
        self._about = self._start()

    @staticmethod
    def load(path: str | os.PathLike[str], functions: tuple[str, ...] = (), timeout: float = TIMEOUT) -> LibraryTarget:
        """Open a shared library. [ABI-OPTIONAL] [ABI-VERSION]

        Args:
            path: of the library.
            functions: those to be checked, of which it must have one; none means any.
            timeout: seconds that one call may take.

        Raises:
            TargetError: no such file, it cannot be loaded, it has none of the functions, or is of another ABI version.
        """
        file = Path(path).absolute()
        if not file.is_file():
            raise TargetError(f"library {os.fspath(path)}: no such file")
        target = LibraryTarget(file, timeout)
        abi, missing = target._about["abi"], functions or tuple(OUTPUTS)
        if abi == ABI_VERSION and set(missing) & set(target.functions()):
            return target
        target.close()
        if abi != ABI_VERSION:
            raise TargetError(f"library {file}: its fp8ref.h is of ABI version {abi}, this is version {ABI_VERSION}")
        raise TargetError(f"library {file} has none of these: {', '.join(f'fp8ref_{name}' for name in missing)}")

    # ---- the process -------------------------------------------------------------------------------------------------

    def _start(self) -> dict[str, Any]:
        """A new process with the library; what it says of it."""
        self._connection, theirs = Pipe()
        command = [sys.executable, "-P", _library_worker.__file__, str(theirs.fileno()), str(self._path)]
        # Nothing that a library prints may come between a report's lines on stdout.
        self._process = subprocess.Popen(
            command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=2, start_new_session=True
        )
        theirs.close()
        about = self._exchange(tuple(OUTPUTS))
        if isinstance(about, Outcome):
            raise TargetError(f"library {self._path}: while it was loaded: {about.message}")
        if "failed" in about:
            self.close()
            raise TargetError(f"library {self._path} cannot be loaded: {about['failed']}")
        found: dict[str, Any] = about
        return found

    def _exchange(self, message: Any) -> Any:
        """The answer, or the outcome of a process that gives none, which is then gone."""
        assert self._connection is not None
        assert self._process is not None
        try:
            self._connection.send(message)
            if self._connection.poll(self._timeout):
                return self._connection.recv()
            failure = Outcome(error="timeout", message=f"no answer within {self._timeout:g} s")
        except (EOFError, OSError):
            failure = Outcome(error="crash", message=f"the library {_ended(self._process)}")
        self.close()
        return failure

    def _asked(self, message: Any) -> Any:
        """As :meth:`_exchange`, in a new process if there is none."""
        if self._process is None:
            try:
                self._start()
                if self._threads is not None:
                    self._exchange(("threads", self._threads))
            except TargetError as error:
                return Outcome(error="crash", message=str(error))
        return self._exchange(message)

    def close(self) -> None:
        """As :meth:`Target.close`."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._connection = self._process = None

    # ---- calls -------------------------------------------------------------------------------------------------------

    def functions(self) -> tuple[str, ...]:
        """As :meth:`Target.functions`."""
        found: tuple[str, ...] = self._about["functions"]
        return found

    def call(self, function: str, arguments: Mapping[str, Any], implied: frozenset[str] = frozenset()) -> Outcome:
        """As :meth:`Target.call`; all arguments are always passed."""
        if self._silent[function] >= GIVEN_UP:
            return Outcome(error="timeout", message=f"not called: no answer {GIVEN_UP} times before")
        try:
            inputs = [_passed(function, *item, arguments) for item in parameters(function).items()]
            outputs = outputs_of(function, arguments)
            made = [{n: _initial(function, *spec, arguments, fill) for n, spec in outputs.items()} for fill in FILLS]
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            return Outcome(unsupported=f"the C ABI has no such arguments: {error}")
        first = self._once(function, inputs, made[0])
        kept = {name: _as_filled(array, FILLS[0]) for name, array in first.arrays.items()}
        if first.error or not any(map(_suspicious, kept.values())):
            return first
        for name, array in self._once(function, inputs, made[1]).arrays.items():
            never = kept[name] & _as_filled(array, FILLS[1])
            if never.any():
                where = tuple(int(i) for i in np.argwhere(never)[0])
                text = f"{np.count_nonzero(never)} of {never.size} elements of {name}, the first at {where}"
                return Outcome(first.arrays, "not written", text)
        return first

    def _once(self, function: str, inputs: list[Passed], made: Mapping[str, Array]) -> Outcome:
        """One call, with these outputs to write to."""
        names = output_names(function)
        tensors = [("output", *_tensor(names[name], array)) for name, array in made.items()]
        answer = self._asked(("call", function, [*inputs, *tensors]))
        if isinstance(answer, Outcome):
            self._silent[function] += answer.error == "timeout"
            return answer
        return _outcome(answer, {names[name]: (name, array) for name, array in made.items()})

    def set_threads(self, threads: int) -> str:
        """As :meth:`Target.set_threads`."""
        answer = self._asked(("threads", threads))
        reason: str = answer.message if isinstance(answer, Outcome) else answer
        self._threads = threads if not reason else self._threads
        return reason

    def facts(self) -> dict[str, str]:
        """As :meth:`Target.facts`."""
        version = self._about["version"]
        return {"abi": str(self._about["abi"]), **({"version": version} if version else {})}


def _ended(process: subprocess.Popen[bytes]) -> str:
    """How a process came to its end."""
    try:
        code = process.wait(GRACE)
    except subprocess.TimeoutExpired:  # it has only closed its end
        process.kill()
        code = process.wait()
    if code >= 0:
        return f"ended the process (exit code {code})"
    return f"crashed (signal {-code}, {signal.Signals(-code).name})"


# ---- arguments -------------------------------------------------------------------------------------------------------


@functools.cache
def parameters(function: str) -> dict[str, inspect.Parameter]:
    """The arguments of the C function that are no outputs: those of golden but ``out`` and its type. [ABI-ARGUMENTS]"""
    found = inspect.signature(getattr(backend("golden"), function)).parameters
    return {name: parameter for name, parameter in found.items() if name not in ("out", "out_dtype")}


@functools.cache
def output_names(function: str) -> dict[str, str]:
    """The names of results, and what the C function calls them: an argument may have the name already."""
    return {name: f"{name}_out" if name in parameters(function) else name for name in OUTPUTS[function]}


def _tensor(name: str, array: Array) -> Passed:
    return (name, DTYPES[array.dtype.name], array.shape, np.ascontiguousarray(array).tobytes())


def _array(function: str, name: str, value: Any) -> Array:
    """An argument in a type that the ABI has for it, with the same values. [ABI-TYPES]"""
    array = as_array(value)
    if array.dtype == np.uint8:
        return array.view(dtype_of("float8_e4m3fn"))
    if name in INTEGERS and (array.dtype.kind in "iu" or not array.size):
        return array.astype(np.int64)
    if name != "offsets" and array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if function == "encode" or array.dtype != np.float64 or array.ndim:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = np.asarray(array.astype(np.float32))
    return narrow if np.isnan(array) or float(narrow) == float(array) else array


def _scaling(value: Mapping[str, float]) -> Passed:
    return ("numbers", "", *(float(value[key]) for key in SCALING))


# The annotation of a golden argument says what it is; None is NULL.
KINDS: dict[str, Callable[[Any], Passed]] = {
    "str": lambda value: ("text", "", value.encode()),
    "int": lambda value: ("integer", "", int(value)),
    "float": lambda value: ("number", "", float(value)),
    "float | None": lambda value: ("numbers", "", float(value)),
    "int | None": lambda value: ("integers", "", int(value)),
    "str | None": lambda value: ("text", "", value.encode()),
    "Mapping[str, float] | None": _scaling,
}


def _passed(function: str, name: str, parameter: inspect.Parameter, arguments: Mapping[str, Any]) -> Passed:
    value = arguments.get(name, parameter.default)
    if value is None:
        return ("null", "")
    if parameter.annotation == "Any":
        return ("input", *_tensor(name, _array(function, name, value)))
    return KINDS[parameter.annotation](value)


# ---- results ---------------------------------------------------------------------------------------------------------


def _initial(
    function: str, shape: tuple[int, ...], dtype: np.dtype[Any], arguments: Mapping[str, Any], fill: int
) -> Array:
    """An output before the call: bytes ``fill``, and in rows of no expert what must stay there. [ABI-ROWS]"""
    array = np.frombuffer(bytearray([fill]) * (int(np.prod(shape, dtype=np.int64)) * dtype.itemsize), dtype)
    array = array.reshape(shape)
    if function == "grouped_mm":
        offsets, out = as_array(arguments["offsets"]), arguments.get("out")
        if out is not None and (out.shape != shape or out.dtype != dtype):
            raise ValueError(f"out of shape {out.shape}, dtype {out.dtype.name}")
        for rows in (slice(0, int(offsets[0])), slice(int(offsets[-1]), None)):
            array[rows] = np.zeros((), dtype) if out is None else out[rows]
    return array


def _as_filled(array: Array, fill: int) -> NDArray[np.bool_]:
    """Where an array holds nothing but bytes ``fill``."""
    word = int.from_bytes(bytes([fill]) * array.dtype.itemsize, "little")
    return np.asarray(np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}") == word).reshape(array.shape)


def _suspicious(filled: NDArray[np.bool_]) -> bool:
    """Several such elements in a row."""
    flat = filled.reshape(-1)
    run = min(RUN, flat.size)
    if not run:
        return False
    return bool(np.all([flat[i : flat.size - run + 1 + i] for i in range(run)], axis=0).any())


def _outcome(answer: Mapping[str, Any], made: Mapping[str, tuple[str, Array]]) -> Outcome:
    """What a call's status and memory say. [ABI-STATUS] [ABI-MEMORY]"""
    status, text = answer["status"], answer["text"]
    if answer["damage"]:
        return Outcome(error="out of bounds", message="; ".join(answer["damage"]))
    if answer["changed"]:
        return Outcome(error="input changed", message=", ".join(answer["changed"]))
    if status == UNSUPPORTED:
        return Outcome(unsupported=text or "FP8REF_UNSUPPORTED")
    if status == INVALID_ARGUMENT:
        return Outcome(error="OpError", message=text)
    if status != OK:
        return Outcome(error=STATUSES.get(status, f"status {status}"), message=text)
    data = answer["outputs"]
    return Outcome({name: np.frombuffer(data[key], x.dtype).reshape(x.shape) for key, (name, x) in made.items()})
