# SPDX-License-Identifier: Apache-2.0
"""The scale rules of the cpu backend: golden's bits, however they are run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fp8ref
from bits import BF16, assert_same_bits, from_bits
from everywhere import assert_everywhere, implementation
from fp8ref import _ext
from fp8ref.errors import OpError
from fp8ref.golden.quantize import OUT_DTYPES
from inputs.quantize import cases_of

RULES = {rule.name: rule for rule in fp8ref.rules()}
SEARCH = [name for name, rule in RULES.items() if rule.search == "mse"]
GRANULARITIES = ("row", "tensor", "group", "block")
DTYPES = [np.dtype(np.float32), BF16, np.dtype(np.float16)]
SPECIALS = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, 448.0, 2.0**-24, -(2.0**-120), 65504.0, 3e38]
BOUNDS = [2.0**-149, 1e-13, 0.5, 1200.0, 3e38]


def given_scale(rule, value=0.0123):
    return np.float32(value) if RULES[rule].given else None


def random_bits(rng, shape, dtype):
    return from_bits(rng.integers(0, 2 ** (8 * dtype.itemsize), shape, np.uint64), dtype)


@pytest.mark.parametrize("rule", RULES)
def test_traps(rule):
    """The inputs on which two rules, or one rule and a slip in it, part ways."""
    golden, cpu = implementation("golden", "quantize"), implementation("cpu", "quantize")
    for case in cases_of(rule):
        assert_same_bits(cpu(**case.arguments), golden(**case.arguments), case.name)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_random_bits(rule, dtype):
    """Any patterns; also without NaN and Inf, which would drown the rest."""
    rows = 3 if rule in SEARCH else 64
    x = random_bits(np.random.default_rng(2), (rows, 37), dtype)
    assert_everywhere("quantize", x, rule, given_scale(rule))
    with np.errstate(invalid="ignore"):
        x[~np.isfinite(x)] = 1
    assert_everywhere("quantize", x, rule, given_scale(rule))


def ordinary(shape, dtype):
    """Rows of different magnitude."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal(shape) * np.exp2(rng.integers(-12, 12, (shape[0], 1)))
    return x.astype(np.float32).astype(dtype)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in SEARCH])
def test_ordinary_tensor(rule):
    """Wide enough for several chunks; groups and blocks with tails."""
    assert_everywhere("quantize", ordinary((150, 700), BF16), rule, given_scale(rule))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", SEARCH)
def test_search(rule, dtype):
    assert_everywhere("quantize", ordinary((6, 300), dtype), rule)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@given(data=st.data())
def test_special_values(granularity, data):
    """Few numbers in any order, in shapes with and without tails."""
    rule = data.draw(st.sampled_from([name for name in RULES if RULES[name].granularity == granularity]))
    dtype = data.draw(st.sampled_from(DTYPES))
    values = data.draw(st.lists(st.sampled_from(SPECIALS), min_size=1, max_size=12))
    rows = data.draw(st.sampled_from([1, 2, 129]))
    columns = len(values) if rule in SEARCH else data.draw(st.sampled_from([len(values), 128, 131]))
    with np.errstate(over="ignore"):
        x = np.resize(np.array(values, np.float32), (rows, columns)).astype(dtype)
    scale = given_scale(rule, data.draw(st.sampled_from([0.0, 2.0**-140, 1.0, 3e38, np.inf, np.nan])))
    bounded = RULES[rule].upper_bound != "none"
    bound = data.draw(st.sampled_from([None, *map(np.float32, BOUNDS)])) if bounded else None
    assert_everywhere("quantize", x, rule, scale, bound)


@pytest.mark.parametrize("dtype", [BF16, np.dtype(np.float16)], ids=str)
@pytest.mark.parametrize("rule", [rule for rule in RULES if RULES[rule].granularity == "row" and rule not in SEARCH])
def test_every_amax(rule, dtype):
    """Every number of a 16-bit type as the largest of a row, with a smaller one beside it."""
    amax = from_bits(np.arange(0x8000), dtype)
    with np.errstate(all="ignore"):
        x = np.stack([amax, (amax.astype(np.float32) * -0.3).astype(dtype)], axis=1)
        golden, cpu = implementation("golden", "quantize"), implementation("cpu", "quantize")
        assert_same_bits(cpu(x, rule), golden(x, rule))


@pytest.mark.parametrize("rule", RULES)
def test_shapes(rule):
    tensor = RULES[rule].granularity == "tensor"
    for shape in [(0, 5), (4, 0), (1, 1)] + ([(7,), (2, 3, 4), (0,)] if tensor else []):
        assert_everywhere("quantize", np.full(shape, 0.7, np.float32), rule, given_scale(rule))
    assert_everywhere("quantize", np.arange(24, dtype=np.float32).reshape(4, 6).T, rule, given_scale(rule))


def test_the_table_of_the_core_has_the_same_names():
    """An unknown name is answered with all that are known."""
    one = np.ones((1, 1), np.float32)
    with pytest.raises(OpError) as error:
        _ext.quantize_float32(one, "no.rule", np.zeros((1, 1), np.uint8), one, one)
    assert sorted(str(error.value).partition("known: ")[2].split()) == sorted(RULES)


@pytest.mark.parametrize("out_dtype", OUT_DTYPES)
def test_dequantize(out_dtype):
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 256, (300, 257), np.uint8)
    for shape in ((300, 1), (300, 3), (3, 3)):
        assert_everywhere("dequantize", codes, from_bits(rng.integers(0, 2**31, shape), np.float32), out_dtype)
    narrow = from_bits(rng.integers(0, 2**31, (3, 1)), np.float32)
    assert_everywhere("dequantize", codes[:, :100], narrow, out_dtype)
    assert_everywhere("dequantize", codes, np.float32(0.37), out_dtype)
    assert_everywhere("dequantize", codes.reshape(-1), np.float32(0.37), out_dtype)
    assert_everywhere("dequantize", codes[:0], np.float32(1.0), out_dtype)
    assert_everywhere("dequantize", codes[:, :0], np.ones((300, 0), np.float32), out_dtype)
