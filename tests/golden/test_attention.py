# SPDX-License-Identifier: Apache-2.0
"""Attention against the witness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, from_bits
from fp8ref.errors import OpError
from fp8ref.golden import attention as golden
from inputs import attention_unit
from inputs.attention import UNIT, cases
from oracle import attention, expected


@pytest.mark.parametrize("case", [*cases(), *attention_unit.cases()], ids=repr)
def test_equals_witness(case):
    assert_same_bits(golden.attention(**case.arguments), expected(case), case.name)


def _draw(data, shape, low, high):
    size = int(np.prod(shape))
    number = st.tuples(st.integers(0, 1), st.integers(low, high), st.sampled_from([0, 1, 127]) | st.integers(0, 127))
    bits = number.map(lambda t: t[0] << 15 | t[1] << 7 | t[2])
    return from_bits(data.draw(st.lists(bits, min_size=size, max_size=size)), BF16).reshape(shape)


@given(st.data())
@settings(max_examples=40)
def test_any_heads(data):
    key_heads, group, dim = (data.draw(st.integers(1, 3)) for _ in range(3))
    tokens = data.draw(st.integers(1, 3))
    keys = tokens + data.draw(st.integers(0, 4))
    low, high = data.draw(st.sampled_from([(0, 255), (120, 131), (0, 10), (150, 200), (0, 254)]))
    q = _draw(data, (tokens, key_heads * group, dim), low, high)
    k = _draw(data, (keys, key_heads, dim), low, high)
    v = _draw(data, (keys, key_heads, dim), *data.draw(st.sampled_from([(0, 255), (120, 131), (0, 3), (252, 254)])))
    mask = data.draw(st.sampled_from(["causal", "chunked", "full"]))
    chunk = data.draw(st.integers(1, keys + 1)) if mask == "chunked" else None
    arguments = {"scale": data.draw(st.sampled_from([None, 0.2])), "mask": mask, "chunk": chunk}
    assert_same_bits(golden.attention(q, k, v, **arguments), attention(q, k, v, **arguments))


@given(st.data())
@settings(max_examples=40)
def test_ties_and_distant_terms(data):
    """Few different logits and values: quotients that are ties, or zero, but for terms of any distance."""
    n = data.draw(st.integers(1, 6))
    logit = st.sampled_from([0.0, 0.0, 1.0, -20.0, -90.0, -700.0, -(2.0**40), -(2.0**127)])
    value = st.sampled_from([1.0, 1 + 2.0**-7, 1 + 2.0**-6, -1.0, 0.0, 2.0**-133, -(2.0**-133), 2.0**127, 0.5])
    k = np.array([[[data.draw(logit), 0]] for _ in range(n)], dtype=np.float32).astype(BF16)
    v = np.array([[[data.draw(value), data.draw(value)]] for _ in range(n)], dtype=np.float32).astype(BF16)
    q = np.array([[[1, 0]]], dtype=np.float32).astype(BF16)
    arguments = {"scale": UNIT, "mask": "full"}
    assert_same_bits(golden.attention(q, k, v, **arguments), attention(q, k, v, **arguments))


@pytest.mark.parametrize("accumulate", attention_unit.MODES)
def test_cuts_change_nothing(accumulate):
    """[ATTN-UNIT-CUT]: a prefill at once, in chunks, and each query with the keys that it sees alone."""
    rng = np.random.default_rng(69)
    q, k, v = (rng.standard_normal((270, heads, 4)).astype(np.float32).astype(BF16) for heads in (2, 1, 1))
    whole = golden.attention(q, k, v, accumulate=accumulate)
    for step in (1, 100, 128):
        parts = [
            golden.attention(q[i : i + step], k[: i + step], v[: i + step], None, "causal", accumulate)
            for i in range(0, len(q), step)
        ]
        assert_same_bits(np.concatenate(parts), whole)
    last = golden.attention(q[200:201], k[:201], v[:201], mask="full", accumulate=accumulate)
    assert_same_bits(last, whole[200:201])


@pytest.mark.parametrize("accumulate", ["exact", *attention_unit.MODES])
def test_chunks_do_not_see_each_other(accumulate):
    """[ATTN-VISIBLE]: a chunk's queries over all keys, and over those up to the end of the chunk, have the same bits;
    and by exact sums over the keys of the chunk alone."""
    rng = np.random.default_rng(71)
    q, k, v = (rng.standard_normal((300, heads, 4)).astype(np.float32).astype(BF16) for heads in (2, 1, 1))
    whole = golden.attention(q, k, v, None, "chunked", accumulate, 90)
    for first, last in ((0, 90), (90, 180), (180, 270), (270, 300)):
        part = golden.attention(q[first:last], k[:last], v[:last], None, "chunked", accumulate, 90)
        assert_same_bits(part, whole[first:last])
        mine = slice(first, last)
        if accumulate == "exact" or first == 0:  # blocks of a mode are counted from key 0 [ATTN-UNIT-BLOCKS]
            assert_same_bits(golden.attention(q[mine], k[mine], v[mine], accumulate=accumulate), whole[mine])


@pytest.mark.parametrize(
    "arguments",
    [
        {"mask": "chunked"},
        *({"mask": "chunked", "chunk": chunk} for chunk in (0, -1, 1.5, 1 << 63)),
        *({"mask": mask, "chunk": 4} for mask in ("causal", "full", "sliding")),
    ],
    ids=str,
)
def test_chunks_belong_to_their_mask(arguments):
    q = np.ones((1, 1, 2), BF16)
    with pytest.raises(OpError, match=r"chunk|mask"):
        golden.attention(q, q, q, **arguments)


def test_modes_of_units_are_errors():
    q = np.ones((1, 1, 2), BF16)
    with pytest.raises(OpError, match="accumulate='sm90_wgmma' is unknown"):
        golden.attention(q, q, q, accumulate="sm90_wgmma")
