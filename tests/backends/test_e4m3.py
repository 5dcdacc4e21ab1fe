# SPDX-License-Identifier: Apache-2.0
"""encode and decode of the cpu backend: golden's bits, however they are run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import from_bits
from everywhere import assert_everywhere
from inputs.e4m3 import POLICIES, cases

WIDE = {np.float32: 32, np.float64: 64}


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_listed(case):
    assert_everywhere(case.function, **case.arguments)


@pytest.mark.parametrize("dtype", WIDE)
@given(data=st.data(), overflow=st.sampled_from(POLICIES))
def test_any_bits(dtype, data, overflow):
    bits = data.draw(st.lists(st.integers(0, 2 ** WIDE[dtype] - 1), max_size=40))
    assert_everywhere("encode", from_bits(bits, dtype), overflow)


@pytest.mark.parametrize("overflow", POLICIES)
def test_long_array(overflow):
    """More than one chunk per thread, and a length that fills no vector."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal(300_001) * np.exp2(rng.uniform(-14, 12, 300_001))
    assert_everywhere("encode", x, overflow)
    assert_everywhere("encode", x.astype(np.float32), overflow)
    assert_everywhere("decode", rng.integers(0, 256, 300_001, np.uint8))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 4)])
def test_shapes(shape):
    assert_everywhere("encode", np.full(shape, 1.25))
    assert_everywhere("decode", np.full(shape, 0x39, np.uint8))


def test_strided():
    x = np.arange(60, dtype=np.float32).reshape(6, 10)
    assert_everywhere("encode", x.T[::2])
    assert_everywhere("decode", x.astype(np.uint8)[::-1, ::3])
