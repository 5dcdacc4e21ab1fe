# SPDX-License-Identifier: Apache-2.0
"""The attention temperature against the witness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, from_bits, pattern
from fp8ref.errors import OpError
from fp8ref.golden import temperature as golden
from golden.pages import table
from inputs.temperature import LAST, LLAMA4, cases
from oracle import expected, temperature, temperature_factors

SCALES = st.floats(1e-45, 3e38) | st.sampled_from([1.0, 8192.0, 0.1, 2.0**-149])


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(getattr(golden, case.function)(**case.arguments), expected(case), case.name)


@given(st.lists(st.integers(0, LAST), max_size=5), SCALES, SCALES)
def test_any_factors(positions, floor_scale, attn_scale):
    arguments = (np.array(positions, np.int64), floor_scale, attn_scale)
    assert_same_bits(golden.temperature_factors(*arguments), temperature_factors(*arguments), str(arguments))


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1)), max_size=12))
def test_any_product(pairs):
    x = from_bits([pair[0] for pair in pairs], BF16).reshape(-1, 1, 1)
    factors = from_bits([pair[1] for pair in pairs], np.float32)
    assert_same_bits(golden.temperature(x, factors), temperature(x, factors))


@pytest.mark.parametrize("row", table("temperature.md", "position"), ids=str)
def test_example(row: list[str]) -> None:
    position, n, factor = row
    shown = pattern(golden.temperature_factors([int(position)], **LLAMA4))[0]
    assert f"0x{shown:08X}" == factor
    assert (int(position) + 1) // 8192 == int(n)


@pytest.mark.parametrize("number", [0, -1.0, np.inf, np.nan, 1e-60, 1e39, "x", None])
def test_scales_must_be_positive_and_finite(number):
    for arguments in ((number, 0.1), (8192, number)):
        with pytest.raises(OpError, match="scale must be a number that is positive and finite in float32"):
            golden.temperature_factors([0], *arguments)


@pytest.mark.parametrize("positions", [[-1], [2**24], [0.5], [[1]]])
def test_positions_are_float32_numbers(positions):
    with pytest.raises(OpError, match="positions"):
        golden.temperature_factors(positions, 1, 1)


def test_a_factor_for_each_token():
    for factors in (np.ones(3, np.float32), np.ones((2, 1), np.float32), np.ones(2)):
        with pytest.raises(OpError, match="factors"):
            golden.temperature(np.ones((2, 1, 1), BF16), factors)
