# SPDX-License-Identifier: Apache-2.0
"""mma of the cpu backend: golden's bits, however it is run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, from_bits, pattern
from everywhere import assert_everywhere, implementation
from inputs import mma as inputs

# Everything that there is: types of a and b, unit, type of the accumulator.
UNITS = [(types, unit, out) for types, units, outs in inputs.CLASSES for unit, out in itertools.product(units, outs)]
# Less than a step, tails in every direction, several steps; more rows than one task takes.
SHAPES = [(1, 1, 1), (2, 9, 31), (3, 8, 33), (5, 17, 100), (258, 3, 40)]


def normal(rng, shape, dtype, low=-3.0):
    """Normal values times 2**uniform(low, 0)."""
    return (rng.standard_normal(shape) * np.exp2(rng.uniform(low, 0, shape))).astype(np.float32).astype(dtype)


@pytest.mark.parametrize("name, arguments, bits", inputs.probes(), ids=lambda x: x if isinstance(x, str) else "")
def test_probes(name, arguments, bits):
    assert f"{int(pattern(implementation('cpu', 'mma')(**arguments))[0, 0]):#x}" == f"{bits:#x}"


@pytest.mark.parametrize("types, unit, out", UNITS, ids=str)
def test_random(types, unit, out):
    rng = np.random.default_rng(71)
    for m, n, k in SHAPES:
        a, b = normal(rng, (m, k), types[0]), normal(rng, (n, k), types[1])
        assert_everywhere("mma", a, b, None, unit, out)
        assert_everywhere("mma", a, b, normal(rng, (m, n), out), unit, out)


@pytest.mark.parametrize("types, unit, out", UNITS, ids=str)
def test_cancelling(types, unit, out):
    """The largest products cancel, so that what is cut off decides."""
    rng = np.random.default_rng(72)
    a, b = normal(rng, (6, 96), types[0], -12.0), normal(rng, (11, 96), types[1], -12.0)
    a[:, 48:] = -a[:, :48]
    b[:, 48:] = b[:, :48]
    b[:, ::5] = 0
    assert_everywhere("mma", a, b, None, unit, out)
    assert_everywhere("mma", a, b[:, ::-1], normal(rng, (6, 11), out, -12.0), unit, out)


@given(data=st.data(), case=st.sampled_from(UNITS), shape=st.tuples(*(st.integers(0, top) for top in (4, 9, 70))))
def test_any_bits(data, case, shape):
    """Any bits in a, b and c: infinities and NaNs everywhere, in few places, or nowhere."""
    (a_type, b_type), unit, out = case
    m, n, k = shape
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    a, b = inputs.random_bits(rng, (m, k), a_type), inputs.random_bits(rng, (n, k), b_type)
    kept = data.draw(st.sampled_from(["all", "some", "none"]))
    if kept != "all":
        last = a[-1:].copy()
        a, b = inputs.finite(a), inputs.finite(b)
        if kept == "some":
            a[-1:] = last
    c = inputs.random_bits(rng, (m, n), out) if data.draw(st.booleans()) else None
    assert_everywhere("mma", a, b, c, unit, out)


@pytest.mark.parametrize("unit", inputs.WIDE_UNITS)
def test_far_apart(unit):
    """bf16 of all exponents: around the bounds of the narrow kernels, subnormal results, sums that overflow."""
    rng = np.random.default_rng(73)
    for low, high in ((-36, 36), (-34, 34), (-35, 34), (-34, 35), (-75, -55), (-126, -20), (60, 127)):
        scale = np.exp2(rng.integers(low, high + 1, (2, 12, 64)).astype(np.float64))
        a, b = ((1 + rng.random((12, 64))) * s * rng.choice([-1, 1], (12, 64)) for s in scale)
        a[:, 8:], b[:, 40:] = a[:, 8:] * (rng.random((12, 56)) < 0.3), b[:, 40:] * (rng.random((12, 24)) < 0.3)
        a, b = (x.astype(np.float32).astype(BF16) for x in (a, b))
        assert_everywhere("mma", a, b, None, unit)
        assert_everywhere("mma", a, b, inputs.random_bits(rng, (12, 12), np.dtype(np.float32)), unit)


@pytest.mark.parametrize("unit", inputs.WIDE_UNITS)
def test_large_times_zero(unit):
    """A large operand whose products are all 0 takes nothing from an accumulator, however small that is."""
    exponents = np.array([[30], [34], [35], [37], [40], [44], [60], [127]])
    rng = np.random.default_rng(76)
    a, b = np.exp2(np.repeat(exponents, 32, axis=1)).astype(BF16), np.zeros((40, 32), BF16)
    c = np.ldexp(1 + rng.random((8, 40)), np.arange(-112, -72)).astype(np.float32)
    for i, first in itertools.product(range(8), (0, 10, 19)):  # 19: from 2**-93 on, which the narrow kernels take
        assert_everywhere("mma", a[i : i + 1], b[first:], c[i : i + 1, first:], unit)


@pytest.mark.parametrize("unit", inputs.FP8_UNITS)
@pytest.mark.parametrize("exponent", [-149, -140, -126, -94, -93, -60, 99, 100, 101, 127])
def test_small_and_large_accumulators(unit, exponent):
    """c far below and far above all products; rows of a without any product leave c to itself."""
    rng = np.random.default_rng(74)
    a, b = normal(rng, (4, 64), inputs.E5M2), normal(rng, (9, 64), inputs.E4M3)
    a[1], a[2, :32], a[3, 32:] = 0, 0, 0
    c = np.ldexp(1 + rng.random((4, 9)), exponent).astype(np.float32)
    assert_everywhere("mma", a, b, c, unit)


@pytest.mark.parametrize("unit", inputs.FP8_UNITS)
def test_fp16_overflow(unit):
    """Sums past the largest fp16 number stay infinite; two infinities of a late accumulator cancel to NaN."""
    a = np.full((3, 160), 448, np.float32).astype(inputs.E4M3)
    a[1, 32:], a[2, ::2] = -a[1, 32:], 0.125
    c = np.array([[65504, -np.inf, 0], [-65504, np.inf, np.nan], [-0.0, 1, 2.0**-24]], np.float16)
    for given_c in (None, c):
        assert_everywhere("mma", a, a, given_c, unit, "float16")
        assert_everywhere("mma", a, -a, given_c, unit, "float16")


@pytest.mark.parametrize("types, unit, out", [row for row in UNITS if row[2] == "float16"], ids=str)
def test_subnormal_fp16(types, unit, out):
    """Subnormal accumulators, which keep the exponent of the smallest normal number, and products as small."""
    rng = np.random.default_rng(75)

    def small(shape, dtype, top):
        sign = np.array(1 << (8 * np.dtype(dtype).itemsize - 1))
        return from_bits(rng.integers(0, top, shape) + sign * rng.integers(0, 2, shape), dtype)

    tops = {"float8_e4m3fn": 0x0C, "float8_e5m2": 0x08, "float16": 0x0C00}
    a, b = (small((rows, 64), dtype, tops[dtype.name]) for rows, dtype in zip((40, 50), types, strict=True))
    for low in (a, a[:, :1], a[:, :40]):
        k = low.shape[1]
        assert_everywhere("mma", low, b[:, :k], small((40, 50), out, 0x0500), unit, out)


@pytest.mark.parametrize("types, unit, out", UNITS, ids=str)
def test_nan_is_that_of_tensor_cores(types, unit, out):
    wanted = 0x7FFFFFFF if out == "float32" else 0x7FFF
    a, b = np.ones((3, 40), types[0]), np.ones((9, 40), types[1])
    a[0, 39], b[4, 0] = np.nan, -np.nan
    c = np.zeros((3, 9), out)
    c[2, 8] = from_bits(0xFFC00001 if out == "float32" else 0xFE01, out)
    bits = pattern(implementation("cpu", "mma")(a, b, c, unit, out))
    assert {int(x) for x in (*bits[0], *bits[:, 4], bits[2, 8])} == {wanted}
    assert (bits[1, :4] < wanted).all()
