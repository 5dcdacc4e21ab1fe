# SPDX-License-Identifier: Apache-2.0
"""What an implementation made of a case, and where two outcomes differ.

NaNs are equal whatever their bits; everything else must have the same bits, so -0 is not +0. [NAN-CANONICAL]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compare import ulp
from ..compare._bits import difference as difference

Array = NDArray[Any]
Arrays = dict[str, Array]
# Upper ends of the classes of a histogram of distances in ulp; the last class is what no distance says (NaN, integers).
HISTOGRAM = (1, 2, 4, 16, 256, 65536, 2**63 - 2)
HISTOGRAM_LABELS = ("1", "2", "3-4", "5-16", "17-256", "257-65536", "more", "special")


@dataclass(frozen=True)
class Outcome:
    """Named arrays; or the name of the error that was raised; or why the implementation does not do this.

    ``message`` is the text of the error.
    """

    arrays: Arrays = field(default_factory=dict)
    error: str = ""
    message: str = ""
    unsupported: str = ""


@dataclass(frozen=True)
class Mismatch:
    """The first difference of a case: where, both bit patterns in hexadecimal, and how the differences are spread."""

    case: str
    output: str
    index: tuple[int, ...]
    expected: str
    got: str
    differing: int
    size: int = 0  # elements of the case
    ulp: int | None = None  # from expected to got at that place; None where no distance exists
    operands: tuple[str, ...] = ()  # what was computed there, for people
    histogram: tuple[int, ...] = ()  # differing elements by distance, see HISTOGRAM


def bits(value: Array) -> str:
    """``0x3f80 (1)``: the bits of one element, and its value."""
    scalar = value.item() if value.dtype.kind in "iu" else float(value)
    word = int(np.ascontiguousarray(value).view(f"u{value.dtype.itemsize}").item())
    return f"0x{word:0{2 * value.dtype.itemsize}x} ({scalar:g})"


def distances(expected: Array, got: Array) -> NDArray[np.int64] | None:
    """Distances in ulp, or None for types that have none; a NaN is 2**63 - 1 from a number."""
    return None if expected.dtype.kind in "biu" or expected.dtype == np.float64 else ulp(got, expected)


def _histogram(expected: Array, got: Array, different: NDArray[np.bool_]) -> NDArray[np.int64]:
    apart = distances(expected, got)
    if apart is None:
        return np.bincount([len(HISTOGRAM)], [np.count_nonzero(different)], len(HISTOGRAM_LABELS)).astype(np.int64)
    # Zeros of different signs are 0 ulp apart and differ all the same.
    classes = np.searchsorted(np.array(HISTOGRAM), np.atleast_1d(apart)[np.atleast_1d(different)])
    return np.bincount(classes, minlength=len(HISTOGRAM_LABELS)).astype(np.int64)


def _without_arrays(case: str, expected: Outcome, got: Outcome) -> Mismatch | None:
    """A difference of errors or of the outputs' names."""
    if expected.error or got.error:
        have = f"{got.error}: {got.message}" if got.message else got.error
        return Mismatch(case, "error", (), expected.error or "a result", have or "a result", 1)
    missing = sorted(set(expected.arrays) ^ set(got.arrays)) or ["another order"]
    return Mismatch(case, "outputs", (), str(len(expected.arrays)), f"{len(got.arrays)}: {missing[0]}", 1)


def compare(case: str, expected: Outcome, got: Outcome) -> Mismatch | None:
    """The first difference of two outcomes in order of outputs and coordinates, or None."""
    if expected.error and expected.error == got.error:
        return None
    if expected.error or got.error or list(expected.arrays) != list(got.arrays):
        return _without_arrays(case, expected, got)
    first: tuple[str, tuple[int, ...]] | None = None
    spread = np.zeros(len(HISTOGRAM_LABELS), np.int64)
    for name, want in expected.arrays.items():
        have = got.arrays[name]
        if want.shape != have.shape or want.dtype != have.dtype:
            kinds = [f"{x.dtype.name}{x.shape}" for x in (want, have)]
            return Mismatch(case, name, (), kinds[0], kinds[1], max(want.size, 1))
        different = difference(want, have)
        if different.any():
            spread += _histogram(want, have, different)
            if first is None:
                first = name, tuple(int(i) for i in np.argwhere(different)[0]) if want.ndim else ()
    if first is None:
        return None
    name, index = first
    want, have = expected.arrays[name][index], got.arrays[name][index]
    apart = distances(np.asarray(want), np.asarray(have))
    return Mismatch(
        case,
        name,
        index,
        bits(want),
        bits(have),
        int(spread.sum()),
        sum(array.size for array in expected.arrays.values()),
        None if apart is None or int(apart) == 2**63 - 1 else int(apart),
        histogram=tuple(spread.tolist()),
    )
