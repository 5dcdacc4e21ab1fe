# SPDX-License-Identifier: Apache-2.0
"""Bit patterns, the exact numbers they stand for, and rounding from one to the other.

A *value* is a `Fraction`, or a Python float for the four values that no fraction has: -0.0, inf, -inf and nan. The
float 0.0 never appears: plus zero is `Fraction(0)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property

import mpmath

Value = Fraction | float

NEGATIVE_ZERO = -0.0
INFINITY = math.inf
NAN = math.nan


@dataclass(frozen=True, eq=False)
class Format:
    """A binary floating-point format: one sign bit, `exponent_bits`, `mantissa_bits`.

    `infinite` is False for E4M3FN, which has no infinity: its last pattern is the only NaN and the one before it is a
    number.
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    infinite: bool = True

    @cached_property
    def width(self) -> int:
        return 1 + self.exponent_bits + self.mantissa_bits

    @cached_property
    def sign_bit(self) -> int:
        return 1 << (self.exponent_bits + self.mantissa_bits)

    @cached_property
    def emin(self) -> int:
        """The exponent of the smallest normal number; subnormal numbers share it."""
        return 2 - (1 << (self.exponent_bits - 1))

    @cached_property
    def quantum(self) -> int:
        """The exponent of the smallest number: every finite value is an integer times 2**quantum."""
        return self.emin - self.mantissa_bits

    @cached_property
    def infinity(self) -> int:
        """The pattern of +Inf, or in E4M3FN the first one that is no number."""
        top = ((1 << self.exponent_bits) - 1) << self.mantissa_bits
        return top if self.infinite else top + (1 << self.mantissa_bits) - 1

    @cached_property
    def nan(self) -> int:
        """The canonical NaN [NAN-CANONICAL]."""
        return self.infinity | (1 << (self.mantissa_bits - 1))

    @cached_property
    def largest(self) -> int:
        return self.infinity - 1


FP64 = Format("float64", 11, 52)
FP32 = Format("float32", 8, 23)
FP16 = Format("float16", 5, 10)
BF16 = Format("bfloat16", 8, 7)
E4M3 = Format("float8_e4m3fn", 4, 3, infinite=False)
E5M2 = Format("float8_e5m2", 5, 2)

FORMATS = {f.name: f for f in (FP64, FP32, FP16, BF16, E4M3, E5M2)}


@cache
def integer(fmt: Format, bits: int) -> int | None:
    """A finite pattern as a multiple of 2**fmt.quantum (both zeros give 0); None for Inf and NaN."""
    magnitude = bits & (fmt.sign_bit - 1)
    if magnitude > fmt.largest:
        return None
    field, mantissa = divmod(magnitude, 1 << fmt.mantissa_bits)
    multiple = ((1 << fmt.mantissa_bits) + mantissa) << (field - 1) if field else mantissa
    return -multiple if bits & fmt.sign_bit else multiple


def decode(fmt: Format, bits: int) -> Value:
    """The value of a pattern."""
    if not 0 <= bits < 1 << fmt.width:
        raise ValueError(f"{bits:#x} is not a {fmt.name} pattern")
    multiple = integer(fmt, bits)
    if multiple is None:
        infinite = fmt.infinite and bits & (fmt.sign_bit - 1) == fmt.infinity
        return NAN if not infinite else -INFINITY if bits & fmt.sign_bit else INFINITY
    if multiple == 0 and bits:
        return NEGATIVE_ZERO
    return dyadic(multiple, fmt.quantum)


def dyadic(multiple: int, exponent: int) -> Fraction:
    """multiple * 2**exponent."""
    return Fraction(multiple << exponent) if exponent >= 0 else Fraction(multiple, 1 << -exponent)


def _floor_log2(x: Fraction) -> int:
    guess = x.numerator.bit_length() - x.denominator.bit_length()
    below = x.numerator < x.denominator << guess if guess >= 0 else x.numerator << -guess < x.denominator
    return guess - below


def _magnitude(fmt: Format, x: Fraction, toward_zero: bool) -> int:
    """The pattern of a positive number rounded to `fmt`; it may lie at or beyond `fmt.infinity`."""
    exponent = max(_floor_log2(x), fmt.emin)
    unit = exponent - fmt.mantissa_bits
    scaled_up, divisor = x.numerator << max(-unit, 0), x.denominator << max(unit, 0)
    steps, rest = divmod(scaled_up, divisor)
    if not toward_zero and (2 * rest > divisor or (2 * rest == divisor and steps & 1)):
        steps += 1
    # A subnormal number has fewer than 2**mantissa_bits steps and so keeps the exponent field 0; the leading bit of a
    # normal number carries into the field, and so does a significand that was rounded up to the next power of two.
    return ((exponent - fmt.emin) << fmt.mantissa_bits) + steps


def encode(fmt: Format, value: Value, overflow: str = "infinity", toward_zero: bool = False) -> int:
    """Round a value once: to nearest, ties to even, subnormals kept [ROUND-NEAREST]; or toward zero.

    `overflow` says what becomes of numbers that round beyond the largest: "infinity" (IEEE), or for E4M3 "saturate" or
    "nan". E4M3 treats Inf as such a number. A NaN becomes the canonical one.
    """
    if value != value:
        return fmt.nan
    sign = fmt.sign_bit if math.copysign(1, value) < 0 else 0
    if value == 0:
        return sign
    finite = abs(value) != INFINITY
    pattern = _magnitude(fmt, Fraction(abs(value)), toward_zero) if finite else fmt.infinity
    if pattern < fmt.infinity:
        return sign | pattern
    if overflow == "nan":
        return fmt.nan
    return sign | (fmt.largest if overflow == "saturate" else fmt.infinity)


def exact(x: mpmath.mpf) -> Fraction:
    return Fraction(*mpmath.libmp.to_rational(x._mpf_))


def encode_real(
    fmt: Format, compute: Callable[[], mpmath.mpf], equals: Callable[[Fraction], bool] | None = None
) -> int:
    """Round a real number other than zero, given as a computation at mpmath's working precision (Ziv's loop).

    The computation must be right to 2**-16 relative less than the working precision. Where the real can be rational,
    `equals` answers whether it is the given number, so that a tie is found and not searched for for ever.
    """
    for precision in (80, 160, 320, 640, 1280, 2560):
        with mpmath.workprec(precision):
            y = exact(compute())
        slack = abs(y) / (1 << (precision - 16))
        low, high = encode(fmt, y - slack), encode(fmt, y + slack)
        if low == high:
            return low
        if equals is not None and abs(low - high) == 1:
            # The midpoint of neighbours is itself a number of the format with one more mantissa bit.
            middle = (abs(decode_finite(fmt, low)) + abs(decode_finite(fmt, high))) / 2
            if equals(middle if y > 0 else -middle):
                return encode(fmt, middle if y > 0 else -middle)
    raise ArithmeticError("a real number too close to a tie")


def decode_finite(fmt: Format, bits: int) -> Fraction:
    """The number of a finite pattern; minus zero counts as zero."""
    multiple = integer(fmt, bits)
    if multiple is None:
        raise ValueError(f"{bits:#x} is not finite in {fmt.name}")
    return dyadic(multiple, fmt.quantum)
