# SPDX-License-Identifier: Apache-2.0
"""encode and decode against the witness: everything that can be listed, random bits for the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import assert_same_bits, from_bits
from fp8ref.golden import e4m3
from inputs.e4m3 import POLICIES, cases
from oracle import encode, expected


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(getattr(e4m3, case.function)(**case.arguments), expected(case), case.name)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.sampled_from(POLICIES))
def test_any_float64(bits, overflow):
    x = from_bits(bits, np.float64)
    assert_same_bits(e4m3.encode(x, overflow), encode(x, overflow))


@given(st.lists(st.floats(-600, 600) | st.floats(-(2.0**-5), 2.0**-5), max_size=40), st.sampled_from(POLICIES))
def test_float64_in_range(values, overflow):
    x = np.array(values, dtype=np.float64)
    assert_same_bits(e4m3.encode(x, overflow), encode(x, overflow))


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40), st.sampled_from(POLICIES))
def test_any_float32(bits, overflow):
    x = from_bits(bits, np.float32)
    assert_same_bits(e4m3.encode(x, overflow), encode(x, overflow))


def test_known_codes():
    """The values that everybody quotes, so that witness and golden cannot be wrong together."""
    values = [0.0, -0.0, 1.0, -1.5, 448.0, 464.0, 2.0**-9, 2.0**-10, 3 * 2.0**-10, np.nan, -np.nan]
    assert e4m3.encode(np.array(values), "nan").view(np.uint8).tolist() == [
        *(0x00, 0x80, 0x38, 0xBC, 0x7E, 0x7E, 0x01, 0x00, 0x02, 0x7F, 0x7F)
    ]
    large = np.array([465.0, -465.0, np.inf, -np.inf])
    assert e4m3.encode(large, "saturate").view(np.uint8).tolist() == [0x7E, 0xFE, 0x7E, 0xFE]
    assert e4m3.encode(large, "nan").view(np.uint8).tolist() == [0x7F] * 4
