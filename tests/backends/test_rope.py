# SPDX-License-Identifier: Apache-2.0
"""rope of the cpu backend: golden's bits, however it is run and whatever decides."""

from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, from_bits
from everywhere import assert_everywhere
from fp8ref import _ext
from fp8ref.golden._args import LAYOUTS
from inputs.rope import cases

SCALING = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_cases(case):
    assert_everywhere(case.function, **case.arguments)


@pytest.mark.parametrize("head_dim", [2, 6, 16, 64, 80, 128])
def test_bases(head_dim):
    bases = [1e4, 5e5, 1e5, 1e6, 2.0, 3.7, 1.0, 0.3, 1e300, 5e-324, 1.7e308, 99999.0]
    ties = [(2.0**24 + 1) ** 2, (2.0**13 + 1) ** 4 / 2.0**40, (1 + 2.0**-24) ** 2]  # roots at midpoints, exact or not
    for base in bases + ties:
        assert_everywhere("rope_frequencies", head_dim, base)
        assert_everywhere("rope_frequencies", head_dim, base, SCALING)
        assert_everywhere("rope_frequencies", head_dim, base, SCALING | {"high_freq_factor": 1.0})


@given(base=st.floats(0, 1e300, exclude_min=True), half=st.integers(1, 20), scale=st.floats(1e-3, 1e6))
def test_any_base(base, half, scale):
    scaling = SCALING | {"original_max_position_embeddings": scale}
    assert_everywhere("rope_frequencies", 2 * half, base, scaling)


def angles(rng, n):
    """Any float32 bits, and angles as models have them."""
    return np.r_[from_bits(rng.integers(0, 2**32, n), np.float32), rng.uniform(0, 2e5, n).astype(np.float32)]


def test_any_angle():
    rng = np.random.default_rng(51)
    assert_everywhere("rope_table", [0, 1, 3, 2**24 - 1], angles(rng, 3000))
    edge = np.exp2(np.arange(-149, 128)).astype(np.float32)
    assert_everywhere("rope_table", [1], np.r_[edge, -edge, np.nextafter(edge, np.float32(0))])


def test_fixed_point_decides_as_float64_does():
    """With slack 2**-14 fixed point decides nearly all values."""
    x = angles(np.random.default_rng(52), 20000)
    results = [(np.empty_like(x), np.empty_like(x)) for _ in range(2)]
    for error, out in zip((2.0**-49, 2.0**-14), results, strict=True):
        _ext.cos_sin_within(x, error, *out)
    assert_same_bits(results[1], results[0])


def test_rotation():
    rng = np.random.default_rng(53)
    for tokens, heads, half in ((1, 1, 1), (1, 9, 32), (70, 3, 5), (3, 0, 4), (0, 2, 4)):
        table = [rng.uniform(-1, 1, (tokens, half)).astype(np.float32) for _ in range(2)]
        for low, high in ((0, 1 << 16), (0, 1 << 8), (0x3E80, 0x4100)):  # anything, products that underflow, numbers
            x = from_bits(rng.integers(low, high, (tokens, heads, 2 * half)), BF16)
            for layout in LAYOUTS:
                assert_everywhere("rope", x, *table, layout)
    specials = from_bits(rng.integers(0, 2**32, (70, 5)), np.float32)
    for layout in LAYOUTS:
        x = from_bits(rng.integers(0, 1 << 16, (70, 3, 10)), BF16)
        assert_everywhere("rope", x, specials, specials[::-1], layout)


@pytest.mark.slow
def test_no_value_is_near_a_midpoint():
    """What cos_sin_fixed relies on: over all float32 numbers whose float64 sine or cosine is within 2**-48 of a
    midpoint of float32, the real value is farther than 2**-100 from it, relative to the value; and none is tiny."""
    nearest = mpmath.mpf(1)
    for field in range(127 - 12, 255):
        x = from_bits(np.arange(field << 23, (field + 1) << 23, dtype=np.uint32), np.float32)
        for function, exact in ((np.sin, mpmath.sin), (np.cos, mpmath.cos)):
            value = function(x.astype(np.float64))
            assert np.abs(value).min() > 2.0**-40
            rest = np.abs((value.view(np.int64) & (2**29 - 1)) - 2**28)
            for i in np.flatnonzero(rest <= 32):
                nearest = min(nearest, _distance(x[i], value[i], exact))
    assert nearest > mpmath.mpf(2) ** -100, mpmath.log(nearest, 2)


def _distance(x: np.float32, value: np.float64, exact) -> mpmath.mpf:
    """From the midpoint next to `value` to the real value, relative to it."""
    bits = int(np.abs(value).view(np.int64)) >> 29 << 29 | 2**28
    midpoint = Fraction(float(np.int64(bits).view(np.float64)))
    with mpmath.workprec(400):
        real = abs(exact(mpmath.mpf(float(x))))
        return abs(real - mpmath.mpf(midpoint.numerator) / midpoint.denominator) / real
