# SPDX-License-Identifier: Apache-2.0
"""A mixture of experts around its matrix products: the choice, the rows that go in, the sum of what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import mpmath

from .arithmetic import add, is_number, multiply, rounded, total, via_fp32
from .formats import BF16, FP32, INFINITY, NAN, decode, encode, encode_real
from .sample import sample


def route(logits: Sequence[int], top_k: int) -> tuple[list[int], list[int]]:
    """The experts of one token and their scores, from bf16 patterns: the greedy choice, k times, of those left."""
    left = list(range(len(logits)))
    chosen = []
    for _ in range(top_k):
        chosen.append(left.pop(sample([logits[e] for e in left], BF16)))
    return chosen, [score(logits[e]) for e in chosen]


@cache
def score(logit: int) -> int:
    """RNbf(RN32(1 / (1 + exp(-l)))) of a bf16 pattern."""
    return encode(BF16, decode(FP32, sigmoid(logit)))


def sigmoid(logit: int) -> int:
    """RN32(1 / (1 + exp(-l))) of a bf16 pattern, as an fp32 pattern."""
    x = decode(BF16, logit)
    if not is_number(x):
        return encode(FP32, NAN if x != x else Fraction(x == INFINITY))
    if x == 0:
        return encode(FP32, Fraction(1, 2))
    if abs(x) > 200:
        return encode(FP32, Fraction(x > 0))  # exp(-200) < 2**-288
    return encode_real(FP32, lambda: 1 / (1 + mpmath.exp(-mpmath.mpf(x.numerator) / x.denominator)))


def dispatch(
    x: Sequence[Sequence[int]], experts: Sequence[Sequence[int]], scores: Sequence[Sequence[int]], num_experts: int
) -> tuple[list[list[int]], list[int], list[int]]:
    """Rows of bf16 patterns, expert by expert, times their scores; the numbers of their pairs; where experts begin."""
    inputs, order, offsets = [], [], [0]
    for expert in range(num_experts):
        for t, row in enumerate(experts):
            for j, chosen in enumerate(row):
                if chosen == expert:
                    order.append(t * len(row) + j)
                    inputs.append([_product(value, scores[t][j]) for value in x[t]])
        offsets.append(len(order))
    return inputs, order, offsets


def _product(x: int, y: int) -> int:
    return encode(BF16, multiply(decode(BF16, x), decode(BF16, y)))


def combine(routed: Sequence[Sequence[int]], order: Sequence[int], shared: Sequence[Sequence[int]]) -> list[list[int]]:
    """shared plus, for each token, what its experts give: bf16 patterns."""
    choices = len(order) // len(shared) if shared else 1
    result = []
    for t, row in enumerate(shared):
        mine = [routed[order.index(t * choices + j)] for j in range(choices)]
        out = []
        for column, own in enumerate(row):
            given = rounded(BF16, via_fp32(total(decode(BF16, part[column]) for part in mine)))
            out.append(encode(BF16, add(decode(BF16, own), given)))
        result.append(out)
    return result
