# SPDX-License-Identifier: Apache-2.0
"""A mismatching case made small: where the differences lie, and how large they are. [REPORT-PICTURES]

What is kept does not grow with the arrays, so a report of a large run stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .outcome import HISTOGRAM, HISTOGRAM_LABELS, Array, Outcome, difference, distances

CELLS = 128  # a map has at most so many rows and columns
KEPT = 4  # cases of an op that are drawn
BANDS = 24  # classes of magnitude


@dataclass(frozen=True)
class Picture:
    """One output of a mismatching case, as a matrix: the last dimension across, the others down."""

    case: str
    output: str
    shape: tuple[int, ...]
    differing: int
    cell: tuple[int, int]  # rows and columns of the matrix in one cell of the map
    counts: NDArray[np.int64]  # (rows, columns) of cells: differing elements in each
    magnitudes: tuple[int, ...]  # floor(log2 |expected|) where each band begins; empty for integers
    errors: NDArray[np.int64]  # (bands, classes of distance): differing elements

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return _matrix(self.shape)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    columns = shape[-1] if shape else 1
    return (int(np.prod(shape[:-1], dtype=np.int64)) if columns else 0), columns


def gallery(found: Sequence[Picture]) -> list[Picture]:
    """The few that show most: one of each shape, matrices with many rows and columns first."""
    best: dict[tuple[int, ...], Picture] = {}
    for drawn in found:
        if drawn.shape not in best or drawn.differing > best[drawn.shape].differing:
            best[drawn.shape] = drawn
    return sorted(best.values(), key=lambda p: (min(p.matrix), max(p.matrix)), reverse=True)[:KEPT]


def pictures(case: str, expected: Outcome, got: Outcome) -> list[Picture]:
    """The output with the most differences; none where shapes, types or names differ, or one of them is an error."""
    if expected.error or got.error or list(expected.arrays) != list(got.arrays):
        return []
    pairs = [(x, got.arrays[name]) for name, x in expected.arrays.items()]
    if any((x.shape, x.dtype) != (y.shape, y.dtype) for x, y in pairs):
        return []
    apart = {name: difference(x, got.arrays[name]) for name, x in expected.arrays.items()}
    output = max(apart, key=lambda name: int(np.count_nonzero(apart[name])), default="")
    if not output or not apart[output].any():
        return []
    want, have, different = map(np.atleast_1d, (expected.arrays[output], got.arrays[output], apart[output]))
    cell, counts = reduced(different.reshape(_matrix(want.shape)))
    magnitudes, errors = _errors(want[different], have[different])
    return [Picture(case, output, want.shape, int(counts.sum()), cell, counts, magnitudes, errors)]


def reduced(different: NDArray[np.bool_]) -> tuple[tuple[int, int], NDArray[np.int64]]:
    """The size of a cell, and how many elements differ in each of at most CELLS x CELLS of them.

    Example:
        >>> reduced(np.eye(256, dtype=bool))[1].shape
        (128, 128)
    """
    counts = different.astype(np.int64)
    cell = []
    for axis, size in enumerate(different.shape):
        cell.append(max(1, -(-size // CELLS)))
        counts = np.add.reduceat(counts, np.arange(0, size, cell[axis]), axis=axis)
    return (cell[0], cell[1]), counts


def _errors(want: Array, have: Array) -> tuple[tuple[int, ...], NDArray[np.int64]]:
    """Differing elements by magnitude of what was expected, and by distance."""
    apart = distances(want, have)
    if apart is None:
        return (), np.zeros((0, len(HISTOGRAM_LABELS)), np.int64)
    with np.errstate(invalid="ignore"):
        values = np.abs(want.astype(np.float64))
    usual = np.isfinite(values) & (values > 0)
    if not usual.any():
        return (), np.zeros((0, len(HISTOGRAM_LABELS)), np.int64)
    exponent = np.frexp(values[usual])[1] - 1
    low, high = int(exponent.min()), int(exponent.max())
    width = max(1, -(-(high - low + 1) // BANDS))
    table: Any = np.zeros(((high - low) // width + 1, len(HISTOGRAM_LABELS)), np.int64)
    np.add.at(table, ((exponent - low) // width, np.searchsorted(np.array(HISTOGRAM), apart[usual])), 1)
    return tuple(range(low, high + 1, width)), table
