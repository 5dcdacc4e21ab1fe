# SPDX-License-Identifier: Apache-2.0
"""The residual addition against the witness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, from_bits
from fp8ref.golden import residual as golden
from inputs.elementwise import residual_cases
from oracle import expected, residual


@pytest.mark.parametrize("case", residual_cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(golden.residual(**case.arguments), expected(case), case.name)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)), max_size=30))
def test_any_bits(pairs):
    x, y = (from_bits([pair[i] for pair in pairs], BF16) for i in range(2))
    assert_same_bits(golden.residual(x, y), residual(x, y))
