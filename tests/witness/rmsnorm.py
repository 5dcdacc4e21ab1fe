# SPDX-License-Identifier: Apache-2.0
"""RMSNorm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from .arithmetic import add, divide, dot, is_number, multiply, rounded, via_fp32
from .formats import BF16, FP32, Value, decode, encode


def inverse_root(v: Value) -> Value:
    """RN32(1 / sqrt(v)) of a value that is no negative number."""
    if v != v or v == 0 or not is_number(v):
        return divide(Fraction(1), v)
    # floor(2**k / sqrt(v)) by the integer root, with 64 bits and more; a last bit says whether something was cut off
    # (rounding to odd), so that one rounding of the result is one rounding of the root.
    k = 64 + max(v.numerator.bit_length() - v.denominator.bit_length(), 0)
    square, rest = divmod(v.denominator << (2 * k), v.numerator)
    root = math.isqrt(square)
    inexact = rest != 0 or root * root != square
    return via_fp32(Fraction(2 * root + inexact, 2 << k))


def rmsnorm(x: Sequence[int], weight: Sequence[int] | None, eps: float) -> list[int]:
    """One row of bf16 patterns; eps is any real number and is rounded to fp32."""
    squares = via_fp32(dot(BF16, x, BF16, x))
    mean = via_fp32(divide(squares, Fraction(len(x)))) if x else squares
    factor = inverse_root(via_fp32(add(mean, decode(FP32, encode(FP32, Fraction(eps))))))
    normed = [rounded(BF16, via_fp32(multiply(decode(BF16, v), factor))) for v in x]
    if weight is None:
        return [encode(BF16, y) for y in normed]
    return [encode(BF16, multiply(y, decode(BF16, w))) for y, w in zip(normed, weight, strict=True)]
