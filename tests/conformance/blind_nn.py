# SPDX-License-Identifier: Apache-2.0
"""Wrong implementations of the other operations; see blind.py."""

from __future__ import annotations

import importlib
from typing import Any
from unittest.mock import patch

import numpy as np

import fp8ref
from conformance.blind import Array, blind, bytes_of, cut_to_bf16, f32, f64, like, ties
from fp8ref.golden import _bf16
from fp8ref.golden._round import round_to

Result = tuple[Array, Array]
MINS = np.float32(1 / (448 * 512))
ATTENTION = importlib.import_module("fp8ref.golden.attention")  # not the function
LARGEST_BF16 = 2.0**128 - 2.0**120


# ---- encode, decode, dequantize --------------------------------------------------------------------------------------
@blind("e4m3", "tie_rule", "encode")
def midpoints_go_up(x: Array, overflow: str = "saturate") -> Array:
    """floor(x / step + 1/2), for negative numbers too."""
    y = f64(x)
    with np.errstate(all="ignore"):
        middle = y * np.where(y < 0, 1 - 2.0**-50, 1 + 2.0**-50)
    return fp8ref.encode(middle, overflow)


@blind("e4m3", "double_rounding", "encode")
def by_way_of_float16(x: Array, overflow: str = "saturate") -> Array:
    """The instruction takes halves, so everything is made one first."""
    with np.errstate(all="ignore"):
        return fp8ref.encode(round_to(x, "float16"), overflow)


@blind("e4m3", ("double_rounding", "tie_rule"), "encode")
def lowest_bits_are_not_sticky(x: Array, overflow: str = "saturate") -> Array:
    """Only a few bits below the midpoint's are looked at, as in onnxruntime#16938: 1.8131605 becomes 1.75."""
    bits = f64(x).view(np.uint64) >> np.uint64(44) << np.uint64(44)
    return fp8ref.encode(np.where(np.isfinite(f64(x)), bits.view(np.float64), f64(x)), overflow)


@blind("e4m3", "overflow_policy", "encode")
def large_numbers_become_nan(x: Array, overflow: str = "saturate") -> Array:
    """saturn-vectors#101: from 512 to 57344 there is a NaN where 448 is due."""
    y, codes = np.abs(f64(x)), fp8ref.encode(x, overflow)
    return like(np.where((y >= 512) & (y <= 57344), 0x7F, bytes_of(codes)), codes)


@blind("e4m3", "special_values", "decode")
def minus_zero_is_nan(codes: Array) -> Array:
    """The NaN of the fnuz formats."""
    return np.where(bytes_of(codes) == 0x80, np.float32(np.nan), fp8ref.decode(codes))


@blind("quantize", "truncation", "dequantize", "vllm.per_token")
def values_are_cut_to_bfloat16(codes: Array, scale: Array, out_dtype: str = "bfloat16") -> Array:
    right = fp8ref.dequantize(codes, scale, out_dtype)
    return cut_to_bf16(fp8ref.dequantize(codes, scale, "float32"), 0) if out_dtype == "bfloat16" else right


@blind("quantize", "factor", "dequantize", "vllm.per_token")
def codes_are_taken_for_fnuz(codes: Array, scale: Array, out_dtype: str = "bfloat16") -> Array:
    """The exponent bias is 8: everything is half as large."""
    return fp8ref.dequantize(codes, f32(scale) * np.float32(0.5), out_dtype)


# ---- quantize --------------------------------------------------------------------------------------------------------
def amax(x: Array, scale_ub: Array = None) -> Array:
    """The amax of each row by vllm.per_token, without its floor."""
    y = np.abs(f32(x))
    found = np.max(np.where(np.isnan(y), np.float32(0), y), axis=1, keepdims=True, initial=0)
    return found if scale_ub is None else np.minimum(found, f32(scale_ub))


def recoded(codes: Array, y: Array) -> Array:
    """Other quotients encoded; what was no number keeps its code."""
    return like(np.where(np.isnan(f32(y)), bytes_of(codes), bytes_of(fp8ref.encode(y))), codes)


def per_token(x: Array, scale_ub: Array = None) -> tuple[Array, Array, Array]:
    """Codes, scale and quotients by vllm.per_token."""
    codes, scale = fp8ref.quantize(x, "vllm.per_token", scale_ub=scale_ub)
    with np.errstate(all="ignore"):
        return codes, scale, f32(f32(x) / scale)


@blind("quantize", "tie_rule", contract="vllm.per_token")
def quotients_are_rounded_half_away(x: Array, scale_ub: Array = None) -> Result:
    codes, scale, y = per_token(x, scale_ub)
    with np.errstate(all="ignore"):
        return recoded(codes, ties(y, np.isfinite(y))), scale


@blind("quantize", "double_rounding", contract="vllm.per_token")
def quotients_are_halves_first(x: Array, scale_ub: Array = None) -> Result:
    codes, scale, y = per_token(x, scale_ub)
    return recoded(codes, round_to(y, "float16")), scale


@blind("quantize", "reciprocal", contract="vllm.per_token")
def multiplied_by_448_over_amax(x: Array, scale_ub: Array = None) -> Result:
    codes, scale, _ = per_token(x, scale_ub)
    with np.errstate(all="ignore"):
        factor = np.float32(448) / amax(x, scale_ub)
        return recoded(codes, np.where(scale > MINS, f32(x) * factor, f32(x) / scale)), scale


@blind("quantize", "scale_rule", contract="vllm.per_token")
def largest_number_is_240(x: Array, scale_ub: Array = None) -> Result:
    """The constant of AMD's fnuz format."""
    codes, _, _ = per_token(x, scale_ub)
    with np.errstate(all="ignore"):
        scale = np.maximum(amax(x, scale_ub) / np.float32(240), MINS)
        return recoded(codes, f32(x) / scale), scale


@blind("quantize", "scale_rule", contract="vllm.per_token")
def amax_of_the_positive(x: Array, scale_ub: Array = None) -> Result:
    """fabs is missing in the reduction."""
    codes, _, _ = per_token(x, scale_ub)
    with np.errstate(all="ignore"):
        scale = np.maximum(amax(np.maximum(f32(x), 0), scale_ub) / np.float32(448), MINS)
        return recoded(codes, f32(x) / scale), scale


@blind("quantize", "scale_broadcast", contract="vllm.per_token")
def codes_by_the_scale_of_the_first_row(x: Array, scale_ub: Array = None) -> Result:
    codes, scale, _ = per_token(x, scale_ub)
    with np.errstate(all="ignore"):
        return recoded(codes, f32(x) / scale[:1] if len(scale) else f32(x)), scale


@blind("quantize", "unwritten", contract="vllm.per_token")
def codes_beyond_a_vector_of_16(x: Array, scale_ub: Array = None) -> Result:
    """Rows are converted by vectors; the rest of a row is not."""
    codes, scale, _ = per_token(x, scale_ub)
    bytes_out = bytes_of(codes)
    bytes_out[:, x.shape[1] // 16 * 16 :] = 0
    return like(bytes_out, codes), scale


@blind("quantize", "overflow_policy", contract="vllm.per_tensor_static")
def a_cast_that_does_not_saturate(x: Array, scale: Array) -> Result:
    """The clamp before the cast is missing: torch#178817."""
    codes, kept = fp8ref.quantize(x, "vllm.per_tensor_static", scale)
    with np.errstate(all="ignore"):
        y = f32(x) * (np.float32(1) / kept)
    return like(np.where(np.abs(y) > 464, 0x7F, bytes_of(codes)), codes), kept


@blind("quantize", "scale_rule", contract="vllm.group_128")
def groups_of_64(x: Array) -> Result:
    """Each half of a group is quantized by itself, and the first half's scale is stored."""
    if x.shape[1] < 2:
        return fp8ref.quantize(x, "vllm.group_128")
    codes, scale = fp8ref.quantize(x, "vllm.group_128")
    out, kept = bytes_of(codes), np.array(scale)
    for start in range(0, x.shape[1], 64):
        part, its = fp8ref.quantize(x[:, start : start + 64], "vllm.group_128")
        out[:, start : start + 64] = bytes_of(part)
        if start % 128 == 0:
            kept[:, start // 128] = its[:, 0]
    return like(out, codes), kept


# ---- linear, mma -----------------------------------------------------------------------------------------------------
@blind("linear", "layout")
def square_weights_are_not_transposed(x: Array, weight: Array, bias: Array = None) -> Array:
    square = weight.shape[0] == weight.shape[1]
    return fp8ref.linear(x, np.ascontiguousarray(weight.T) if square else weight, bias)


@blind("linear", "k_tail")
def k_beyond_a_vector_of_8(x: Array, weight: Array, bias: Array = None) -> Array:
    k = x.shape[1] // 8 * 8
    return fp8ref.linear(np.ascontiguousarray(x[:, :k]), np.ascontiguousarray(weight[:, :k]), bias)


@blind("mma", "subnormal_flush")
def subnormal_operands_are_zero(a: Array, b: Array, c: Array = None, **more: Any) -> Array:
    """As what converts FP8 by shifting without a case for exponent 0."""

    def flush(x: Array) -> Array:
        size = np.asarray(x).dtype.itemsize
        return np.where(np.abs(f32(x)) < 2.0**-6, x.dtype.type(0), x) if size == 1 and x.dtype != np.uint8 else x

    return fp8ref.mma(flush(a), flush(b), c, **more)


@blind("mma", "layout")
def accumulator_tile_is_transposed(a: Array, b: Array, c: Array = None, **more: Any) -> Array:
    """C is read column by column."""
    turned = None if c is None else np.ascontiguousarray(c.T).reshape(c.shape)
    return fp8ref.mma(a, b, turned, **more)


# ---- rmsnorm, rope, attention ----------------------------------------------------------------------------------------
@blind("rmsnorm", "k_tail")
def squares_beyond_a_vector_of_8(x: Array, weight: Array, eps: float) -> Array:
    """The sum leaves out the last elements; they are normalised all the same."""
    k = x.shape[-1]
    short = k // 8 * 8
    if not short or short == k or not x.size:
        return fp8ref.rmsnorm(x, weight, eps)
    y = f32(x).reshape(-1, k)
    with np.errstate(all="ignore"):
        total = f32(np.sum(f64(y[:, :short]) ** 2, axis=1, keepdims=True))
        r = f32(1 / np.sqrt(f64(total / np.float32(k) + np.float32(eps))))
        out = round_to(y * r, "bfloat16")
        return (out if weight is None else _bf16.multiply(out, weight)).reshape(x.shape)


@blind("rmsnorm", "subnormal_flush")
def compiled_with_fast_math(x: Array, weight: Array, eps: float) -> Array:
    """Subnormal results become zeros of their sign."""
    y = fp8ref.rmsnorm(x, weight, eps)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(f32(y)) < 2.0**-126, y * y.dtype.type(0), y)


@blind("rope", "missing_rounding")
def first_products_are_fused(x: Array, cos: Array, sin: Array) -> Array:
    """A compiler contracts a * c - b * s: only the second product of each pair is rounded."""
    right, half = fp8ref.rope(x, cos, sin), x.shape[-1] // 2
    a, b = f64(x[..., :half]), f64(x[..., half:])
    c, s = (f64(round_to(table, "bfloat16"))[:, None] for table in (cos, sin))
    with np.errstate(all="ignore"):
        turned = a * c - f64(round_to(b * s, "bfloat16")), b * c + f64(round_to(a * s, "bfloat16"))
        fused = round_to(np.concatenate(turned, axis=-1), "bfloat16")
    return np.where(np.isnan(f32(right)), right, fused)


@blind("attention", "layout")
def heads_are_stored_before_tokens(q: Array, k: Array, v: Array, **more: Any) -> Array:
    out = fp8ref.attention(q, k, v, **more)
    return np.ascontiguousarray(out.transpose(1, 0, 2)).reshape(out.shape)


def _cut(x: Array, name: str) -> Array:
    """Rounded toward zero where bfloat16 is asked for."""
    out = round_to(x, name)
    if name != "bfloat16":
        return out
    up = np.abs(f64(out)) > np.abs(f64(x))
    return (np.asarray(out).view(np.uint16) - up).astype(np.uint16).view(out.dtype)


@blind("attention", "truncation")
def outputs_are_cut(q: Array, k: Array, v: Array, **more: Any) -> Array:
    """The upper halves of the quotients are stored."""
    with patch.object(ATTENTION, "round_to", _cut):
        return fp8ref.attention(q, k, v, **more)


# ---- silu_mul, residual, sample --------------------------------------------------------------------------------------
@blind("silu_mul", "layout")
def up_is_stored_before_gate(gate: Array, up: Array) -> Array:
    """w1 and w3 of a fused weight, exchanged."""
    return fp8ref.silu_mul(up, gate)


@blind("residual", "tie_rule")
def a_half_is_added(x: Array, y: Array) -> Array:
    """The pattern of the float32 sum plus 0x8000, shifted."""
    with np.errstate(all="ignore"):
        total = f32(x) + f32(y)
    return np.where(np.isfinite(total), cut_to_bf16(total, 0x8000), fp8ref.residual(x, y))


@blind("residual", "overflow_policy")
def sums_are_clamped(x: Array, y: Array) -> Array:
    """A clamp that was meant for float16."""
    right = fp8ref.residual(x, y)
    bound = right.dtype.type(LARGEST_BF16)
    return np.where(np.isinf(f32(right)), np.copysign(f32(bound), f32(right)).astype(right.dtype), right)


@blind("sample", "interface")
def ids_are_int32(logits: Array) -> Array:
    return fp8ref.sample(logits).astype(np.int32)


@blind("sample", "double_rounding")
def logits_are_bfloat16(logits: Array) -> Array:
    """The head's output type, where float32 logits are given."""
    return fp8ref.sample(round_to(logits, "bfloat16"))
