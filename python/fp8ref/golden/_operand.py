# SPDX-License-Identifier: Apache-2.0
"""FP8 operands of the matrix products, and their accumulators before any scale. spec/scaled_mm.md, step 1"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _tensor_core
from ._args import E5M2, FLOAT8, Array
from ._exact import certify, dots, exact_dot, exact_pairs, prepare, round_exact
from ._round import round_to

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

ACCUMULATORS = ("exact", *_tensor_core.ACCUMULATORS)

# A finite E4M3 code is an integer times 2**-9 of at most 448 * 2**9. So a product is an integer times 2**-18, and
# float64 holds every partial sum of EXACT_K of them, in any order. [MM-EXACT]
UNIT = 18
EXACT_K = 2**53 // (448 * 448 << UNIT)  # 171,196
FINITE = {dtype: _tensor_core.tables(dtype)[0].astype(np.float64) for dtype in (FLOAT8, E5M2)}
NO_NUMBERS = {FLOAT8: 0x7F, E5M2: 0x7C}  # codes from here on, without the sign


@dataclass(frozen=True)
class Operand:
    """Codes decoded once, for many products: what is no number as 0, with the rows that hold such codes."""

    codes: Array  # (rows, K), float8_e4m3fn or float8_e5m2
    values: Float64  # (rows, K)
    special: NDArray[np.bool_]  # (rows,), those with codes that are no numbers

    @staticmethod
    def of(codes: Array) -> Operand:
        """From codes (rows, K), which are kept, not copied."""
        return Operand(codes, np.take(FINITE[codes.dtype], codes.view(np.uint8)), _special_rows(codes))

    def rows(self, part: slice | NDArray[np.bool_]) -> Operand:
        """Some of the rows."""
        return Operand(self.codes[part], self.values[part], self.special[part])

    def columns(self, part: slice) -> Operand:
        """All rows over a part of K."""
        codes = self.codes[:, part]
        return Operand(codes, self.values[:, part], _special_rows(codes))

    def true(self) -> Float64:
        """(rows, K), infinities and NaNs as they are."""
        return np.asarray(self.codes.astype(np.float64))


def _special_rows(codes: Array) -> NDArray[np.bool_]:
    return np.asarray(((codes.view(np.uint8) & 0x7F) >= NO_NUMBERS[codes.dtype]).any(axis=1))


def _exact(a: Operand, b: Operand) -> Float32:
    """RN32 of the exact dot products of E4M3 codes; an exact zero is +0. [MM-EXACT], [MM-ZERO]"""
    k = a.codes.shape[1]
    if k <= EXACT_K:
        return (a.values @ b.values.T + 0.0).astype(np.float32)  # the product is exact: this is the only rounding
    total = np.zeros((a.codes.shape[0], b.codes.shape[0]), object)
    for start in range(0, k, EXACT_K):
        part = slice(start, start + EXACT_K)
        units = np.ldexp(a.values[:, part] @ b.values[:, part].T, UNIT)
        total += units.astype(np.int64).astype(object)  # Python integers: no limit to K
    rounded = [round_exact(units, -UNIT, "float32") for units in total.ravel().tolist()]
    return np.array(rounded, np.float32).reshape(total.shape)


def _certified(a: Operand, b: Operand) -> Float32:
    """The same with E5M2 codes: their products span 64 bits, too many for a float64 sum. [MM-EXACT-E5M2]"""
    left, right = prepare(a.values), prepare(b.values)
    sums, error = dots(left, right)
    out, certain = certify(sums - error, sums + error, lambda s: round_to(s, "float32"))
    i, j = np.nonzero(~certain)
    exact = exact_pairs(left, right, i, j)
    out[i[exact], j[exact]] = round_to(sums[i[exact], j[exact]], "float32")
    for row, column in zip(i[~exact].tolist(), j[~exact].tolist(), strict=True):
        out[row, column] = round_exact(*exact_dot(a.values[row], b.values[column]), "float32")
    return out


def _with_specials(out: Float32, a: Operand, b: Operand) -> Float32:
    """Rows and columns with codes that are no numbers: the IEEE sum, and never through the BLAS. [SUM-SPECIAL]

    Such a code makes a term of every sum of its row infinite or NaN, so IEEE addition gives the same in any order;
    the finite terms stay far below float64's limits. All that E4M3 can make of it is NaN. [MM-NAN]
    """
    if a.codes.dtype == b.codes.dtype == FLOAT8:
        out[a.special] = np.nan
        out[:, b.special] = np.nan
        return out
    for side, other, target in ((a, b, out), (b, a, out.T)):
        others = other.true() if side.special.any() else other.values
        for index in np.flatnonzero(side.special):
            target[index] = (side.codes[index].astype(np.float64) * others).sum(axis=1)
    return out


def accumulators(a: Operand, b: Operand, accumulate: str, split_k: int = 1) -> Float32:
    """The float32 accumulators (M, N), infinities and NaNs included: exact, or those of a tensor core. [MM-UNIT]"""
    if accumulate != "exact":
        return _tensor_core.accumulate(accumulate, a.codes, b.codes, split_k)
    exact = _exact if a.codes.dtype == b.codes.dtype == FLOAT8 else _certified
    with np.errstate(invalid="ignore"):
        return _with_specials(exact(a, b), a, b)
