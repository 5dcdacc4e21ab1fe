# SPDX-License-Identifier: Apache-2.0
"""The attention temperature of Llama 4."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import mpmath

from .arithmetic import add, divide, is_number, multiply, via_fp32
from .formats import BF16, FP32, Value, decode, encode, encode_real


def _log1p(n: Value) -> Value:
    """RN32(ln(1 + n)) of a whole number."""
    if n == 0 or not is_number(n):
        return n
    return decode(FP32, encode_real(FP32, lambda: mpmath.log(mpmath.mpf(1 + int(n)))))


def temperature_factor(position: int, floor_scale: float, attn_scale: float) -> int:
    """The fp32 factor of the queries at a position."""
    floor, scale = via_fp32(Fraction(floor_scale)), via_fp32(Fraction(attn_scale))
    steps = via_fp32(divide(Fraction(position + 1), floor))
    if is_number(steps):
        steps = Fraction(math.floor(steps))
    return encode(FP32, add(via_fp32(multiply(_log1p(steps), scale)), Fraction(1)))


def temperature(x: Sequence[int], factor: int) -> list[int]:
    """RNbf(RN32(x * factor)) of one head's bf16 patterns."""
    return [encode(BF16, via_fp32(multiply(decode(BF16, v), decode(FP32, factor)))) for v in x]
