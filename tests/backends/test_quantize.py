# SPDX-License-Identifier: Apache-2.0
"""The scale rules of the cpu backend: golden's bits, however they are run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, from_bits
from everywhere import assert_everywhere
from fp8ref.golden.quantize import OUT_DTYPES, RULES

DTYPES = [np.dtype(np.float32), BF16, np.dtype(np.float16)]
SPECIALS = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, 448.0, 2.0**-24, -(2.0**-120), 65504.0, 3e38]


def given_scale(rule, value=0.0123):
    return np.float32(value) if RULES[rule].scale == "given" else None


def random_bits(rng, shape, dtype):
    return from_bits(rng.integers(0, 2 ** (8 * dtype.itemsize), shape, np.uint64), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_random_bits(rule, dtype):
    """Any patterns; also without NaN and Inf, which would drown the rest."""
    x = random_bits(np.random.default_rng(2), (64, 37), dtype)
    assert_everywhere("quantize", x, rule, given_scale(rule))
    with np.errstate(invalid="ignore"):
        x[~np.isfinite(x)] = 1
    assert_everywhere("quantize", x, rule, given_scale(rule))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_ordinary_tensor(rule, dtype):
    """Rows of different magnitude, wide enough for several chunks."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((150, 700)) * np.exp2(rng.integers(-12, 12, (150, 1)))
    assert_everywhere("quantize", x.astype(np.float32).astype(dtype), rule, given_scale(rule))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", RULES)
@given(data=st.data())
def test_special_values(rule, dtype, data):
    values = data.draw(st.lists(st.sampled_from(SPECIALS), min_size=1, max_size=12))
    with np.errstate(over="ignore"):
        x = np.array([values], np.float32).astype(dtype)
    scale = data.draw(st.sampled_from([0.0, 2.0**-140, 1.0, 3e38, np.inf, np.nan]))
    assert_everywhere("quantize", x, rule, given_scale(rule, scale))


@pytest.mark.parametrize("rule", RULES)
def test_shapes(rule):
    per_row = RULES[rule].granularity == "row"
    for shape in [(0, 5), (4, 0), (1, 1)] + ([] if per_row else [(7,), (2, 3, 4), (0,)]):
        assert_everywhere("quantize", np.full(shape, 0.7, np.float32), rule, given_scale(rule))
    assert_everywhere("quantize", np.arange(24, dtype=np.float32).reshape(4, 6).T, rule, given_scale(rule))


@pytest.mark.parametrize("out_dtype", OUT_DTYPES)
def test_dequantize(out_dtype):
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 256, (300, 256), np.uint8)
    scale = from_bits(rng.integers(0, 2**31, (300, 1)), np.float32)
    assert_everywhere("dequantize", codes, scale, out_dtype)
    assert_everywhere("dequantize", codes, np.float32(0.37), out_dtype)
    assert_everywhere("dequantize", codes.reshape(-1), np.float32(0.37), out_dtype)
    assert_everywhere("dequantize", codes[:0], np.float32(1.0), out_dtype)
