# SPDX-License-Identifier: Apache-2.0
"""Routing, dispatch and combination against the witness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from bits import BF16, assert_same_bits, bf16, from_bits, pattern
from fp8ref.errors import OpError
from fp8ref.golden import route as golden
from golden.pages import table
from inputs.route import cases

BITS = st.sampled_from([0, 0x8000, 0x3F80, 0xBF80, 0x7F80, 0xFF80, 0x7FC0, 0xFFC1, 1]) | st.integers(0, 0xFFFF)


def _array(data: st.DataObject, *shape: int) -> np.ndarray:
    size = int(np.prod(shape))
    return from_bits(data.draw(st.lists(BITS, min_size=size, max_size=size)), BF16).reshape(shape)


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(getattr(golden, case.function)(**case.arguments), oracle.expected(case), case.name)


@given(st.data())
def test_any_tokens(data):
    """A whole mixture: what route gives goes to dispatch, and the rows in its order to combine."""
    tokens, experts, columns = (data.draw(st.integers(low, 5)) for low in (0, 1, 0))
    k = data.draw(st.integers(1, experts))
    logits, x, shared = (_array(data, tokens, n) for n in (experts, columns, columns))
    chosen = golden.route(logits, k)
    assert_same_bits(chosen, oracle.route(logits, k))
    sent = golden.dispatch(x, *chosen, experts)
    assert_same_bits(sent, oracle.dispatch(x, *chosen, experts))
    routed = _array(data, tokens * k, columns)
    assert_same_bits(golden.combine(routed, sent[1], shared), oracle.combine(routed, sent[1], shared))


@given(st.data())
def test_order_of_tokens_changes_nothing(data):
    """[ROUTE-TOP], [COMBINE-SUM]: each token gets what it would get alone."""
    tokens, experts, k = 6, 4, data.draw(st.integers(1, 4))
    logits, x, shared, routed = (
        _array(data, n, m) for n, m in ((tokens, experts), (tokens, 3), (tokens, 3), (6 * k, 3))
    )
    order = np.array(data.draw(st.permutations(range(tokens))))
    ids, scores = golden.route(logits, k)
    assert_same_bits(golden.route(logits[order], k), (ids[order], scores[order]))
    inputs, places, offsets = golden.dispatch(x, ids, scores, experts)
    moved = golden.dispatch(x[order], ids[order], scores[order], experts)
    assert_same_bits(moved[2], offsets)
    back, again = (np.argsort(p) for p in (places, moved[1]))
    assert_same_bits(moved[0][again].reshape(tokens, k, 3), inputs[back].reshape(tokens, k, 3)[order])
    whole = golden.combine(routed[places], places, shared)
    parts = routed.reshape(tokens, k, 3)[order].reshape(-1, 3)
    assert_same_bits(golden.combine(parts[moved[1]], moved[1], shared[order]), whole[order])


@pytest.mark.parametrize("row", table("route.md", "logits", "k"), ids=str)
def test_example(row: list[str]) -> None:
    logits, k, experts, scores, _ = row
    ids, values = golden.route(bf16([[float(x) for x in logits.replace("Inf", "inf").split(",")]]), int(k))
    assert ", ".join(map(str, ids[0])) == experts
    assert ", ".join(f"0x{bits:04X}" for bits in pattern(values)[0]) == scores


WRONG = {
    "no experts": lambda: golden.route(np.zeros((2, 0), BF16)),
    "more than there are": lambda: golden.route(np.zeros((2, 3), BF16), 4),
    "no choice": lambda: golden.route(np.zeros((2, 3), BF16), 0),
    "float32 logits": lambda: golden.route(np.zeros((2, 3), np.float32)),
    "no such expert": lambda: golden.dispatch(np.zeros((1, 2), BF16), [[3]], np.zeros((1, 1), BF16), 3),
    "a negative expert": lambda: golden.dispatch(np.zeros((1, 2), BF16), [[-1]], np.zeros((1, 1), BF16), 3),
    "other tokens": lambda: golden.dispatch(np.zeros((2, 2), BF16), [[1]], np.zeros((1, 1), BF16), 3),
    "too many experts": lambda: golden.dispatch(np.zeros((1, 2), BF16), [[0]], np.zeros((1, 1), BF16), 2**20 + 1),
    "a place twice": lambda: golden.combine(np.zeros((2, 3), BF16), [0, 0], np.zeros((2, 3), BF16)),
    "a place beyond": lambda: golden.combine(np.zeros((2, 3), BF16), [0, 2], np.zeros((2, 3), BF16)),
    "rows left over": lambda: golden.combine(np.zeros((3, 3), BF16), [0, 1, 2], np.zeros((2, 3), BF16)),
    "rows of no token": lambda: golden.combine(np.zeros((1, 3), BF16), [0], np.zeros((0, 3), BF16)),
    "no choices": lambda: golden.combine(np.zeros((0, 3), BF16), [], np.zeros((2, 3), BF16)),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_what_has_no_meaning_is_an_error(call):
    with pytest.raises(OpError):
        call()
