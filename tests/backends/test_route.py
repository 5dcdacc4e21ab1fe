# SPDX-License-Identifier: Apache-2.0
"""Routing, dispatch and combination of the cpu backend: golden's bits, however they are run and whatever decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, bf16, from_bits
from everywhere import assert_everywhere, implementation
from inputs.route import cases

EVERY = from_bits(np.arange(1 << 16), BF16)


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32).astype(BF16)


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_cases(case):
    assert_everywhere(case.function, **case.arguments)


def test_every_logit():
    assert_everywhere("route", EVERY[:, None])
    assert_everywhere("route", np.random.default_rng(91).permutation(EVERY).reshape(-1, 64), 64)


@given(
    bits=st.lists(st.sampled_from([0, 0x8000, 0x3F80, 0xBF80, 0x7F80, 0xFF80, 0x7FC0, 0xFFC1, 1]), min_size=1),
    data=st.data(),
)
def test_few_different_logits(bits, data):
    """Equal logits, zeros of both signs, infinities and NaNs of both signs."""
    assert_everywhere("route", from_bits([bits], BF16), data.draw(st.integers(1, len(bits))))


# tokens, experts, choices, columns: Maverick's and Scout's numbers of experts among them
SHAPES = [(1, 1, 1, 1), (9, 128, 1, 40), (130, 16, 1, 17), (33, 16, 4, 65), (5, 7, 7, 3), (300, 3, 2, 2), (0, 4, 2, 8)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_mixtures(shape):
    """route's experts go to dispatch, and its order to combine."""
    tokens, experts, k, columns = shape
    rng = np.random.default_rng(92)
    for logits in (normal(rng, tokens, experts), bf16(rng.integers(-2, 2, (tokens, experts)))):
        assert_everywhere("route", logits, k)
        ids, scores = implementation("golden", "route")(logits, k)
        x, shared = normal(rng, tokens, columns), normal(rng, tokens, columns)
        assert_everywhere("dispatch", x, ids, scores, experts)
        _, order, _ = implementation("golden", "dispatch")(x, ids, scores, experts)
        assert_everywhere("combine", normal(rng, tokens * k, columns), order, shared)
        anything = from_bits(rng.integers(0, 1 << 16, (tokens * k, columns)), BF16)
        assert_everywhere("combine", anything, order, shared)


@pytest.mark.parametrize("choices", [2, 3, 8, 50])
def test_sums_of_wide_range(choices):
    """Terms that cancel, and sums near midpoints: many are left to the exact path."""
    rng = np.random.default_rng(93)
    for spread in (4, 30, 120):
        half = rng.standard_normal((40, choices, 6)) * np.exp2(rng.integers(-spread, spread, (40, choices, 6)))
        rest = np.exp2(rng.integers(-120, 0, (40, 1, 6)))
        terms = np.concatenate([half, -half, rest], axis=1).astype(np.float32).astype(BF16)
        terms[..., -1] = np.copysign(np.float32(0), terms[..., -1].astype(np.float32))  # zeros of both signs
        order = rng.permutation(terms[..., 0].size)
        routed = terms.reshape(-1, 6)[order]
        assert_everywhere("combine", routed, order, np.zeros((40, 6), BF16))
        assert_everywhere("combine", routed, order.astype(np.int32), normal(rng, 40, 6))


def test_tokens_in_any_order():
    """A token has the same bits wherever it stands, and whoever is beside it."""
    cpu = {name: implementation("cpu", name) for name in ("route", "dispatch", "combine")}
    rng = np.random.default_rng(94)
    logits, x, shared = normal(rng, 50, 6), normal(rng, 50, 30), normal(rng, 50, 30)
    parts, turned = normal(rng, 50, 3, 30), rng.permutation(50)

    def run(rows):
        ids, scores = cpu["route"](logits[rows], 3)
        inputs, order, _ = cpu["dispatch"](x[rows], ids, scores, 6)
        out = cpu["combine"](parts[rows].reshape(-1, 30)[order], order, shared[rows])
        return ids, scores, inputs[np.argsort(order)].reshape(len(rows), -1), out

    whole = run(np.arange(50))
    assert_same_bits(run(turned), tuple(result[turned] for result in whole))
    assert_same_bits(run(np.arange(7, 9)), tuple(result[7:9] for result in whole))
