# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts, one token at a time: the experts it chooses, what they get, the sum of what they give."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import mpmath

from .arithmetic import add, is_number, multiply, rounded, total, via_fp32
from .formats import BF16, FP32, decode, encode, encode_real
from .sample import sample


def route(logits: Sequence[int], top_k: int) -> tuple[list[int], list[int]]:
    """The experts of the largest logits (bf16 patterns), largest first, and their scores (bf16 patterns)."""
    left, experts = list(range(len(logits))), []
    for _ in range(top_k):
        experts.append(left.pop(sample([logits[e] for e in left], BF16)))
    return experts, [score(logits[e]) for e in experts]


@cache
def score(logit: int) -> int:
    """RNbf(RN32(sigmoid(l))) of a bf16 pattern."""
    x = decode(BF16, logit)
    if x != x:
        return BF16.nan
    if not is_number(x) or abs(x) > 1000:  # below 2**-1400, or that far from 1
        return encode(BF16, 1 if x > 0 else 0)
    if x == 0:
        return encode(BF16, Fraction(1, 2))
    bits = encode_real(FP32, lambda: 1 / (1 + mpmath.exp(-mpmath.mpf(x.numerator) / x.denominator)))
    return encode(BF16, decode(FP32, bits))


def expert_input(x: Sequence[int], score: int) -> list[int]:
    """RNbf(x * score) of a token's bf16 patterns."""
    return [encode(BF16, multiply(decode(BF16, v), decode(BF16, score))) for v in x]


def combine(routed: Sequence[Sequence[int]], shared: Sequence[int]) -> list[int]:
    """RNbf(shared + RNbf(RN32(exact sum of routed))) of one token's bf16 patterns."""
    columns = zip(*routed, strict=True)
    sums = [rounded(BF16, via_fp32(total(decode(BF16, v) for v in column))) for column in columns]
    return [encode(BF16, add(decode(BF16, s), r)) for s, r in zip(shared, sums, strict=True)]
