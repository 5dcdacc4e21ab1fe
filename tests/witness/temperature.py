# SPDX-License-Identifier: Apache-2.0
"""The attention temperature: factors that grow with the logarithm of a position, and their product with queries."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import mpmath

from .arithmetic import add, divide, is_number, multiply, via_fp32
from .formats import BF16, FP32, Value, decode, encode, encode_real


@cache
def log1p(n: Value) -> Value:
    """RN32(ln(1 + n)) of a whole number, or of infinity."""
    if n == 0 or not is_number(n):
        return n
    return decode(FP32, encode_real(FP32, lambda: mpmath.log(mpmath.mpf(int(n) + 1))))


def steps(position: int, floor_scale: float) -> Value:
    """floor(RN32((position + 1) / F))."""
    quotient = via_fp32(divide(Fraction(position + 1), via_fp32(Fraction(floor_scale))))
    return Fraction(quotient.numerator // quotient.denominator) if is_number(quotient) else quotient


def temperature_factor(position: int, floor_scale: float, attn_scale: float) -> int:
    """An fp32 pattern."""
    scaled = via_fp32(multiply(log1p(steps(position, floor_scale)), via_fp32(Fraction(attn_scale))))
    return encode(FP32, add(scaled, Fraction(1)))


def temperature(x: int, factor: int) -> int:
    """RNbf(RN32(x * factor)) of a bf16 and an fp32 pattern."""
    return encode(BF16, via_fp32(multiply(decode(BF16, x), decode(FP32, factor))))
