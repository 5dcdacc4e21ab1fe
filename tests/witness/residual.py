# SPDX-License-Identifier: Apache-2.0
"""The residual addition, and the gated one."""

from __future__ import annotations

from functools import cache

import mpmath

from .arithmetic import add, multiply, rounded
from .formats import BF16, decode, encode, encode_real


def residual(x: int, y: int) -> int:
    """RNbf(x + y) of two bf16 patterns."""
    return encode(BF16, add(decode(BF16, x), decode(BF16, y)))


def gated_residual(x: int, y: int, gate: int) -> int:
    """RNbf(x + RNbf(RNbf(tanh(gate)) * y)) of bf16 patterns."""
    return encode(BF16, add(decode(BF16, x), rounded(BF16, multiply(decode(BF16, tanh(gate)), decode(BF16, y)))))


@cache
def tanh(gate: int) -> int:
    """RNbf(tanh(gate)) of a bf16 pattern."""
    x = decode(BF16, gate)
    if x != x or x == 0:
        return encode(BF16, x)
    if abs(x) > 100:  # within 2**-280 of 1
        return encode(BF16, 1 if x > 0 else -1)
    return encode_real(BF16, lambda: mpmath.tanh(mpmath.mpf(x.numerator) / x.denominator))
