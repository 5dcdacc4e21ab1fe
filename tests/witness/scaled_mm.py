# SPDX-License-Identifier: Apache-2.0
"""The scaled FP8 product: the exact accumulator, the tensor core's, the epilogues, and scales of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from . import mma
from .arithmetic import add, dot, multiply, total, via_fp32
from .formats import E4M3, FP32, Format, Value, decode, encode

Rows = Sequence[Sequence[int]]
Formats = tuple[Format, Format]  # of a and of b
CODES = (E4M3, E4M3)


def accumulate(a: Sequence[int], b: Sequence[int], accumulator: str, split_k: int = 1, types: Formats = CODES) -> Value:
    """The fp32 accumulator of two rows of codes, as a value."""
    if accumulator == "exact":
        return via_fp32(dot(types[0], a, types[1], b))
    return mma.accumulate(a, b, accumulator, split_k, *types)


def scaled(acc: Value, a_scale: Value, b_scale: Value, bias: Value | None, order: str) -> Value:
    """The accumulator scaled in the order of an epilogue; a bias joins the last product before its rounding."""
    if order == "a_b":
        y = multiply(a_scale, via_fp32(multiply(b_scale, acc)))
    elif order == "b_a":
        y = multiply(b_scale, via_fp32(multiply(a_scale, acc)))
    else:
        y = multiply(via_fp32(multiply(a_scale, b_scale)), acc)
    return via_fp32(y if bias is None else add(y, bias))


def output(z: Value, out: Format, out_scale: Value | None = None, overflow: str = "infinity") -> int:
    """RN_out(z); to E4M3 RN8(RN32(z * out_scale))."""
    return encode(out, z if out_scale is None else via_fp32(multiply(z, out_scale)), overflow)


def epilogue(acc: Value, a_scale: Value, b_scale: Value, bias: Value | None, out: Format, order: str = "a_b") -> int:
    """Scales, bias and a wide output: by epilogue a_b, RN_out(RN32(a_s * RN32(b_s * acc)))."""
    return output(scaled(acc, a_scale, b_scale, bias, order), out)


def scaled_mm(
    a: Rows,
    b: Rows,
    a_scales: Sequence[int],
    b_scales: Sequence[int],
    bias: Sequence[int] | None,
    bias_format: Format,
    out: Format,
    accumulator: str,
    order: str = "a_b",
    out_scale: Value | None = None,
    overflow: str = "infinity",
    split_k: int = 1,
    types: Formats = CODES,
) -> list[list[int]]:
    """a is (M, K), b is (N, K) codes; the scales are fp32 patterns, one for each row of a and of b, or a single one."""
    row_scales = [decode(FP32, s) for s in a_scales] * (len(a) if len(a_scales) == 1 else 1)
    column_scales = [decode(FP32, s) for s in b_scales] * (len(b) if len(b_scales) == 1 else 1)
    biases = [None] * len(b) if bias is None else [decode(bias_format, x) for x in bias]

    def element(acc: Value, *scales_and_bias: Value | None) -> int:
        if out_scale is None:
            return epilogue(acc, *scales_and_bias, out, order)
        return output(scaled(acc, *scales_and_bias, order), out, out_scale, overflow)

    return [
        [
            element(accumulate(x, w, accumulator, split_k, types), row_scale, column_scale, shift)
            for w, column_scale, shift in zip(b, column_scales, biases, strict=True)
        ]
        for x, row_scale in zip(a, row_scales, strict=True)
    ]


BLOCK = 128


def block_sum(
    a: Sequence[int],
    b: Sequence[int],
    a_scales: Sequence[Value],
    b_scales: Sequence[Value],
    bias: Value | None,
    accumulator: str,
    order: str,
    types: Formats = CODES,
) -> Value:
    """One element with a scale for every block of K: an exact sum, or one fused multiply-add a block."""
    blocks = [(a[k : k + BLOCK], b[k : k + BLOCK]) for k in range(0, len(a), BLOCK)]
    scaled_blocks = list(zip(blocks, a_scales, b_scales, strict=True))
    if order in ("a_b", "b_a", "ab"):
        exact = total(multiply(multiply(s, t), dot(types[0], x, types[1], y)) for (x, y), s, t in scaled_blocks)
        return via_fp32(exact if bias is None else add(exact, bias))
    acc: Value = Fraction(0)
    for (x, y), s, t in scaled_blocks:
        part = accumulate(x, y, accumulator, types=types)
        factors = {"deepgemm": (s, t, part), "triton": (part, s, t), "triton_ba": (part, t, s)}[order]
        acc = via_fp32(add(multiply(via_fp32(multiply(factors[0], factors[1])), factors[2]), acc))
    return acc if bias is None else via_fp32(add(acc, bias))


def block_scaled_mm(
    a: Rows,
    b: Rows,
    a_scales: Rows,
    b_scales: Rows,
    bias: Sequence[int] | None,
    bias_format: Format,
    out: Format,
    accumulator: str,
    order: str = "a_b",
    out_scale: Value | None = None,
    overflow: str = "infinity",
    types: Formats = CODES,
) -> list[list[int]]:
    """a_scales is (M, blocks of K), b_scales (N, blocks of K) or (blocks of N, blocks of K): fp32 patterns."""
    result = []
    for x, row in zip(a, a_scales, strict=True):
        elements = []
        for n, w in enumerate(b):
            column = b_scales[n if len(b_scales) == len(b) else n // BLOCK]
            scales = [decode(FP32, s) for s in row], [decode(FP32, s) for s in column]
            shift = None if bias is None else decode(bias_format, bias[n])
            z = block_sum(x, w, *scales, shift, accumulator, order, types=types)
            elements.append(output(z, out, out_scale, overflow))
        result.append(elements)
    return result
