# SPDX-License-Identifier: Apache-2.0
"""Greedy sampling against the witness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, from_bits
from fp8ref.golden import sample as golden
from inputs.elementwise import sample_cases
from oracle import expected, sample


@pytest.mark.parametrize("case", sample_cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(golden.sample(**case.arguments), expected(case), case.name)


@given(st.lists(st.integers(0, 2**32 - 1) | st.sampled_from([0, 2**31, 0x7F800000]), min_size=1, max_size=12))
def test_any_float32(bits):
    logits = from_bits(bits, np.float32)
    assert_same_bits(golden.sample(logits), sample(logits))


@given(st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=12))
def test_any_bf16(bits):
    logits = from_bits(bits, BF16)
    assert_same_bits(golden.sample(logits), sample(logits))
