# SPDX-License-Identifier: Apache-2.0
"""FP8 operands of the matrix products, and their accumulators before any scale. spec/scaled_mm.md, step 1"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _tensor_core
from ._args import FLOAT8
from ._exact import round_exact

Codes = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

ACCUMULATORS = ("exact", *_tensor_core.ACCUMULATORS)

# A finite code is an integer times 2**-9 of at most 448 * 2**9. So a product is an integer times 2**-18, and float64
# holds every partial sum of EXACT_K of them, in any order. [MM-EXACT]
UNIT = 18
EXACT_K = 2**53 // (448 * 448 << UNIT)  # 171,196
FINITE = _tensor_core.FINITE.astype(np.float64)


@dataclass(frozen=True)
class Operand:
    """Codes decoded once, for many products: NaN as 0, with the rows that hold NaN."""

    codes: Codes  # (rows, K)
    values: Float64  # (rows, K)
    special: NDArray[np.bool_]  # (rows,), those with codes that are no numbers

    @staticmethod
    def of(codes: Codes) -> Operand:
        """From codes (rows, K), which are kept, not copied."""
        special = ((codes & 0x7F) == 0x7F).any(axis=1)
        return Operand(codes, np.take(FINITE, codes), special)

    def rows(self, part: slice | NDArray[np.bool_]) -> Operand:
        """Some of the rows."""
        return Operand(self.codes[part], self.values[part], self.special[part])

    def columns(self, part: slice) -> Operand:
        """All rows over a part of K."""
        codes = self.codes[:, part]
        return Operand(codes, self.values[:, part], ((codes & 0x7F) == 0x7F).any(axis=1))


def _exact(a: Operand, b: Operand) -> Float32:
    """RN32 of the exact dot products; an exact zero is +0. [MM-EXACT], [MM-ZERO]"""
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


def accumulators(a: Operand, b: Operand, accumulate: str, split_k: int = 1) -> Float32:
    """The float32 accumulators (M, N); NaN where either row holds a NaN code, and never through the BLAS. [MM-NAN]"""
    if accumulate == "exact":
        out = _exact(a, b)
    else:
        out = _tensor_core.accumulate(accumulate, a.codes.view(FLOAT8), b.codes.view(FLOAT8), split_k)
    out[a.special] = np.nan
    out[:, b.special] = np.nan
    return out
