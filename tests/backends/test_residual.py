# SPDX-License-Identifier: Apache-2.0
"""residual of the cpu backend: golden's bits, however it is run."""

from __future__ import annotations

import numpy as np
import pytest

from bits import BF16, from_bits
from everywhere import assert_everywhere
from inputs.elementwise import residual_cases


@pytest.mark.parametrize("case", residual_cases(), ids=repr)
def test_cases(case):
    assert_everywhere("residual", **case.arguments)


def test_any_bits():
    rng = np.random.default_rng(31)
    for shape in ((1 << 17,), (3, 5, 7), (0, 4), ()):
        assert_everywhere("residual", *(from_bits(rng.integers(0, 1 << 16, shape), BF16) for _ in range(2)))
