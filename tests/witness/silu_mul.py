# SPDX-License-Identifier: Apache-2.0
"""SwiGLU's gate: silu(gate) * up."""

from __future__ import annotations

from functools import cache

import mpmath

from .arithmetic import is_number, multiply, rounded
from .formats import BF16, FP32, INFINITY, NAN, decode, encode, encode_real


@cache
def silu(gate: int) -> int:
    """RN32(g / (1 + exp(-g))) of a bf16 pattern, as an fp32 pattern."""
    g = decode(BF16, gate)
    if not is_number(g):
        return encode(FP32, INFINITY if g == INFINITY else NAN)
    if g == 0 or g > 100:
        return encode(FP32, g)  # above 100 the quotient is g less a part in 2**144
    if g < -200:
        return FP32.sign_bit  # |g| exp(g) < 2**-270
    return encode_real(FP32, lambda: _silu(mpmath.mpf(g.numerator) / g.denominator))


def _silu(g: mpmath.mpf) -> mpmath.mpf:
    return g / (1 + mpmath.exp(-g))


def silu_mul(gate: int, up: int) -> int:
    """RNbf(RNbf(RN32(silu(g))) * u) of bf16 patterns."""
    return encode(BF16, multiply(rounded(BF16, decode(FP32, silu(gate))), decode(BF16, up)))
