# SPDX-License-Identifier: Apache-2.0
"""RMSNorm against the witness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, from_bits
from fp8ref.golden import rmsnorm as golden
from inputs.rmsnorm import cases
from oracle import expected, rmsnorm


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(golden.rmsnorm(**case.arguments), expected(case), case.name)


@given(st.data())
def test_any_bits(data):
    n = data.draw(st.integers(1, 8))
    row = st.lists(st.integers(0, 0xFFFF), min_size=n, max_size=n)
    x = from_bits(data.draw(st.lists(row, min_size=1, max_size=3)), BF16)
    weight = from_bits(data.draw(row), BF16) if data.draw(st.booleans()) else None
    eps = data.draw(st.sampled_from([1e-5, 1e-6, 1.0]) | st.floats(1e-44, 1e38))
    assert_same_bits(golden.rmsnorm(x, weight, eps), rmsnorm(x, weight, eps))


@given(st.data())
def test_ordinary_numbers(data):
    number = st.tuples(st.integers(0, 1), st.integers(115, 130), st.integers(0, 127))
    bits = number.map(lambda t: t[0] << 15 | t[1] << 7 | t[2])
    n = data.draw(st.integers(1, 12))
    row = st.lists(bits, min_size=n, max_size=n)
    x, weight = from_bits([data.draw(row)], BF16), from_bits(data.draw(row), BF16)
    assert_same_bits(golden.rmsnorm(x, weight, 1e-5), rmsnorm(x, weight, 1e-5))
