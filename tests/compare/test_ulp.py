# SPDX-License-Identifier: Apache-2.0
"""Distances in units in the last place, against the order of all patterns of a format. [BOUND-ULP]"""

from __future__ import annotations

import numpy as np
import pytest

from bits import BF16, E4M3, from_bits
from fp8ref.compare import ulp
from fp8ref.errors import OpError

FAR = 2**63 - 1


@pytest.mark.parametrize("dtype", [BF16, np.dtype(np.float16), E4M3], ids=str)
def test_every_pattern_is_one_from_the_next(dtype):
    bits = np.arange(1 << 8 * dtype.itemsize)
    with np.errstate(invalid="ignore"):
        values = from_bits(bits, dtype).astype(np.float64)
    order = np.argsort(values, kind="stable")
    order = order[~np.isnan(values[order])]
    x = from_bits(order, dtype)
    distance = ulp(x[1:], x[:-1])
    zeros = values[order][1:] == values[order][:-1]
    assert (distance == ~zeros).all() and zeros.sum() == 1
    assert (ulp(x, x) == 0).all()
    assert ulp(x[-1:], x[:1]).tolist() == [len(x) - 2]


def test_float32():
    x = np.float32([1, -1, 0.0, 3.4028235e38, np.nan, np.nan, -np.nan])
    y = np.float32([1 - 2**-24, -1 - 2**-23, -0.0, np.inf, 1, np.nan, np.nan])
    assert ulp(x, y).tolist() == [1, 1, 0, 1, FAR, 0, 0]
    assert ulp(np.float32(2.0**-149), np.float32(-(2.0**-149))) == 2


@pytest.mark.parametrize("x, y", [(np.zeros(2), np.zeros(2)), (np.zeros(2, BF16), np.zeros(3, BF16)), (1, 1)])
def test_arguments_without_meaning(x, y):
    with pytest.raises(OpError, match=r"compare\.ulp: "):
        ulp(x, y)
    with pytest.raises(OpError, match=r"compare\.ulp: "):
        ulp(np.zeros(2, np.float32), np.zeros(2, BF16))
