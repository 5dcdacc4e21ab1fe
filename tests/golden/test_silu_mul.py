# SPDX-License-Identifier: Apache-2.0
"""The gated activation against the witness: every gate, and random pairs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, from_bits
from fp8ref.golden import silu_mul as golden
from inputs.elementwise import silu_cases
from oracle import expected, silu_mul


@pytest.mark.parametrize("case", silu_cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(golden.silu_mul(**case.arguments), expected(case), case.name)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)), max_size=30))
def test_any_bits(pairs):
    gate, up = (from_bits([pair[i] for pair in pairs], BF16) for i in range(2))
    assert_same_bits(golden.silu_mul(gate, up), silu_mul(gate, up))
