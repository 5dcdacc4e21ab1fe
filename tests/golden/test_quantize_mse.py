# SPDX-License-Identifier: Apache-2.0
"""The pieces of the mse search: powers and sums rounded once, also where float64 cannot decide. [QUANT-MSE]"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from bits import BF16, assert_same_bits, from_bits
from fp8ref.golden import _mse
from witness import quantize_mse
from witness.arithmetic import rounded, total
from witness.formats import FORMATS, decode, encode

DTYPES = (BF16, np.dtype(np.float16), np.dtype(np.float32))
UNIT = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23}


def _numbers(dtype: np.dtype) -> np.ndarray:
    """Of every size, the powers of which underflow and overflow too; 0, 1 and infinity."""
    infinity = {"bfloat16": 0x7F80, "float16": 0x7C00, "float32": 0x7F800000}[dtype.name]
    bits = np.random.default_rng(2).integers(0, infinity, 300)
    edges = np.array([0.0, 1.0, 2.0, 2.0**-8, np.inf], np.float32).astype(dtype)
    return np.concatenate([from_bits(bits, dtype), edges])


@pytest.mark.parametrize("error", [_mse.POW_ERROR, 2.0**-9], ids=["as it is", "mostly decided with integers"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_power_is_rounded_once(dtype, error, monkeypatch):
    monkeypatch.setattr(_mse, "POW_ERROR", error)
    x, fmt = _numbers(dtype), FORMATS[dtype.name]
    bits = x.view(f"u{dtype.itemsize}").tolist()
    expected = [encode(fmt, quantize_mse._power(fmt, decode(fmt, b))) for b in bits]
    got = _mse.power(x.astype(np.float32), dtype.name)
    assert_same_bits(got, from_bits(expected, dtype).astype(np.float32))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sum_is_rounded_once(dtype):
    """Rows whose sum is a tie of T, or beside one by less than float64 sees."""
    fmt, unit = FORMATS[dtype.name], UNIT[dtype.name]
    rows = [[1.0, unit / 2, tiny] for tiny in (0.0, 2.0**-14, 2.0**-24)] + [[1 + unit, unit / 2, 0.0], [0.0, 0.0, 0.0]]
    rows += [[1.0, unit / 2, 2.0**-120]] if dtype != np.float16 else []
    terms = np.array(rows, np.float32)
    expected = [encode(fmt, rounded(fmt, total([Fraction(x) for x in row]))) for row in terms.tolist()]
    assert_same_bits(_mse.total(terms, dtype.name), from_bits(expected, dtype).astype(np.float32))
