# SPDX-License-Identifier: Apache-2.0
"""The attention temperature of the cpu backend: golden's bits, however it is run and whatever decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, from_bits
from everywhere import assert_everywhere
from fp8ref import _ext
from inputs.temperature import LAST, LLAMA4, cases


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_cases(case):
    assert_everywhere(case.function, **case.arguments)


@given(positions=st.lists(st.integers(0, LAST), max_size=9), floor=st.floats(1e-45, 3e38), scale=st.floats(1e-45, 3e38))
def test_any_factors(positions, floor, scale):
    assert_everywhere("temperature_factors", np.array(positions, np.int64), floor, scale)


def test_many_positions():
    rng = np.random.default_rng(86)
    positions = np.r_[rng.integers(0, LAST, 3000), np.arange(3000)]
    assert_everywhere("temperature_factors", positions, **LLAMA4)
    assert_everywhere("temperature_factors", positions, 1, 1)


@pytest.mark.parametrize("bits", [12, 20, 30, 40, 48])
def test_fixed_point_decides_as_float64_does(bits):
    """With slack 2**-12 fixed point decides all values; a slack that is too wide for nobody changes no result."""
    rng = np.random.default_rng(87)
    whole = from_bits(rng.integers(0x4B800000, 0x7F800000, 400), np.float32)
    n = np.r_[0, 1, 2, 3, rng.integers(0, 2**24, 400), 2.0**24, 2.0**127, np.inf].astype(np.float32)
    n = np.r_[n, whole]
    results = [np.empty_like(n) for _ in range(2)]
    for error, out in zip((2.0**-49, 2.0**-bits), results, strict=True):
        _ext.whole_log1p_within(n, error, out)
    assert_same_bits(results[1], results[0])


def test_products():
    rng = np.random.default_rng(88)
    for shape in ((1, 1, 1), (70, 3, 9), (3, 0, 4), (0, 2, 4), (2, 40, 128)):
        x = from_bits(rng.integers(0, 1 << 16, shape), BF16)
        assert_everywhere("temperature", x, rng.uniform(1, 2, shape[0]).astype(np.float32))
        assert_everywhere("temperature", x, from_bits(rng.integers(0, 2**32, shape[0]), np.float32))
