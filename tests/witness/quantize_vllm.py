# SPDX-License-Identifier: Apache-2.0
"""vLLM 0.33.0, and 0.11.0 where its bits were others."""

from __future__ import annotations

from fractions import Fraction

from .arithmetic import via_fp32
from .formats import FP32, Value
from .quantize_steps import (
    MAX,
    MIN_SCALE,
    RECIPROCAL,
    Result,
    Tile,
    all_over,
    all_times_reciprocal,
    amax_dropping_nan,
    amax_with_nan,
    at_least,
    at_most,
    exp2_ceil_log2,
    nan_to_max,
    nan_to_min,
    over32,
    power_of_two_above,
    times32,
)

GROUP_EPS = via_fp32(Fraction(1, 10**10))
BLOCK_FLOOR = via_fp32(Fraction(1, 10**4))
HEAD_FLOOR = via_fp32(Fraction(1, 10**6))


def per_tensor_static(t: Tile) -> Result:
    """static_scaled_fp8_quant: the caller's scale, by its reciprocal."""
    assert t.scale is not None
    return nan_to_max(all_times_reciprocal(t.values, t.scale)), t.scale


def per_tensor(t: Tile) -> Result:
    """dynamic_scaled_fp8_quant: nothing keeps the scale from 0; then 0 * (1/0) is NaN and 448 is written."""
    scale = over32(amax_dropping_nan(t.values), MAX)
    return nan_to_max(all_times_reciprocal(t.values, scale)), scale


def per_token(t: Tile) -> Result:
    """dynamic_per_token_scaled_fp8_quant: the bound is on amax, the floor on the scale, a true division."""
    scale = max(over32(at_most(amax_dropping_nan(t.values), t.upper), MAX), MIN_SCALE)
    return nan_to_max(all_over(t.values, scale)), scale


def native(t: Tile) -> Result:
    """QuantFP8.forward_native on CUDA: torch divides by 448.0 as a product, and x by the scale's reciprocal."""
    scale = at_least(times32(at_most(amax_with_nan(t.values), t.upper), RECIPROCAL), MIN_SCALE)
    return all_times_reciprocal(t.values, scale), scale


def _group_scale(t: Tile) -> Value:
    return over32(max(amax_dropping_nan(t.values), GROUP_EPS), MAX)


def group_128(t: Tile) -> Result:
    """per_token_group_quant: the floor is on amax, x goes by the reciprocal."""
    scale = _group_scale(t)
    return nan_to_min(all_times_reciprocal(t.values, scale)), scale


def group_128_of_0_11(t: Tile) -> Result:
    """The same of version 0.11: a true division."""
    scale = _group_scale(t)
    return nan_to_min(all_over(t.values, scale)), scale


def group_128_ue8m0(t: Tile) -> Result:
    """A second floor, on the scale; then the power of two above.

    16-bit numbers take the register kernel, which reads the power off the bits; fp32 numbers the one with a logarithm.
    """
    floored = max(_group_scale(t), GROUP_EPS)
    scale = exp2_ceil_log2(floored) if t.fmt is FP32 else power_of_two_above(floored)
    return nan_to_min(all_times_reciprocal(t.values, scale)), scale


def group_128_native(t: Tile) -> Result:
    """The native group path has the floor on the scale, and divides."""
    scale = at_least(times32(amax_with_nan(t.values), RECIPROCAL), MIN_SCALE)
    return all_over(t.values, scale), scale


def group_128_triton(t: Tile) -> Result:
    """The fallback for x that is not contiguous: both choices are the other way round than in the CUDA kernel."""
    scale = times32(max(amax_dropping_nan(t.values), GROUP_EPS), RECIPROCAL)
    return all_over(t.values, scale), scale


def group_128_triton_ue8m0(t: Tile) -> Result:
    """No floor on the scale here: the group of zeros has 2**-42, not 2**-33."""
    scale = exp2_ceil_log2(times32(max(amax_dropping_nan(t.values), GROUP_EPS), RECIPROCAL))
    return all_over(t.values, scale), scale


def group_128_rms_norm(t: Tile) -> Result:
    """The quantizing end of rms_norm_per_block_quant: bound on amax, floor on the scale, reciprocal."""
    scale = max(over32(at_most(amax_dropping_nan(t.values), t.upper), MAX), MIN_SCALE)
    return nan_to_max(all_times_reciprocal(t.values, scale)), scale


def group_128_silu_mul(t: Tile) -> Result:
    """The quantizing end of silu_and_mul_per_block_quant: the bound is on the scale, and x is divided."""
    scale = max(at_most(over32(amax_dropping_nan(t.values), MAX), t.upper), MIN_SCALE)
    return nan_to_max(all_over(t.values, scale)), scale


def block_128x128(t: Tile) -> Result:
    """per_block_cast_to_fp8 when weights are quantized at loading."""
    scale = times32(at_least(amax_with_nan(t.values), BLOCK_FLOOR), RECIPROCAL)
    return all_times_reciprocal(t.values, scale), scale


def block_128x128_ue8m0(t: Tile) -> Result:
    scale = exp2_ceil_log2(times32(at_least(amax_with_nan(t.values), BLOCK_FLOOR), RECIPROCAL))
    return all_times_reciprocal(t.values, scale), scale


def kv_cache(t: Tile) -> Result:
    """The store divides and lets the conversion saturate, so that NaN stays NaN."""
    assert t.scale is not None
    return all_over(t.values, t.scale), t.scale


def kv_cache_per_token_head(t: Tile) -> Result:
    scale = max(over32(amax_dropping_nan(t.values), MAX), HEAD_FLOOR)
    return all_times_reciprocal(t.values, scale), scale


ROW = {
    "vllm.per_token": per_token,
    "vllm.per_token_native": native,
    "vllm.kv_cache_per_token_head": kv_cache_per_token_head,
}
TENSOR = {
    "vllm.per_tensor": per_tensor,
    "vllm.per_tensor_static": per_tensor_static,
    "vllm.per_tensor_native": native,
    "vllm.kv_cache": kv_cache,
}
GROUP = {
    "vllm.group_128": group_128,
    "vllm.group_128@0.11": group_128_of_0_11,
    "vllm.group_128_ue8m0": group_128_ue8m0,
    "vllm.group_128_native": group_128_native,
    "vllm.group_128_triton": group_128_triton,
    "vllm.group_128_triton_ue8m0": group_128_triton_ue8m0,
    "vllm.group_128_rms_norm": group_128_rms_norm,
    "vllm.group_128_silu_mul": group_128_silu_mul,
}
BLOCK = {"vllm.block_128x128": block_128x128, "vllm.block_128x128_ue8m0": block_128x128_ue8m0}
