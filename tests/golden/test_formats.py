# SPDX-License-Identifier: Apache-2.0
"""The witness's own ground against Python's: `struct` rounds float64 to fp32 and fp16 correctly."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from witness.formats import BF16, E4M3, FP16, FP32, FP64, Format, decode, encode, encode_real
from witness.rmsnorm import inverse_root

STRUCT = {FP64: ("<d", "<Q"), FP32: ("<f", "<I"), FP16: ("<e", "<H")}


def _packed(fmt: Format, x: float) -> int:
    number, integer = STRUCT[fmt]
    try:
        return struct.unpack(integer, struct.pack(number, x))[0]
    except OverflowError:
        return fmt.infinity | (fmt.sign_bit if x < 0 else 0)


@pytest.mark.parametrize("fmt", STRUCT, ids=lambda fmt: fmt.name)
@given(st.floats(allow_nan=False) | st.floats(-70000, 70000) | st.floats(-1e-4, 1e-4) | st.floats(-4e38, 4e38))
def test_rounding_equals_struct(fmt, x):
    value = x if x == 0 or math.isinf(x) else Fraction(x)
    assert encode(fmt, value) == _packed(fmt, x)


@pytest.mark.parametrize("fmt", [FP16, BF16, E4M3], ids=lambda fmt: fmt.name)
def test_every_pattern_survives(fmt):
    for bits in range(1 << fmt.width):
        value = decode(fmt, bits)
        assert encode(fmt, value) == (fmt.nan if value != value else bits)


@pytest.mark.parametrize("fmt", [FP32, FP16, BF16, E4M3], ids=lambda fmt: fmt.name)
@given(st.data())
def test_midpoints_go_to_even(fmt, data):
    low = data.draw(st.integers(0, fmt.largest - 1))
    middle = (Fraction(decode(fmt, low)) + Fraction(decode(fmt, low + 1))) / 2
    assert encode(fmt, middle) == low + low % 2
    assert encode(fmt, middle * (1 - Fraction(1, 2**200))) == low
    assert encode(fmt, -middle * (1 + Fraction(1, 2**200))) == fmt.sign_bit | (low + 1)
    assert encode(fmt, middle, toward_zero=True) == low


@given(st.floats(2.0**-126, 2.0**126, width=32))
def test_a_real_number_is_rounded_like_its_fraction(x):
    assert encode_real(FP32, lambda: mpmath.mpf(x) / 3) == encode(FP32, Fraction(x) / 3)
    root = decode(FP32, encode_real(FP32, lambda: 1 / mpmath.sqrt(mpmath.mpf(x))))
    assert inverse_root(Fraction(x)) == root


def test_ties_of_real_numbers_need_to_be_told():
    tie = 1 + Fraction(1, 2**8)
    real = lambda: mpmath.sqrt(mpmath.mpf((tie**2).numerator) / (tie**2).denominator)  # noqa: E731
    assert encode_real(BF16, real, equals=lambda middle: middle == tie) == 0x3F80
    with pytest.raises(ArithmeticError):
        encode_real(BF16, real)
