# SPDX-License-Identifier: Apache-2.0
"""The scale rules, each written out as its upstream does it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from .arithmetic import divide, multiply, rounded, via_fp32
from .formats import BF16, E4M3, FP16, FP32, NAN, Format, Value, decode, encode

Rows = Sequence[Sequence[int]]

MAX = Fraction(448)
MIN_SCALE = via_fp32(Fraction(1, 448 * 512))
MACHINE_EPSILON = {BF16: Fraction(1, 2**7), FP16: Fraction(1, 2**10), FP32: Fraction(1, 2**23)}


def _amax(values: Sequence[Value], ignore_nan: bool) -> Value:
    if any(x != x for x in values) and not ignore_nan:
        return NAN
    return max((abs(x) for x in values if x == x), default=Fraction(0)) or Fraction(0)


def _clamp_nan_is_max(y: Value) -> Value:
    """fmaxf(-448, fminf(y, 448)): the C functions drop a NaN operand."""
    y = MAX if y != y else min(y, MAX)
    return max(y, -MAX)


def _clamp_keep_nan(y: Value) -> Value:
    return y if y != y else max(min(y, MAX), -MAX)


def _vllm_per_token(row: list[Value], _: Format) -> tuple[list[Value], Value]:
    scale = max(via_fp32(divide(_amax(row, ignore_nan=True), MAX)), MIN_SCALE)
    return [_clamp_nan_is_max(via_fp32(divide(x, scale))) for x in row], scale


def _vllm_static(row: list[Value], scale: Value) -> list[Value]:
    inverse = via_fp32(divide(Fraction(1), scale))
    return [_clamp_nan_is_max(via_fp32(multiply(x, inverse))) for x in row]


def _add_zero_point(y: Value) -> Value:
    """The zero point is +0, and -0 + 0 is +0 [QUANT-MINUS-ZERO]."""
    return Fraction(0) if y == 0 else y


def _compressed_tensors(values: list[Value], fmt: Format) -> tuple[list[Value], Value]:
    scale = rounded(fmt, divide(_amax(values, ignore_nan=False), MAX))
    if scale == 0:
        scale = MACHINE_EPSILON[fmt]
    return [_clamp_keep_nan(_add_zero_point(rounded(fmt, divide(x, scale)))) for x in values], scale


def _autofp8(values: list[Value], fmt: Format) -> tuple[list[Value], Value]:
    amax = _amax(values, ignore_nan=False) if values else Fraction(16)
    floor = rounded(fmt, Fraction(1, 10**12))
    amax = amax if amax != amax else max(amax, floor)
    factor = rounded(fmt, multiply(rounded(fmt, divide(Fraction(1), amax)), MAX))
    return [_clamp_keep_nan(rounded(fmt, multiply(x, factor))) for x in values], via_fp32(divide(Fraction(1), factor))


PER_ROW = {"vllm.per_token": _vllm_per_token, "compressed_tensors.channel": _compressed_tensors}
PER_TENSOR = {"compressed_tensors.tensor": _compressed_tensors, "autofp8.per_tensor": _autofp8}


def quantize(x: Rows, fmt: Format, rule: str, scale: int | None = None) -> tuple[list[list[int]], list[int] | int]:
    """Codes of the rows of x (patterns of `fmt`), and the fp32 scale: one for each row, or a single one."""
    rows = [[decode(fmt, bits) for bits in row] for row in x]
    if rule == "vllm.per_tensor_static":
        assert scale is not None
        return [_codes(_vllm_static(row, decode(FP32, scale))) for row in rows], scale
    if rule in PER_ROW:
        pairs = [PER_ROW[rule](row, fmt) for row in rows]
        return [_codes(ys) for ys, _ in pairs], [encode(FP32, s) for _, s in pairs]
    values, tensor_scale = PER_TENSOR[rule]([v for row in rows for v in row], fmt)
    codes = iter(_codes(values))
    return [[next(codes) for _ in row] for row in rows], encode(FP32, tensor_scale)


def _codes(values: list[Value]) -> list[int]:
    return [encode(E4M3, y, "saturate") for y in values]


def dequantize(codes: Rows, scales: list[int] | int, out: Format) -> list[list[int]]:
    """RN_out(RN32(code * scale)); one scale for all, or one for each row."""
    per_row = scales if isinstance(scales, list) else [scales] * len(codes)
    return [
        [encode(out, via_fp32(multiply(decode(E4M3, code), decode(FP32, scale)))) for code in row]
        for row, scale in zip(codes, per_row, strict=True)
    ]
