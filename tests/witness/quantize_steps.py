# SPDX-License-Identifier: Apache-2.0
"""What the scale rules have in common: the numbers that share a scale, maxima, clamps, powers of two.

Each helper is one thing that a kernel or a library does. A helper that rounds is named after the type it rounds to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import mpmath

from .arithmetic import divide, is_number, multiply, via_fp32
from .formats import FP32, INFINITY, NAN, Format, Value, decode, encode, encode_real

MAX = Fraction(448)
ONE = Fraction(1)
RECIPROCAL = via_fp32(Fraction(1, 448))  # what a compiler or torch on CUDA puts in the place of "/ 448"
MIN_SCALE = via_fp32(Fraction(1, 448 * 512))  # vLLM's and FBGEMM's smallest scale


@dataclass(frozen=True)
class Tile:
    """The numbers that share one scale (a row, tensor, group or block), their type, and what the caller gave."""

    values: Sequence[Value]
    fmt: Format
    scale: Value | None = None
    upper: Value | None = None


Result = tuple[list[Value], Value]  # what is encoded (NaN is the NaN code), and the scale that is stored


# ---- amax ------------------------------------------------------------------------------------------------------------
def amax_dropping_nan(values: Sequence[Value]) -> Value:
    """fmaxf over the magnitudes from 0: the C function returns the operand that is not NaN."""
    return max((abs(x) for x in values if x == x), default=Fraction(0)) or Fraction(0)


def amax_with_nan(values: Sequence[Value]) -> Value:
    """torch's amax and aminmax: NaN if there is one."""
    return NAN if any(x != x for x in values) else amax_dropping_nan(values)


def at_least(x: Value, floor: Value) -> Value:
    """torch.clamp(x, min=floor): NaN stays."""
    return x if x != x else max(x, floor)


def at_most(x: Value, ceiling: Value | None) -> Value:
    """min(x, ceiling) where the caller gave one; NaN stays."""
    return x if x != x or ceiling is None else min(x, ceiling)


# ---- one rounding to fp32 --------------------------------------------------------------------------------------------
def over32(x: Value, y: Value) -> Value:
    return via_fp32(divide(x, y))


def times32(x: Value, y: Value) -> Value:
    return via_fp32(multiply(x, y))


def all_over(values: Sequence[Value], scale: Value) -> list[Value]:
    """x / s, a true division."""
    return [over32(x, scale) for x in values]


def all_times(values: Sequence[Value], factor: Value) -> list[Value]:
    """x * a."""
    return [times32(x, factor) for x in values]


def all_times_reciprocal(values: Sequence[Value], scale: Value) -> list[Value]:
    """x * (1 / s): the reciprocal is rounded, then the product."""
    return all_times(values, over32(ONE, scale))


# ---- what clamping makes of NaN --------------------------------------------------------------------------------------
def nan_to_max(quotients: list[Value]) -> list[Value]:
    """fmaxf(-448, fminf(y, 448)): the inner function drops the NaN and gives 448."""
    return [MAX if y != y else y for y in quotients]


def nan_to_min(quotients: list[Value]) -> list[Value]:
    """fminf(fmaxf(y, -448), 448): the inner function drops the NaN and gives -448."""
    return [-MAX if y != y else y for y in quotients]


# ---- powers of two ---------------------------------------------------------------------------------------------------
def power_of_two_below(x: Value) -> Value:
    """The largest power of two that is not above x > 0: the mantissa cleared."""
    if not is_number(x):
        return x
    x = Fraction(x)
    power = Fraction(2) ** (x.numerator.bit_length() - x.denominator.bit_length())
    return power / 2 if power > x else power


def power_of_two_above(x: Value) -> Value:
    """The least power of two that is not below x > 0: the exponent, one more if the mantissa is not 0."""
    power = power_of_two_below(x)
    return 2 * power if power < x else power


@cache
def log2(fmt: Format, x: Value) -> Value:
    """log2 of x >= 0, rounded once to `fmt`."""
    if x != x or x == INFINITY:
        return x
    if x == 0:
        return -INFINITY
    x = Fraction(x)
    if x == power_of_two_below(x):
        return Fraction(x.numerator.bit_length() - x.denominator.bit_length())
    return decode(fmt, encode_real(fmt, lambda: mpmath.log(mpmath.mpf(x.numerator) / x.denominator, 2)))


def exp2_of_integer(fmt: Format, n: Value) -> Value:
    """2**n for a whole or infinite n, as `fmt` holds it."""
    if n != n:
        return NAN
    if not is_number(n):
        return INFINITY if n > 0 else Fraction(0)
    return decode(fmt, encode(fmt, Fraction(2) ** int(n)))


def exp2_ceil_log2(x: Value) -> Value:
    """exp2(ceil(log2(x))) in fp32: the logarithm is rounded before ceil sees it [QUANT-LOG2]."""
    power = log2(FP32, x)
    return exp2_of_integer(FP32, Fraction(math.ceil(power)) if is_number(power) else power)
