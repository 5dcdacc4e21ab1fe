# SPDX-License-Identifier: Apache-2.0
"""attention of the cpu backend: golden's bits, however it is run and whatever decides."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, from_bits
from everywhere import assert_everywhere, implementation
from fp8ref import _ext
from fp8ref.golden._args import MASKS
from fp8ref.golden.attention import score_factor
from inputs import attention_unit
from inputs.attention import UNIT, cases
from inputs.mma import MODES

# queries, keys, query heads, key heads, head dimension
SHAPES = [
    (1, 1, 1, 1, 1),
    (5, 7, 4, 2, 8),
    (33, 40, 3, 1, 7),
    (70, 70, 9, 3, 64),
    (1, 300, 9, 3, 64),
    (2, 130, 8, 8, 13),
]


def normal(rng, shape, spread=0.0):
    values = rng.standard_normal(shape) * np.exp2(rng.uniform(-spread, spread, shape))
    return values.astype(np.float32).astype(BF16)


def heads(rng, shape, spread=0.0):
    queries, keys, q_heads, kv_heads, d = shape
    sizes = ((queries, q_heads, d), (keys, kv_heads, d), (keys, kv_heads, d))
    return [normal(rng, size, spread) for size in sizes]


@pytest.mark.parametrize("case", [*cases(), *attention_unit.cases()], ids=repr)
def test_cases(case):
    assert_everywhere("attention", **case.arguments)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("mask", ["causal", "full"])
def test_random(shape, mask):
    rng = np.random.default_rng(71)
    assert_everywhere("attention", *heads(rng, shape), mask=mask)
    assert_everywhere("attention", *heads(rng, shape, 3.0), 0.7, mask)
    for mode in MODES:
        assert_everywhere("attention", *heads(rng, shape, 3.0), 0.7, mask, mode)


@pytest.mark.parametrize("spread", [6.0, 20.0, 60.0])
def test_wide_range(spread):
    """Weights and values of all magnitudes: many scores and quotients are left to the exact paths."""
    rng = np.random.default_rng(72)
    for shape in ((6, 9, 2, 1, 5), (3, 70, 1, 1, 3)):
        for accumulate in ("exact", *MODES):
            assert_everywhere("attention", *heads(rng, shape, spread), accumulate=accumulate)


@given(st.data())
@settings(max_examples=100)
def test_ties(data):
    """Few different scores and values, so that quotients are ties, zeros, or decided by terms far below."""
    keys, d = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    values = [1.0, 1 + 2.0**-7, 1 + 2.0**-6, -1.0, 0.0, -0.0, 2.0**-133, -(2.0**-133), 3.3e38, 2.0**100]
    k = rng.choice([0.0, 0.0, 0.0, 1.0, -1.0, -200.0, -(2.0**20), -(2.0**100)], (keys, 1, 1))
    v = rng.choice(values[: data.draw(st.integers(1, len(values)))], (keys, 1, d))
    k, v = (np.repeat(x, n, 2).astype(np.float32).astype(BF16) for x, n in ((k, d), (v, 1)))
    assert_everywhere("attention", np.ones((1, 1, d), BF16), k, v, 1.0, "full")


@given(st.data())
@settings(max_examples=60)
def test_any_bits(data):
    """NaN and infinities anywhere, also where the mask hides them."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shapes = ((4, 4, 3), (6, 2, 3), (6, 2, 3))
    limit = data.draw(st.sampled_from([0x10000, 0x7F80, 0x4100]))
    q, k, v = (from_bits(rng.integers(0, limit, shape), BF16) for shape in shapes)
    for array in (q, k, v):
        for _ in range(data.draw(st.integers(0, 2))):
            special = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 3e38]))
            array[tuple(rng.integers(0, n) for n in array.shape)] = special
    mask, accumulate = (data.draw(st.sampled_from(names)) for names in (MASKS, ["exact", *MODES]))
    chunk = data.draw(st.integers(1, 7)) if mask == "chunked" else None
    assert_everywhere("attention", q, k, v, mask=mask, accumulate=accumulate, chunk=chunk)


def test_every_weight():
    """Scores on both sides of every threshold of 2**t, at several exponents: v = (1, 0) shows the weight."""
    t = [math.log2((2 * m + 1) / 256) + whole for m in range(128, 256) for whole in (-9, -1, 0, 4, 9)]
    t = np.array([*t, 0.0, -1e-30, 1e-30, -(2.0**22), 2.0**22, 2.0**23 + 1, -(2.0**24)], np.float32)
    t = np.concatenate([t, np.nextafter(t, np.float32(np.inf)), np.nextafter(t, np.float32(-np.inf))])
    high = from_bits(t.view(np.uint32) & 0xFFFF0000, np.float32)  # t as a sum of three bf16 numbers
    middle = from_bits((t - high).view(np.uint32) & 0xFFFF0000, np.float32)
    q = np.stack([high, middle, t - high - middle], 1).astype(BF16)[:, None, :]
    k = np.array([[[1.0] * 3], [[0.0] * 3]], BF16)
    v = np.array([[[1.0, 0.0, 3.0]], [[0.0, 1.0, -5.0]]], BF16)
    for accumulate in ("exact", *MODES):
        assert_everywhere("attention", q, k, v, UNIT, "full", accumulate)


@pytest.mark.parametrize("accumulate", ["exact", *MODES])
def test_cuts_change_nothing(accumulate):
    """A prefill at once, in chunks, and token by token. [ATTN-UNIT-CUT]"""
    attention = implementation("cpu", "attention")
    q, k, v = heads(np.random.default_rng(73), (140, 140, 6, 2, 24))
    whole = attention(q, k, v, accumulate=accumulate)
    for step in (1, 7, 64):
        ends = range(step, 140 + step, step)
        parts = [attention(q[e - step : e], k[:e], v[:e], accumulate=accumulate) for e in ends]
        assert_same_bits(np.concatenate(parts), whole)


def test_superblocks():
    """Two superblocks and a part of a third, by one query and by several, values that are not finite among them."""
    rng = np.random.default_rng(75)
    for spread in (0.0, 30.0):
        q, k, v = heads(rng, (3, 4200, 2, 1, 9), spread)
        v[rng.integers(0, 4200, 3), 0, rng.integers(0, 9, 3)] = [np.inf, -np.inf, np.nan]
        for mode in MODES:
            assert_everywhere("attention", q, k, v, accumulate=mode)


# queries, keys, query heads, key heads, head dimension; chunks: of one key, beside a block's and a task's edges, odd
# ones, all keys, and one that begins anew at a superblock
CHUNKS = [
    ((70, 140, 2, 1, 5), (1, 33, 64, 128, 139, 140)),
    ((1, 300, 6, 2, 16), (1, 128, 299, 300, 1 << 40)),
    ((131, 131, 1, 1, 3), (2, 65, 127, 129)),
    ((5, 2310, 2, 1, 5), (2048, 2307, 1000)),
]


@pytest.mark.parametrize("shape, chunk", [(shape, chunk) for shape, chunks in CHUNKS for chunk in chunks])
def test_chunks(shape, chunk):
    rng = np.random.default_rng(76)
    for spread, accumulate in ((0.0, "exact"), (30.0, "exact"), (2.0, MODES[chunk % 3])):
        q, k, v = heads(rng, shape, spread)
        k[rng.integers(0, len(k), 2), 0, 0] = [np.nan, -np.inf]
        v[rng.integers(0, len(v), 3), 0, rng.integers(0, shape[4], 3)] = [np.inf, -np.inf, np.nan]
        assert_everywhere("attention", q, k, v, None, "chunked", accumulate, chunk)


@pytest.mark.parametrize("accumulate", ["exact", *MODES])
def test_cuts_of_chunks_change_nothing(accumulate):
    """A prefill at once and in parts, whose chunks are those of absolute positions. [ATTN-VISIBLE]"""
    attention = implementation("cpu", "attention")
    q, k, v = heads(np.random.default_rng(77), (140, 140, 6, 2, 24))
    whole = attention(q, k, v, None, "chunked", accumulate, 48)
    for step in (1, 7, 64):
        ends = [min(140, e) for e in range(step, 140 + step, step)]
        starts = [0, *ends[:-1]]
        parts = [
            attention(q[s:e], k[:e], v[:e], None, "chunked", accumulate, 48) for s, e in zip(starts, ends, strict=True)
        ]
        assert_same_bits(np.concatenate(parts), whole)


def test_factor():
    for d in range(1, 1025):
        assert_same_bits(np.float32(_ext.attention_default_factor(d)), score_factor(d, None), f"d = {d}")
    rng = np.random.default_rng(74)
    for scale in np.r_[rng.uniform(0, 2, 300), np.exp2(rng.uniform(-160, 127, 300)), 0.0, 1e-300, 5e-324]:
        assert_same_bits(np.float32(_ext.attention_factor(scale)), score_factor(1, float(scale)), f"scale {scale}")
