# SPDX-License-Identifier: Apache-2.0
"""The bf16 projection against the witness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, from_bits, pattern
from fp8ref.golden import linear as golden
from inputs.linear import cases
from oracle import expected, linear
from witness import formats
from witness.arithmetic import dot


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(golden.linear(**case.arguments), expected(case), case.name)


def test_witness_rounds_a_sum_once():
    """1 + 2**-24 + 2**-80 is above a tie of fp32; a float64 sum would lose that."""
    terms = [formats.encode(formats.BF16, formats.dyadic(1, e)) for e in (0, -24, -80)]
    value = dot(formats.BF16, terms, formats.BF16, [0x3F80] * 3)
    assert formats.encode(formats.FP32, value) == int(pattern(np.float32(1 + 2.0**-23)))


@given(st.data())
def test_any_bits(data):
    m, n, k = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3)), data.draw(st.integers(0, 12))
    # A narrow window of exponents brings cancellation, a wide one what is lost beside large terms.
    low = data.draw(st.integers(0, 255))
    high = data.draw(st.integers(low, min(255, low + data.draw(st.sampled_from([0, 8, 40, 255])))))
    number = st.tuples(
        st.integers(0, 1), st.integers(low, high), st.sampled_from([0, 1, 64, 127]) | st.integers(0, 127)
    )
    bits = number.map(lambda t: t[0] << 15 | t[1] << 7 | t[2])
    x, weight = (
        from_bits(data.draw(st.lists(bits, min_size=rows * k, max_size=rows * k)), BF16).reshape(rows, k)
        for rows in (m, n)
    )
    bias = None
    if data.draw(st.booleans()):
        bias = from_bits(data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=n, max_size=n)), np.float32)
    assert_same_bits(golden.linear(x, weight, bias), linear(x, weight, bias))


@given(st.data())
def test_cancellation(data):
    """Terms in pairs of opposite sign, a few small ones left over, in any order."""
    number = st.tuples(st.integers(0, 1), st.integers(1, 254), st.integers(0, 127))
    pairs = data.draw(st.lists(number.map(lambda t: t[0] << 15 | t[1] << 7 | t[2]), max_size=6))
    rest = data.draw(st.lists(st.integers(0, 0xFFFF).filter(lambda b: b & 0x7F80 != 0x7F80), max_size=3))
    terms = data.draw(st.permutations([*pairs, *(b ^ 0x8000 for b in pairs), *rest]))
    x = from_bits(terms, BF16).reshape(1, -1)
    ones = from_bits([0x3F80] * len(terms), BF16).reshape(1, -1)
    assert_same_bits(golden.linear(x, ones), linear(x, ones))
