# SPDX-License-Identifier: Apache-2.0
"""scaled_mm of the cpu backend: golden's bits, however it is run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, from_bits
from everywhere import assert_everywhere

ACCUMULATORS = ("exact", "sm90_wgmma")
OTHER_ACCUMULATORS = ("sm90_wgmma_promoted", "sm90_mma_sync", "sm89_mma", "sm100_tcgen05", "sm120_mma")
OUT_DTYPES = ("float32", "bfloat16", "float16")
EXACT_ORDERS, BLOCK_ORDERS = ("a_b", "b_a", "ab"), ("deepgemm", "triton", "triton_ba")
E4M3_OUT = {"out_dtype": "float8_e4m3fn", "out_scale": np.float32(0.37)}
# One row, less than a tile, tails in every direction, several blocks, more than one block of K.
SHAPES = [(1, 1, 1), (1, 100, 576), (1, 7, 33), (2, 3, 31), (5, 10, 64), (4, 97, 100), (131, 200, 72), (9, 30, 1001)]


def random_codes(rng, shape, spread=0x7E):
    """Finite codes of magnitude up to `spread`."""
    return (rng.integers(0, spread + 1, shape) | rng.integers(0, 2, shape) << 7).astype(np.uint8)


def random_scale(rng, rows):
    return np.exp2(rng.uniform(-12, 2, (rows, 1))).astype(np.float32)


@pytest.mark.parametrize("accumulate", ACCUMULATORS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_random(shape, accumulate):
    m, n, k = shape
    rng = np.random.default_rng(5)
    a, b = random_codes(rng, (m, k)), random_codes(rng, (n, k))
    a_scale, b_scale = random_scale(rng, m), random_scale(rng, n)
    bias = rng.standard_normal(n).astype(np.float32)
    for out_dtype in OUT_DTYPES:
        assert_everywhere("scaled_mm", a, b, a_scale, b_scale, None, out_dtype, accumulate)
        assert_everywhere("scaled_mm", a, b, np.float32(0.01), np.float32(0.3), bias, out_dtype, accumulate)


@pytest.mark.parametrize("accumulate", ACCUMULATORS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_small_and_cancelling(shape, accumulate):
    """Subnormal codes; pairs that cancel, so that what is cut off decides; exact zeros."""
    m, n, k = shape
    rng = np.random.default_rng(6)
    a, b = random_codes(rng, (m, k), 0x12), random_codes(rng, (n, k))
    half = k // 2
    a[:, half : 2 * half] = a[:, :half] ^ 0x80
    for keep in (0, 1, 3):
        b[:, half : 2 * half] = b[:, :half]
        b[:, : min(keep, k)] ^= 0x05
        b[(b & 0x7F) == 0x7F] = 0
        assert_everywhere("scaled_mm", a, b, 1.0, 1.0, None, "float32", accumulate)


@pytest.mark.parametrize("accumulate", ACCUMULATORS)
@pytest.mark.parametrize("m", [1, 6])
def test_nan_codes(m, accumulate):
    rng = np.random.default_rng(7)
    a, b = random_codes(rng, (m, 70)), random_codes(rng, (40, 70))
    b[5, 69], b[17, 0], b[39, 33] = 0x7F, 0xFF, 0x7F
    assert_everywhere("scaled_mm", a, b, 1.0, 1.0, None, "bfloat16", accumulate)
    a[m - 1, 40] = 0xFF
    assert_everywhere("scaled_mm", a, b, 1.0, 1.0, None, "bfloat16", accumulate)


@pytest.mark.parametrize("accumulate", ACCUMULATORS)
@given(
    data=st.data(),
    shape=st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 70)),
    out_dtype=st.sampled_from(OUT_DTYPES),
)
def test_anything(accumulate, data, shape, out_dtype):
    """Any codes, any scales with a clear sign bit (Inf and NaN too), any bias."""
    m, n, k = shape
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    a, b = (rng.integers(0, 256, (rows, k), np.uint8) for rows in (m, n))
    if data.draw(st.booleans()):
        a[(a & 0x7F) == 0x7F], b[(b & 0x7F) == 0x7F] = 1, 0x81
    a_scale = from_bits(rng.integers(0, 2**31, (m, 1)), np.float32)
    b_scale = from_bits(rng.integers(0, 2**15, (n, 1)), BF16)
    bias = data.draw(st.sampled_from([None, from_bits(rng.integers(0, 2**32, n), np.float32)]))
    assert_everywhere("scaled_mm", a, b, a_scale, b_scale, bias, out_dtype, accumulate)


@pytest.mark.parametrize("epilogue", EXACT_ORDERS)
@given(seed=st.integers(0, 2**32), k=st.integers(0, 70), overflow=st.sampled_from(["saturate", "nan"]))
def test_orders_and_e4m3(epilogue, seed, k, overflow):
    """Every order of the scales into every output type, with multipliers of E4M3 that are any number."""
    rng = np.random.default_rng(seed)
    a, b = random_codes(rng, (3, k)), random_codes(rng, (5, k))
    scales = from_bits(rng.integers(0, 2**31, (3, 1)), np.float32), random_scale(rng, 5)
    for bias in (None, from_bits(rng.integers(0, 2**32, 5), np.float32)):
        assert_everywhere("scaled_mm", a, b, *scales, bias, "float32", epilogue=epilogue)
        assert_everywhere("scaled_mm", a, b, *scales, bias, epilogue=epilogue, overflow=overflow, **E4M3_OUT)
    wild = E4M3_OUT | {"out_scale": from_bits(rng.integers(0, 2**31, ()), np.float32), "overflow": overflow}
    assert_everywhere("scaled_mm", a, b, *scales, epilogue=epilogue, **wild)


@pytest.mark.parametrize("columns", [1, 128], ids="{} columns a scale".format)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 200, 700), (2, 130, 129), (7, 97, 384), (130, 5, 1001)], ids=str)
def test_blocks(shape, columns):
    """Scales of full fractions, of powers of two (where ties are), and scales that make sums cancel."""
    m, n, k = shape
    rng = np.random.default_rng(9)
    a, b = random_codes(rng, (m, k)), random_codes(rng, (n, k))
    bias = rng.standard_normal(n).astype(np.float32)
    sizes = (m, -(-k // 128)), (-(-n // columns), -(-k // 128))
    full = [np.exp2(rng.uniform(-12, 2, size)).astype(np.float32) for size in sizes]
    powers = [np.exp2(rng.integers(-3, 3, size)).astype(np.float32) for size in sizes]
    far = [from_bits(rng.integers(0, 0x7F800000, size), np.float32) for size in sizes]
    for scales in (full, powers, far):
        for out_dtype in OUT_DTYPES:
            assert_everywhere("scaled_mm", a, b, *scales, None, out_dtype)
        assert_everywhere("scaled_mm", a, b, *scales, bias, "float32")
        assert_everywhere("scaled_mm", a, b, *scales, bias, overflow="nan", **E4M3_OUT)
    for epilogue in BLOCK_ORDERS if k > 128 else ():
        for accumulate in ACCUMULATORS:
            assert_everywhere("scaled_mm", a, b, *full, bias, "float32", accumulate, epilogue)
            assert_everywhere("scaled_mm", a, b, *far, None, "bfloat16", accumulate, epilogue)


@pytest.mark.parametrize("m", [1, 3])
def test_blocks_that_cancel(m):
    """Equal blocks of both signs: all that is left is the last block, or a bias, or nothing."""
    rng = np.random.default_rng(10)
    block, last = random_codes(rng, (m, 128)), random_codes(rng, (m, 2), 0x04)
    a = np.concatenate([block, block, last], axis=1)
    half, tail = random_codes(rng, (40, 128)), random_codes(rng, (40, 2), 0x04)
    b = np.concatenate([half, half ^ 0x80, tail], axis=1)
    b[::3, 256:] = 0
    scales = [np.tile(from_bits(rng.integers(0, 0x7F800000, (rows, 1)), np.float32), (1, 3)) for rows in (m, 40)]
    scales[0][:, 2], scales[1][:, 2] = 2.0**-149, 1 + 2.0**-23
    for bias in (None, np.full(40, 2.0**-149, np.float32), np.full(40, -0.0, np.float32)):
        for out_dtype in OUT_DTYPES:
            assert_everywhere("scaled_mm", a, b, *scales, bias, out_dtype)


@pytest.mark.parametrize("epilogue", ["a_b", *BLOCK_ORDERS])
@given(seed=st.integers(0, 2**32), shape=st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(129, 300)))
def test_blocks_of_anything(epilogue, seed, shape):
    """Any codes and scales: NaN, infinite, zero and subnormal ones, which meet in every way."""
    m, n, k = shape
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 256, (rows, k), np.uint8) for rows in (m, n))
    if seed % 4:
        a[(a & 0x7F) == 0x7F], b[(b & 0x7F) == 0x7F] = 0, 0x80
    a[:, :128] = 0 if seed % 3 == 0 else a[:, :128]
    values = from_bits([0, 0, 1, 0x3F800000, 0x3F812345, 0x7F7FFFFF, 0x7F800000, 0x7FC00000], np.float32)
    scales = [rng.choice(values[: 8 - seed % 3], (rows, -(-k // 128))) for rows in (m, n)]
    for bias in (None, from_bits(rng.integers(0, 2**32, n), np.float32), np.full(n, np.inf, np.float32)):
        assert_everywhere("scaled_mm", a, b, *scales, bias, "float32", epilogue=epilogue)
        assert_everywhere("scaled_mm", a, b, *scales, bias, epilogue=epilogue, overflow="nan", **E4M3_OUT)


@pytest.mark.parametrize("accumulate", [*ACCUMULATORS, *OTHER_ACCUMULATORS])
def test_split_k(accumulate):
    """Parts of whole blocks of 128, the last ones short or empty; block epilogues with every accumulator."""
    rng = np.random.default_rng(12)
    a, b = random_codes(rng, (3, 700)), random_codes(rng, (20, 700))
    scales = random_scale(rng, 3), random_scale(rng, 20)
    for split_k in (1, 2, 4, 5, 6, 7, 2**31 - 1):
        assert_everywhere("scaled_mm", a, b, *scales, None, "float32", accumulate, "b_a", split_k)
    blocks = [np.exp2(rng.uniform(-12, 2, (rows, 6))).astype(np.float32) for rows in (3, 20)]
    for epilogue in BLOCK_ORDERS:
        assert_everywhere("scaled_mm", a, b, *blocks, None, "float32", accumulate, epilogue)


def test_beyond_one_span():
    """K above 171,196: the largest products of both signs, and an odd remainder that float64 alone would lose."""
    k = 2 * 171_196 + 5
    for m in (1, 3):
        a, b = np.full((m, k), 0x7E, np.uint8), np.full((4, k), 0x7E, np.uint8)
        b[1], b[2, ::2] = 0x01, 0xFE
        b[3, k // 2 :] = 0xFE
        a[0, -1] = 0x01
        assert_everywhere("scaled_mm", a, b, 1.0, 1.0, None, "float32")


def test_strided():
    rng = np.random.default_rng(8)
    a, b = random_codes(rng, (40, 6)), random_codes(rng, (20, 80))
    assert_everywhere("scaled_mm", a.T, b[:, ::2], random_scale(rng, 12)[::2], 1.0)
