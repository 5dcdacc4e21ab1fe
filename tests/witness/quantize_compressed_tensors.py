# SPDX-License-Identifier: Apache-2.0
"""compressed-tensors (as llm-compressor writes weights) and AutoFP8: arithmetic in the type T of the tensor."""

from __future__ import annotations

from fractions import Fraction

from .arithmetic import divide, multiply, rounded, via_fp32
from .formats import BF16, FP16, FP32, Format, Value
from .quantize_steps import MAX, ONE, Result, Tile, all_over, amax_with_nan, at_least, over32

MACHINE_EPSILON = {BF16: Fraction(1, 2**7), FP16: Fraction(1, 2**10), FP32: Fraction(1, 2**23)}


def _add_zero_point(y: Value) -> Value:
    """The zero point is +0, and -0 + 0 is +0 [QUANT-MINUS-ZERO]."""
    return Fraction(0) if y == 0 else y


def scale_of(amax: Value, fmt: Format) -> Value:
    """calculate_qparams since November 2025: amax / 448 in T, and T's machine epsilon in the place of 0."""
    scale = rounded(fmt, divide(amax, MAX))
    return MACHINE_EPSILON[fmt] if scale == 0 else scale


def quotients(t: Tile, scale: Value) -> list[Value]:
    """quantize in eager mode: the quotient is a number of T."""
    return [_add_zero_point(rounded(t.fmt, divide(x, scale))) for x in t.values]


def eager(t: Tile) -> Result:
    scale = scale_of(amax_with_nan(t.values), t.fmt)
    return quotients(t, scale), scale


def gpu(t: Tile) -> Result:
    """The Triton kernel of version 0.20 divides in fp32, so that the code is the only rounding after that."""
    scale = scale_of(amax_with_nan(t.values), t.fmt)
    return [_add_zero_point(y) for y in all_over(t.values, scale)], scale


def of_0_12(t: Tile) -> Result:
    """Before November 2025 the scale was clamped to the machine epsilon of fp32, whatever T is."""
    scale = at_least(rounded(t.fmt, divide(amax_with_nan(t.values), MAX)), MACHINE_EPSILON[FP32])
    return quotients(t, scale), scale


def autofp8(t: Tile) -> Result:
    """per_tensor_quantize: the multiplier is a number of T, made in two roundings; no elements count as 16."""
    amax = at_least(amax_with_nan(t.values) if t.values else Fraction(16), rounded(t.fmt, Fraction(1, 10**12)))
    multiplier = rounded(t.fmt, multiply(rounded(t.fmt, divide(ONE, amax)), MAX))
    return [rounded(t.fmt, multiply(x, multiplier)) for x in t.values], over32(ONE, multiplier)


def autofp8_static(t: Tile) -> Result:
    """static_per_tensor_quantize: torch divides a tensor of T by an fp32 number in fp32, and the result is of T."""
    assert t.scale is not None
    return [rounded(t.fmt, via_fp32(divide(x, t.scale))) for x in t.values], t.scale


ROW = {
    "compressed_tensors.channel": eager,
    "compressed_tensors.token": eager,
    "compressed_tensors.channel@gpu": gpu,
    "compressed_tensors.channel@0.12": of_0_12,
}
TENSOR = {
    "compressed_tensors.tensor": eager,
    "compressed_tensors.tensor@gpu": gpu,
    "compressed_tensors.tensor@0.12": of_0_12,
    "autofp8.per_tensor": autofp8,
    "autofp8.per_tensor_static": autofp8_static,
}
GROUP = {"compressed_tensors.group_128": eager}
BLOCK = {"compressed_tensors.block_128x128": eager, "compressed_tensors.block_128x128@gpu": gpu}
