# SPDX-License-Identifier: Apache-2.0
"""linear of the cpu backend: golden's bits, however it is run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, from_bits
from everywhere import assert_everywhere
from inputs.mma import MODES, WIDE_UNITS

SHAPES = [(1, 1, 1), (1, 100, 576), (1, 7, 33), (2, 3, 31), (4, 97, 100), (131, 200, 72), (9, 30, 1001)]


def random_bf16(rng, shape, low=0.0, high=0.0):
    """Normal values times 2**uniform(low, high)."""
    values = rng.standard_normal(shape) * np.exp2(rng.uniform(low, high, shape))
    return values.astype(np.float32).astype(BF16)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_random(shape):
    m, n, k = shape
    rng = np.random.default_rng(9)
    for spread in (0, 20):
        x, weight = random_bf16(rng, (m, k), -spread), random_bf16(rng, (n, k), -spread)
        assert_everywhere("linear", x, weight)
        assert_everywhere("linear", x, weight, random_bf16(rng, n))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cancelling(shape):
    """Sums that cancel but for a few small products: float64 alone is wrong here."""
    m, n, k = shape
    rng = np.random.default_rng(10)
    x, weight = random_bf16(rng, (m, k), -40, 40), random_bf16(rng, (n, k), -40, 40)
    half = k // 2
    x[:, half : 2 * half] = x[:, :half]
    weight[:, half : 2 * half] = -weight[:, :half]
    assert_everywhere("linear", x, weight)
    weight[:, k - 1] = BF16.type(2.0**-100)
    assert_everywhere("linear", x, weight)
    assert_everywhere("linear", x, weight, np.full(n, 2.0**-120, np.float32))


@pytest.mark.parametrize("side", (-1, 1))
def test_midpoints(side):
    """1 + 2**-8 is a midpoint of bf16 and 1 + 2**-24 one of float32: a last product far below decides."""
    small = np.array([2.0**-8, 2.0**-24, 2.0**-133, 2.0**-126], np.float32).astype(BF16)
    one = BF16.type(1)
    rows = [[one, s, BF16.type(side * 2.0**e)] for s in small for e in (-133, -100, -60, -40)]
    weight = np.array(rows, BF16)
    for last in (one, BF16.type(2.0**-100), small[2], BF16.type(0)):
        x = np.array([[one, one, last]], BF16)
        assert_everywhere("linear", x, weight)
        assert_everywhere("linear", x, weight, np.full(len(rows), side * 2.0**-149, np.float32))


@given(
    data=st.data(),
    shape=st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(0, 20)),
    finite=st.sampled_from([0, 1, 2]),
)
def test_anything(data, shape, finite):
    """Any bits: specials everywhere, in few places, or nowhere; huge and tiny together; any bias."""
    m, n, k = shape
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x, weight = (from_bits(rng.integers(0, 2**16, (rows, k)), BF16) for rows in (m, n))
    if finite:
        x, weight = (np.where(np.isfinite(y.astype(np.float32)), y, BF16.type(3e38)) for y in (x, weight))
    if finite == 2 and x.size:
        x[m - 1, k - 1] = BF16.type(data.draw(st.sampled_from([np.inf, -np.inf, np.nan, 0.0])))
    bias = data.draw(st.sampled_from([None, from_bits(rng.integers(0, 2**32, n), np.float32)]))
    assert_everywhere("linear", x, weight, bias)


def test_overflow_and_zero():
    huge, tiny = BF16.type(2.0**127), BF16.type(2.0**-133)
    rows = [[huge, huge, -huge], [tiny, -tiny, tiny], [tiny, tiny, -tiny], [0 * tiny, -0 * tiny, tiny]]
    weight = np.array(rows, BF16)
    x = np.array([[huge, huge, huge], [huge, huge, np.inf], [tiny, tiny, tiny], [tiny, tiny, -tiny]], BF16)
    for bias in (None, np.full(4, -0.0, np.float32), np.full(4, -3.4e38, np.float32), np.full(4, np.inf, np.float32)):
        assert_everywhere("linear", x, weight, bias)


@pytest.mark.parametrize("accumulate", [*WIDE_UNITS, *MODES])
@pytest.mark.parametrize("shape", [*SHAPES[:5], (9, 30, 1001)], ids=str)
def test_by_unit(shape, accumulate):
    m, n, k = shape
    rng = np.random.default_rng(11)
    for spread in (0, 20, 60):
        x, weight = random_bf16(rng, (m, k), -spread), random_bf16(rng, (n, k), -spread)
        assert_everywhere("linear", x, weight, None, accumulate)
        assert_everywhere("linear", x, weight, random_bf16(rng, n), accumulate)


@given(
    accumulate=st.sampled_from([*WIDE_UNITS, *MODES]),
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 40)),
    specials=st.booleans(),
)
def test_any_bits_by_unit(accumulate, seed, shape, specials):
    m, n, k = shape
    rng = np.random.default_rng(seed)
    x, weight = (from_bits(rng.integers(0, 2**16, (rows, k)), BF16) for rows in (m, n))
    if not specials:
        x, weight = (np.where(np.isfinite(y.astype(np.float32)), y, BF16.type(3e38)) for y in (x, weight))
    assert_everywhere("linear", x, weight, from_bits(rng.integers(0, 2**32, n), np.float32), accumulate)
