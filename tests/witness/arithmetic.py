# SPDX-License-Identifier: Apache-2.0
"""Exact arithmetic on values (formats.py), with IEEE 754's rules for infinities, NaNs and the sign of zero.

Nothing here rounds: an operation of the specification is one of these followed by one `encode`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from .formats import FP32, INFINITY, NAN, NEGATIVE_ZERO, Format, Value, decode, dyadic, encode, integer


def is_negative(x: Value) -> bool:
    """The sign bit, of zeros too."""
    return math.copysign(1, x) < 0


def is_number(x: Value) -> bool:
    """Neither NaN nor infinite."""
    return x == x and abs(x) != INFINITY


def _signed(magnitude: Value, negative: bool) -> Value:
    if magnitude == 0:
        return NEGATIVE_ZERO if negative else Fraction(0)
    return -magnitude if negative else magnitude


def negate(x: Value) -> Value:
    """-x, zeros too."""
    return x if x != x else _signed(abs(x), not is_negative(x))


def add(x: Value, y: Value) -> Value:
    """x + y; a sum of opposite numbers is +0, and only -0 + -0 is -0."""
    if x != x or y != y:
        return NAN
    if not is_number(x) or not is_number(y):
        if not is_number(x) and not is_number(y) and x != y:
            return NAN
        return y if is_number(x) else x
    if x == 0 and y == 0:
        return NEGATIVE_ZERO if is_negative(x) and is_negative(y) else Fraction(0)
    return Fraction(x) + Fraction(y)


def multiply(x: Value, y: Value) -> Value:
    """x * y."""
    if x != x or y != y:
        return NAN
    negative = is_negative(x) != is_negative(y)
    if not is_number(x) or not is_number(y):
        return NAN if x == 0 or y == 0 else _signed(INFINITY, negative)
    return _signed(abs(Fraction(x) * Fraction(y)), negative)


def divide(x: Value, y: Value) -> Value:
    """x / y; a number over zero is infinite."""
    if x != x or y != y or (x == 0 and y == 0) or not (is_number(x) or is_number(y)):
        return NAN
    negative = is_negative(x) != is_negative(y)
    if not is_number(x) or y == 0:
        return _signed(INFINITY, negative)
    if not is_number(y):
        return _signed(Fraction(0), negative)
    return _signed(abs(Fraction(x) / Fraction(y)), negative)


def dot(a_format: Format, a: Sequence[int], b_format: Format, b: Sequence[int]) -> Value:
    """The exact dot product of two rows of patterns; exactly zero, also of empty rows, is +0."""
    a_integers = [integer(a_format, x) for x in a]
    b_integers = [integer(b_format, y) for y in b]
    if None not in a_integers and None not in b_integers:
        products = map(int.__mul__, a_integers, b_integers)
        return dyadic(sum(products), a_format.quantum + b_format.quantum)
    return total(multiply(decode(a_format, x), decode(b_format, y)) for x, y in zip(a, b, strict=True))


def total(terms: Iterable[Value]) -> Value:
    """The exact sum of values; exactly zero is +0, infinities of both signs or a NaN give NaN."""
    numbers, infinities = Fraction(0), set()
    for term in terms:
        if term != term:
            return NAN
        if is_number(term):
            numbers += Fraction(term)
        else:
            infinities.add(term)
    if len(infinities) == 2:
        return NAN
    return infinities.pop() if infinities else numbers


def via_fp32(value: Value) -> Value:
    """RN32, as a value."""
    return decode(FP32, encode(FP32, value))


def rounded(fmt: Format, value: Value) -> Value:
    """One rounding to `fmt`, as a value."""
    return decode(fmt, encode(fmt, value))
