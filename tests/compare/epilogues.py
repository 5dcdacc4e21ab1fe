# SPDX-License-Identifier: Apache-2.0
"""What follows the accumulator, in fractions: one output at a time, each rounding by the witness. [MM-EPILOGUE-A-B]"""

from __future__ import annotations

from fractions import Fraction

from witness.formats import E4M3, FORMATS, FP32, decode_finite, encode


def rn(x: Fraction, name: str = "float32", overflow: str = "infinity") -> Fraction:
    """x rounded once to a format; it must not overflow, except where the policy saturates."""
    fmt = FORMATS[name]
    bits = encode(fmt, x, overflow=overflow)
    return decode_finite(fmt, bits)


def epilogue(order: str, acc: Fraction, a_scale: Fraction, b_scale: Fraction, bias: Fraction | None) -> Fraction:
    """Scales of rows and columns; a bias is fused with the last multiplication."""
    if order == "ab":
        y, last = acc, rn(a_scale * b_scale)
    elif order == "a_b":
        y, last = rn(b_scale * acc), a_scale
    else:
        y, last = rn(a_scale * acc), b_scale
    return rn(last * y + (bias or 0))


def block_epilogue(
    order: str, dots: list[Fraction], a_scales: list[Fraction], b_scales: list[Fraction], bias: Fraction | None
) -> Fraction:
    """Scales of blocks of K, in the orders of DeepGEMM and of Triton."""
    acc = Fraction(0)
    for dot, a, b in zip(dots, a_scales, b_scales, strict=True):
        if order == "deepgemm":
            acc = rn(rn(a * b) * dot + acc)
        else:
            first, last = (a, b) if order == "triton" else (b, a)
            acc = rn(rn(dot * first) * last + acc)
    return acc if bias is None else rn(acc + bias)


def output(y: Fraction, out_dtype: str, out_scale: Fraction | None = None) -> Fraction:
    """The rounding to the output's format; E4M3 saturates."""
    if out_scale is not None:
        return rn(rn(y * out_scale), E4M3.name, "saturate")
    return y if out_dtype == FP32.name else rn(y, out_dtype)
