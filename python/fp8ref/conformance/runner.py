# SPDX-License-Identifier: Apache-2.0
"""Runs the cases on the golden model and on a backend and compares every bit.

NaNs are equal whatever their bits; everything else must have the same bits, so -0 is not +0. [NAN-CANONICAL] Where the
golden raises OpError the backend must raise it too.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import Backend, backend
from ..errors import OpError
from ..table import ops
from .cases import Case, ModelCase, cases_of

Array = NDArray[Any]
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Outcome:
    """What one implementation made of a case: named arrays, or the error it raised."""

    arrays: Arrays = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Mismatch:
    """The first difference of a case: where, and both bit patterns in hexadecimal."""

    case: str
    output: str
    index: tuple[int, ...]
    expected: str
    got: str
    differing: int


@dataclass
class OpResult:
    """The totals of one op."""

    op: str
    cases: int = 0
    elements: int = 0
    differing: int = 0
    seconds: float = 0.0
    backend_seconds: float = 0.0
    mismatches: list[Mismatch] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """No case of the op differs in any way."""
        return not self.mismatches


@dataclass(frozen=True)
class Report:
    """One run of the suite."""

    backend: str
    level: str
    results: tuple[OpResult, ...]

    @property
    def equal(self) -> bool:
        """Every op is equal."""
        return all(result.equal for result in self.results)


def stems(subject: str) -> tuple[str, ...]:
    """The ops that a backend implements, in the table's order."""
    return tuple(op.stem for op in ops() if subject in op.backends)


def run_case(case: Case | ModelCase, implementation: Backend) -> Outcome:
    """Call the implementation; an OpError is an outcome, any other exception is not caught."""
    if isinstance(case, ModelCase):
        return Outcome(_trace(case, implementation.name))
    arguments = dict(case.arguments)
    if "out" in arguments:  # written in place: each call gets its own
        arguments["out"] = np.array(arguments["out"])
    try:
        result = getattr(implementation, case.function)(**arguments)
    except OpError as error:
        return Outcome(error=type(error).__name__)
    outputs = result if isinstance(result, tuple) else (result,)
    return Outcome({f"output {i}": np.asarray(output) for i, output in enumerate(outputs)})


def _trace(case: ModelCase, name: str) -> Arrays:
    """Write the model to a temporary checkpoint, feed the tokens in chunks and keep every traced value."""
    from ..checkpoint import write_checkpoint
    from ..model import load

    with tempfile.TemporaryDirectory(prefix="fp8ref-") as folder:
        write_checkpoint(folder, case.config, case.tensors)
        model = load(folder, backend=name, accumulate=case.accumulate)
        values: Arrays = {}
        for start in range(0, len(case.tokens), case.cut):
            chunk = case.tokens[start : start + case.cut]

            def keep(key: str, value: Array, start: int = start) -> None:
                values[f"token {start}: {key}"] = np.array(value)

            model.forward(chunk, trace=keep)
        return values


def difference(expected: Array, got: Array) -> NDArray[np.bool_]:
    """True where two arrays of one shape and type differ in bits and are not both NaN."""
    kind = np.dtype(f"u{expected.dtype.itemsize}")
    different = np.ascontiguousarray(expected).view(kind) != np.ascontiguousarray(got).view(kind)
    if expected.dtype.kind not in "biu":
        with np.errstate(invalid="ignore"):  # ml_dtypes flags signalling NaNs
            different &= ~(np.isnan(expected) & np.isnan(got))
    return np.asarray(different)


def _bits(value: Array) -> str:
    scalar = value.item() if value.dtype.kind in "iu" else float(value)
    bits = int(np.ascontiguousarray(value).view(f"u{value.dtype.itemsize}").item())
    return f"0x{bits:0{2 * value.dtype.itemsize}x} ({scalar:g})"


def compare(case: str, expected: Outcome, got: Outcome) -> Mismatch | None:
    """The first difference of two outcomes in order of outputs and coordinates, or None."""
    if expected.error or got.error:
        if expected.error == got.error:
            return None
        return Mismatch(case, "error", (), expected.error or "a result", got.error or "a result", 1)
    if list(expected.arrays) != list(got.arrays):
        missing = sorted(set(expected.arrays) ^ set(got.arrays)) or ["another order"]
        return Mismatch(case, "outputs", (), str(len(expected.arrays)), f"{len(got.arrays)}: {missing[0]}", 1)
    first: Mismatch | None = None
    total = 0
    for name, want in expected.arrays.items():
        have = got.arrays[name]
        if want.shape != have.shape or want.dtype != have.dtype:
            kinds = [f"{x.dtype.name}{x.shape}" for x in (want, have)]
            return Mismatch(case, name, (), kinds[0], kinds[1], max(want.size, 1))
        different = difference(want, have)
        count = int(np.count_nonzero(different))
        total += count
        if count and first is None:
            index = tuple(int(i) for i in np.argwhere(different)[0]) if want.ndim else ()
            first = Mismatch(case, name, index, _bits(want[index]), _bits(have[index]), 0)
    if first is None:
        return None
    return Mismatch(first.case, first.output, first.index, first.expected, first.got, total)


Runner = Callable[[Case | ModelCase], Outcome]


def check_op(stem: str, cases: Iterable[Case | ModelCase], golden: Runner, subject: Runner) -> OpResult:
    """Run both on every case of an op. ``golden`` and ``subject`` turn a case into its outcome."""
    result = OpResult(stem)
    for case in cases:
        start = time.perf_counter()
        expected = golden(case)
        middle = time.perf_counter()
        got = subject(case)
        result.backend_seconds += time.perf_counter() - middle
        result.seconds += time.perf_counter() - start
        result.cases += 1
        result.elements += sum(array.size for array in expected.arrays.values())
        mismatch = compare(case.name, expected, got)
        if mismatch is not None:
            result.differing += mismatch.differing
            result.mismatches.append(mismatch)
    return result


def check(
    subject: str, selected: Sequence[str] = (), level: str = "quick", on_op: Callable[[OpResult], None] | None = None
) -> Report:
    """Golden against a backend, bit for bit.

    Args:
        subject: the backend's name, ``cpu``; ``golden`` compares the golden model with itself.
        selected: stems of spec/ops.toml; none means all that the backend has.
        level: ``quick`` (under a minute) or ``full``.
        on_op: called after each op, for progress.

    Raises:
        BackendError: the backend is unknown or not installed.
        ValueError: an unknown op or level.

    Example:
        >>> check("golden", ["residual"]).equal
        True
    """
    implementation, reference = backend(subject), backend("golden")
    known = stems(subject)
    for stem in selected:
        if stem not in known:
            raise ValueError(f"unknown op {stem!r}; known: {', '.join(known)}")
    results = []
    for stem in selected or known:
        result = check_op(
            stem,
            cases_of(stem, level),
            lambda case: run_case(case, reference),
            lambda case: run_case(case, implementation),
        )
        results.append(result)
        if on_op is not None:
            on_op(result)
    return Report(subject, level, tuple(results))
