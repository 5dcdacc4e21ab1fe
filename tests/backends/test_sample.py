# SPDX-License-Identifier: Apache-2.0
"""sample of the cpu backend: golden's choice, however it is run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, from_bits
from everywhere import assert_everywhere
from inputs.elementwise import sample_cases


@pytest.mark.parametrize("case", sample_cases(), ids=repr)
def test_cases(case):
    assert_everywhere("sample", **case.arguments)


@given(
    bits=st.lists(st.sampled_from([0, 0x8000, 0x3F80, 0xBF80, 0x7F80, 0xFF80, 0x7FC0, 0xFFC1, 1]), min_size=1),
    dtype=st.sampled_from([BF16, np.dtype(np.float32)]),
)
def test_few_different_logits(bits, dtype):
    """Equal logits, zeros of both signs, infinities and NaNs of both signs."""
    assert_everywhere("sample", from_bits(bits, BF16).astype(dtype))


def test_shapes():
    rng = np.random.default_rng(32)
    for shape in ((7, 1000), (2, 3, 50), (0, 4), (1, 1), (49152,)):
        assert_everywhere("sample", rng.standard_normal(shape).astype(np.float32))
