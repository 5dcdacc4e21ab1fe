# SPDX-License-Identifier: Apache-2.0
"""FBGEMM 71d6f8b2: the CUDA operators, the Triton kernel as IEEE division does it, and the torch fallback."""

from __future__ import annotations

from fractions import Fraction

from .arithmetic import rounded, via_fp32
from .formats import INFINITY
from .quantize_steps import (
    MAX,
    MIN_SCALE,
    ONE,
    Result,
    Tile,
    all_over,
    all_times,
    amax_dropping_nan,
    amax_with_nan,
    at_least,
    at_most,
    over32,
    times32,
)

EPS = Fraction(1, 10**12)


def cuda(t: Tile) -> Result:
    """quantize_fp8_per_row and the per-tensor operator: bound on amax, floor on the scale, a true division."""
    scale = max(over32(at_most(amax_dropping_nan(t.values), t.upper), MAX), MIN_SCALE)
    return all_over(t.values, scale), scale


def triton(t: Tile) -> Result:
    """The multiplier 448 / amax is one division; its reciprocal is stored."""
    multiplier = over32(MAX, at_most(max(amax_dropping_nan(t.values), via_fp32(EPS)), t.upper))
    return all_times(t.values, multiplier), over32(ONE, multiplier)


def torch(t: Tile) -> Result:
    """The fallback: torch clamps amax in the type of x and divides 448.0 by a tensor in two roundings."""
    amax = at_least(amax_with_nan(t.values), rounded(t.fmt, EPS))
    if t.upper is not None:
        amax = at_most(amax, rounded(t.fmt, t.upper))
    multiplier = times32(over32(ONE, amax), MAX)
    if multiplier == INFINITY:
        multiplier = ONE
    return all_times(t.values, multiplier), over32(ONE, multiplier)


ROW = {"fbgemm.per_row": cuda, "fbgemm.per_row_triton": triton, "fbgemm.per_row_torch": torch}
TENSOR = {"fbgemm.per_tensor": cuda}
