# SPDX-License-Identifier: Apache-2.0
"""The scale rules against the witness: codes and scales, every rule on every dtype and trap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fp8ref
from bits import assert_same_bits, from_bits
from fp8ref.errors import OpError
from fp8ref.golden import quantize as golden
from inputs.quantize import DTYPES, SEARCH, cases_of, dequantize_cases
from oracle import expected, quantize
from witness.quantize import BOUNDED, GIVEN, GRANULARITY

RULES = sorted(GRANULARITY)


def test_the_witness_knows_every_rule():
    assert {rule.name: rule.granularity for rule in fp8ref.rules()} == GRANULARITY


@pytest.mark.parametrize("rule", RULES)
def test_equals_witness(rule):
    for case in cases_of(rule):
        assert_same_bits(golden.quantize(**case.arguments), expected(case), case.name)


@pytest.mark.parametrize("case", dequantize_cases(), ids=repr)
def test_dequantize_equals_witness(case):
    assert_same_bits(golden.dequantize(**case.arguments), expected(case), case.name)


def _drawn(data, rule: str) -> dict[str, np.float32]:
    """A scale or a bound of any bits where the rule takes one."""
    drawn = {}
    if rule in GIVEN:
        drawn["scale"] = from_bits(data.draw(st.integers(0, 0x7FFFFFFF)), np.float32)[()]
    if rule in BOUNDED and data.draw(st.booleans()):
        drawn["scale_ub"] = from_bits(data.draw(st.integers(1, 0x7F7FFFFF)), np.float32)[()]
    return drawn


@given(st.data())
def test_any_bits(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    rule = data.draw(st.sampled_from(RULES))
    rows, columns = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 6))
    largest = (1 << 8 * dtype.itemsize) - 1
    bits = data.draw(st.lists(st.integers(0, largest), min_size=rows * columns, max_size=rows * columns))
    x, drawn = from_bits(bits, dtype).reshape(rows, columns), _drawn(data, rule)
    assert_same_bits(golden.quantize(x, rule, **drawn), quantize(x, rule, **drawn))


@given(st.data())
def test_ordinary_numbers(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    rule = data.draw(st.sampled_from(RULES))
    values = data.draw(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12))
    x, drawn = np.array([values], dtype=np.float32).astype(dtype), _drawn(data, rule)
    assert_same_bits(golden.quantize(x, rule, **drawn), quantize(x, rule, **drawn))


@pytest.mark.parametrize("rule", RULES)
def test_scale_and_bound_are_refused_where_they_have_no_meaning(rule):
    x = np.ones((2, 3), np.float32)
    scale = {"scale": np.float32(1)} if rule in GIVEN else {}
    with pytest.raises(OpError):
        golden.quantize(x, rule, **({} if rule in GIVEN else {"scale": np.float32(1)}))
    if rule not in BOUNDED:
        with pytest.raises(OpError):
            golden.quantize(x, rule, scale_ub=np.float32(1), **scale)


@pytest.mark.parametrize("bound", [0.0, -1.0, np.nan, np.inf])
def test_bounds_are_positive_and_finite(bound):
    with pytest.raises(OpError):
        golden.quantize(np.ones((2, 3), np.float32), "vllm.per_token", scale_ub=np.float32(bound))


@pytest.mark.parametrize("rule", [rule for rule in RULES if GRANULARITY[rule] != "tensor" and rule not in SEARCH])
def test_each_scale_is_of_its_own_numbers_alone(rule):
    """A group, block or row quantized by itself has the bits that it has among others."""
    x = np.random.default_rng(1).standard_normal((130, 260)).astype(np.float32) * np.float32(3.7)
    x[:, 128:] *= np.float32(0.01)
    x[128:] *= np.float32(100)
    codes, scale = golden.quantize(x, rule)
    high, wide = {"row": (1, 260), "group": (1, 128), "block": (128, 128)}[GRANULARITY[rule]]
    for i, j in ((0, 0), (1, 0), (0, 1), (0, 2), (1, 2)):
        part = slice(i * high, (i + 1) * high), slice(j * wide, (j + 1) * wide)
        if x[part].size:
            alone = golden.quantize(x[part], rule)
            assert_same_bits(alone, (codes[part], scale[i : i + 1, j : j + 1]))
