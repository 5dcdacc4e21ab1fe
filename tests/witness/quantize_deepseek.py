# SPDX-License-Identifier: Apache-2.0
"""DeepGEMM 54e22612 and the inference code of DeepSeek-V3 (9b4e9788)."""

from __future__ import annotations

from fractions import Fraction

from .arithmetic import via_fp32
from .formats import INFINITY, Value
from .quantize_steps import (
    MAX,
    RECIPROCAL,
    Result,
    Tile,
    all_over,
    all_times_reciprocal,
    amax_dropping_nan,
    amax_with_nan,
    at_least,
    exp2_ceil_log2,
    over32,
    power_of_two_above,
    times32,
)

FLOOR = via_fp32(Fraction(1, 10**4))


def _amax(t: Tile) -> Value:
    return at_least(amax_with_nan(t.values), FLOOR)


def cast_to_fp8(t: Tile) -> Result:
    """per_token_cast_to_fp8 and per_block_cast_to_fp8 on a GPU, where torch divides by 448.0 as a product."""
    scale = times32(_amax(t), RECIPROCAL)
    return all_times_reciprocal(t.values, scale), scale


def cast_to_fp8_on_cpu(t: Tile) -> Result:
    """On a CPU torch divides."""
    scale = over32(_amax(t), MAX)
    return all_times_reciprocal(t.values, scale), scale


def _ceil_to_ue8m0(scale: Value) -> Value:
    """The exponent, one more if there is a mantissa, kept within 1 and 254: Inf and NaN have 2**127."""
    if scale != scale or scale == INFINITY:
        return Fraction(2) ** 127
    return power_of_two_above(scale)


def cast_to_ue8m0(t: Tile) -> Result:
    scale = _ceil_to_ue8m0(times32(_amax(t), RECIPROCAL))
    return all_times_reciprocal(t.values, scale), scale


def cast_to_ue8m0_by_log2(t: Tile) -> Result:
    """Before April 2026: pow(2, ceil(log2(amax / 448)))."""
    scale = exp2_ceil_log2(times32(_amax(t), RECIPROCAL))
    return all_times_reciprocal(t.values, scale), scale


def act_quant(t: Tile) -> Result:
    """DeepSeek-V3's Triton kernel, as IEEE division does it."""
    scale = over32(max(amax_dropping_nan(t.values), FLOOR), MAX)
    return all_over(t.values, scale), scale


def act_quant_ue8m0(t: Tile) -> Result:
    scale = exp2_ceil_log2(over32(max(amax_dropping_nan(t.values), FLOOR), MAX))
    return all_over(t.values, scale), scale


GROUP = {
    "deepgemm.group_128": cast_to_fp8,
    "deepgemm.group_128@cpu": cast_to_fp8_on_cpu,
    "deepgemm.group_128_ue8m0": cast_to_ue8m0,
    "deepgemm.group_128_ue8m0@2026-03": cast_to_ue8m0_by_log2,
    "deepseek_v3.group_128": act_quant,
    "deepseek_v3.group_128_ue8m0": act_quant_ue8m0,
}
BLOCK = {
    "deepgemm.block_128x128": cast_to_fp8,
    "deepgemm.block_128x128@cpu": cast_to_fp8_on_cpu,
    "deepgemm.block_128x128_ue8m0": cast_to_ue8m0,
}
