# SPDX-License-Identifier: Apache-2.0
"""transformers 5.23.0 (Fp8Quantize of the finegrained FP8 weights) and 4.57.1 (the Triton act_quant)."""

from __future__ import annotations

from fractions import Fraction

from .formats import INFINITY, NAN, Value
from .quantize_steps import (
    MAX,
    ONE,
    Result,
    Tile,
    all_over,
    all_times,
    amax_dropping_nan,
    amax_with_nan,
    exp2_ceil_log2,
    over32,
    times32,
)

TINY = Fraction(1, 2**126)


def _multiplier(t: Tile) -> Value:
    """448.0 / amax in two roundings; a block whose amax is not above zero, or is NaN, has 1."""
    amax = amax_with_nan(t.values)
    return times32(over32(ONE, amax), MAX) if amax > 0 else ONE


def block_128x128(t: Tile) -> Result:
    multiplier = _multiplier(t)
    return all_times(t.values, multiplier), over32(ONE, multiplier)


def block_128x128_ue8m0(t: Tile) -> Result:
    """The stored scale is rounded up to a float8_e8m0fnu, which has no infinity, and x goes by its reciprocal."""
    scale = exp2_ceil_log2(max(over32(ONE, _multiplier(t)), TINY))
    if scale == INFINITY:
        scale = NAN
    return all_times(t.values, over32(ONE, scale)), scale


def act_quant(t: Tile) -> Result:
    """Of 4.57: no floor at all, as IEEE division does it."""
    scale = over32(amax_dropping_nan(t.values), MAX)
    return all_over(t.values, scale), scale


GROUP = {"transformers.group_128@4.57": act_quant}
BLOCK = {"transformers.block_128x128": block_128x128, "transformers.block_128x128_ue8m0": block_128x128_ue8m0}
