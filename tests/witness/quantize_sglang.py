# SPDX-License-Identifier: Apache-2.0
"""SGLang 0.5.10.post1."""

from __future__ import annotations

from fractions import Fraction

from .arithmetic import via_fp32
from .formats import Value
from .quantize_steps import (
    MAX,
    ONE,
    RECIPROCAL,
    Result,
    Tile,
    all_over,
    all_times,
    all_times_reciprocal,
    amax_dropping_nan,
    amax_with_nan,
    at_least,
    exp2_ceil_log2,
    nan_to_max,
    nan_to_min,
    over32,
    power_of_two_above,
    times32,
)

GROUP_EPS = via_fp32(Fraction(1, 10**10))
TENSOR_FLOOR = via_fp32(Fraction(1, 10**12))


def _token_scale(t: Tile) -> Value:
    return over32(amax_dropping_nan(t.values), MAX)


def per_token(t: Tile) -> Result:
    """sgl_per_token_quant_fp8 for small batches: no floor and no guard, so zeros over a scale of 0 become 448."""
    scale = _token_scale(t)
    return nan_to_max(all_times_reciprocal(t.values, scale)), scale


def per_token_large_batch(t: Tile) -> Result:
    """The kernel for large batches takes 0 for the reciprocal of 0."""
    scale = _token_scale(t)
    reciprocal = Fraction(0) if scale == 0 else over32(ONE, scale)
    return nan_to_max(all_times(t.values, reciprocal)), scale


def per_tensor_torch(t: Tile) -> Result:
    """input_to_float8: 448.0 / amax is two roundings in torch, and so is the way back."""
    amax = at_least(amax_with_nan(t.values), TENSOR_FLOOR)
    multiplier = times32(over32(ONE, amax), MAX)
    return all_times(t.values, multiplier), over32(ONE, multiplier)


def _group_scale(t: Tile) -> Value:
    return over32(max(amax_dropping_nan(t.values), GROUP_EPS), MAX)


def group_128(t: Tile) -> Result:
    """per_token_group_quant_8bit: a true division."""
    scale = _group_scale(t)
    return nan_to_min(all_over(t.values, scale)), scale


def group_128_ue8m0(t: Tile) -> Result:
    scale = exp2_ceil_log2(max(_group_scale(t), GROUP_EPS))
    return nan_to_min(all_over(t.values, scale)), scale


def group_128_triton(t: Tile) -> Result:
    """The Triton kernel goes by the reciprocal."""
    scale = _group_scale(t)
    return all_times_reciprocal(t.values, scale), scale


def group_128_v2(t: Tile) -> Result:
    """Version 2: the scale is a product, and x is multiplied by 448 / amax, not by the reciprocal of the scale."""
    amax = max(amax_dropping_nan(t.values), GROUP_EPS)
    return nan_to_min(all_times(t.values, over32(MAX, amax))), times32(amax, RECIPROCAL)


def group_128_v2_ue8m0(t: Tile) -> Result:
    """The power of two above, from the bits; x goes by its reciprocal, which is exact."""
    amax = max(amax_dropping_nan(t.values), GROUP_EPS)
    scale = power_of_two_above(times32(amax, RECIPROCAL))
    return nan_to_min(all_times_reciprocal(t.values, scale)), scale


ROW = {"sglang.per_token": per_token, "sglang.per_token@large_batch": per_token_large_batch}
TENSOR = {"sglang.per_tensor": per_token, "sglang.per_tensor_torch": per_tensor_torch}
GROUP = {
    "sglang.group_128": group_128,
    "sglang.group_128_ue8m0": group_128_ue8m0,
    "sglang.group_128_triton": group_128_triton,
    "sglang.group_128_v2": group_128_v2,
    "sglang.group_128_v2_ue8m0": group_128_v2_ue8m0,
}
BLOCK: dict[str, None] = {}
