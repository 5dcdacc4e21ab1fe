# SPDX-License-Identifier: Apache-2.0
"""The scale rules against the witness: codes and scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import assert_same_bits, from_bits
from fp8ref.golden import quantize as golden
from inputs.quantize import DTYPES, RECIPROCAL_TRAP, ROW_RULES, STATIC, TENSOR_RULES, cases
from oracle import expected, quantize


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(getattr(golden, case.function)(**case.arguments), expected(case), case.name)


@given(st.data())
def test_any_bits(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    rule = data.draw(st.sampled_from([*ROW_RULES, *TENSOR_RULES, STATIC]))
    rows, columns = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 6))
    largest = (1 << 8 * dtype.itemsize) - 1
    bits = data.draw(st.lists(st.integers(0, largest), min_size=rows * columns, max_size=rows * columns))
    x = from_bits(bits, dtype).reshape(rows, columns)
    scale = from_bits(data.draw(st.integers(0, 0x7FFFFFFF)), np.float32)[()] if rule == STATIC else None
    assert_same_bits(golden.quantize(x, rule, scale), quantize(x, rule, scale))


@given(st.data())
def test_ordinary_numbers(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    rule = data.draw(st.sampled_from([*ROW_RULES, *TENSOR_RULES]))
    values = data.draw(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12))
    x = np.array([values], dtype=np.float32).astype(dtype)
    assert_same_bits(golden.quantize(x, rule), quantize(x, rule))


def test_known_bits():
    """The published disagreement: division by the scale, and multiplication by its reciprocal."""
    x = np.array([RECIPROCAL_TRAP], dtype=np.float32)
    codes, scale = golden.quantize(x, "vllm.per_token")
    assert (scale.view(np.uint32).tolist(), codes.view(np.uint8).tolist()) == ([[0x3B1DB6DB]], [[0x7E, 0x3A]])
    codes, _ = golden.quantize(x, "vllm.per_tensor_static", scale[0, 0])
    assert codes.view(np.uint8).tolist() == [[0x7E, 0x3B]]
