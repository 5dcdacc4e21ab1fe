# SPDX-License-Identifier: Apache-2.0
"""rmsnorm of the cpu backend: golden's bits, however it is run and whatever decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, bf16, from_bits
from everywhere import assert_everywhere
from fp8ref import _ext
from inputs.rmsnorm import cases


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_cases(case):
    assert_everywhere("rmsnorm", **case.arguments)


def random_rows(rng, rows, columns, spread):
    values = rng.standard_normal((rows, columns)) * np.exp2(rng.uniform(-spread, spread, (rows, columns)))
    return values.astype(np.float32).astype(BF16)


@pytest.mark.parametrize("columns", [1, 2, 7, 64, 576, 4099])
def test_random(columns):
    rng = np.random.default_rng(41)
    weight = random_rows(rng, 1, columns, 3)[0]
    for spread in (0, 5, 60):
        x = random_rows(rng, 40, columns, spread)
        assert_everywhere("rmsnorm", x, weight, 1e-5)
        assert_everywhere("rmsnorm", x.reshape(4, 10, columns), None, 1e-45)


@pytest.mark.parametrize("side", [-1, 0, 1])
def test_sums_at_midpoints(side):
    """1 + 2**-24 is a midpoint of float32; 2**-48 and less decide. Only an exact sum sees them."""
    small = {-1: [2.0**-12, 0.0], 0: [2.0**-12, 2.0**-60], 1: [2.0**-12, 2.0**-24]}[side]
    rows = [[1.0, *small, *[0.0] * 5], [-1.0, *small[::-1], *[2.0**-66] * 5], [2.0**-66, *small, *[0.0] * 4, 1.0]]
    assert_everywhere("rmsnorm", bf16(rows), None, 2.0**-149)


@given(
    bits=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=24), eps=st.sampled_from([1e-45, 1e-38, 1e-5, 1.0, 3e38])
)
def test_any_bits(bits, eps):
    x = from_bits([bits], BF16)
    assert_everywhere("rmsnorm", x, x[0, ::-1], eps)
    assert_everywhere("rmsnorm", np.where(np.isfinite(x.astype(np.float32)), x, BF16.type(1)), None, eps)


def test_integers_decide_roots_as_float64_does():
    """With slack 2**-20 integers decide nearly all roots."""
    rng = np.random.default_rng(42)
    v = from_bits(rng.integers(1, 0x7F800000, 20000), np.float32)
    v[:300] = from_bits(np.r_[1:101, 0x7F7FFF9C:0x7F800000, 0x3F7FFF9C:0x3F800000], np.float32)
    results = [np.empty_like(v) for _ in range(2)]
    for error, out in zip((2.0**-49, 2.0**-20), results, strict=True):
        _ext.reciprocal_sqrt_within(v, error, out)
    assert_same_bits(results[1], results[0])
