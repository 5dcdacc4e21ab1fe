# SPDX-License-Identifier: Apache-2.0
"""residual and gated_residual of the cpu backend: golden's bits, however they are run."""

from __future__ import annotations

import numpy as np
import pytest

from bits import BF16, assert_same_bits, bf16, from_bits
from everywhere import assert_everywhere, implementation
from fp8ref.golden import residual as golden
from fp8ref.golden._round import round_to
from inputs.elementwise import residual_cases


@pytest.mark.parametrize("case", residual_cases(), ids=repr)
def test_cases(case):
    assert_everywhere(case.function, **case.arguments)


def test_any_bits():
    rng = np.random.default_rng(31)
    for shape in ((1 << 17,), (3, 5, 7), (0, 4), ()):
        assert_everywhere("residual", *(from_bits(rng.integers(0, 1 << 16, shape), BF16) for _ in range(2)))


def test_every_gate():
    gated, one = implementation("cpu", "gated_residual"), bf16([1])
    gates = from_bits(np.arange(1 << 16), BF16)
    found = np.concatenate([gated(one * 0, one, gate[None]) for gate in gates])
    with np.errstate(invalid="ignore"):  # signalling NaNs
        expected = round_to(golden.tanh(gates.astype(np.float64)), "bfloat16")
    expected[expected == 0] = 0  # the sum of zeros is +0
    assert_same_bits(found, expected)


def test_any_gated_bits():
    rng = np.random.default_rng(33)
    for shape in ((1 << 16,), (3, 5, 7), (0, 4), ()):
        x, y, gate = (from_bits(rng.integers(0, 1 << 16, n), BF16) for n in (shape, shape, 1))
        assert_everywhere("gated_residual", x, y, gate)
        assert_everywhere("gated_residual", x, y, bf16([0.75]))
