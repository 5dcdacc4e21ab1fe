# SPDX-License-Identifier: Apache-2.0
"""The residual addition, and the gated one."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import mpmath

from .arithmetic import add, is_negative, is_number, multiply, rounded
from .formats import BF16, Value, decode, encode, encode_real


def residual(x: int, y: int) -> int:
    """RNbf(x + y) of two bf16 patterns."""
    return encode(BF16, add(decode(BF16, x), decode(BF16, y)))


def gated_residual(x: int, y: int, gate: int) -> int:
    """RNbf(x + RNbf(RNbf(tanh(gate)) * y)) of bf16 patterns."""
    product = rounded(BF16, multiply(tanh(gate), decode(BF16, y)))
    return encode(BF16, add(decode(BF16, x), product))


@cache
def tanh(gate: int) -> Value:
    """RNbf of the hyperbolic tangent of a bf16 pattern."""
    g = decode(BF16, gate)
    if g != g or g == 0:
        return g
    if not is_number(g) or abs(g) > 100:
        return Fraction(-1 if is_negative(g) else 1)  # 1 - tanh(100) < 2**-280
    return decode(BF16, encode_real(BF16, lambda: mpmath.tanh(mpmath.mpf(g.numerator) / g.denominator)))
