# SPDX-License-Identifier: Apache-2.0
"""silu_mul of the cpu backend: golden's bits for every gate, however it is run and whatever decides."""

from __future__ import annotations

import numpy as np
import pytest

from bits import BF16, assert_same_bits, bf16, from_bits
from everywhere import assert_everywhere
from fp8ref import _ext
from inputs.elementwise import silu_cases

GATES = np.arange(1 << 16, dtype=np.uint16)


def silu(error: float) -> np.ndarray:
    """RN32(silu(g)) of every gate, with that slack in float64 before integers decide."""
    out = np.empty(GATES.shape, np.float32)
    _ext.silu_within(GATES, error, out)
    return out


@pytest.mark.parametrize("case", silu_cases(), ids=repr)
def test_cases(case):
    assert_everywhere("silu_mul", **case.arguments)


def test_every_gate():
    ones = bf16(np.ones(GATES.shape))
    assert_everywhere("silu_mul", from_bits(GATES, BF16), ones)
    assert_everywhere("silu_mul", from_bits(GATES, BF16), np.roll(from_bits(GATES, BF16), 12345))


@pytest.mark.parametrize("bits", [20, 30, 40, 47])
def test_integers_decide_as_float64_does(bits):
    """With slack 2**-20 integers decide most gates; a slack that is too wide for nobody changes no result."""
    assert_same_bits(silu(2.0**-bits), silu(2.0**-48))
