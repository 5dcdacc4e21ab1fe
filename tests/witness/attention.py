# SPDX-License-Identifier: Apache-2.0
"""Attention: exact sums of weights of eight significant bits, one rounding at the end; or blocks of a tensor core."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache, partial

import mpmath

from . import mma
from .arithmetic import add, divide, dot, is_number, multiply, total, via_fp32
from .formats import BF16, FP32, INFINITY, Format, Value, decode, dyadic, encode, encode_real

Heads = Sequence[Sequence[Sequence[int]]]

_EIGHT_BITS = Format("weight", 8, 7)  # only its significand matters: the weights given to it lie in [1, 2)


def scale_constant(head_dim: int, scale: float | None) -> Value:
    """c = RN32(log2(e) * scale); without a scale it is the real head_dim ** -1/2."""
    if scale is not None and scale == 0:
        return decode(FP32, encode(FP32, scale))

    def compute() -> mpmath.mpf:
        factor = 1 / mpmath.sqrt(head_dim) if scale is None else mpmath.mpf(scale)
        return factor / mpmath.log(2)

    return decode(FP32, encode_real(FP32, compute))


@cache
def weight(t: Fraction) -> tuple[int, int]:
    """2**t rounded to eight significant bits, the exponent unbounded: (m, e) for m * 2**e, 128 <= m <= 256."""
    whole = t.numerator // t.denominator
    fraction = t - whole
    if fraction == 0:
        return 128, whole - 7
    one = encode(_EIGHT_BITS, Fraction(1))
    bits = encode_real(_EIGHT_BITS, lambda: mpmath.power(2, mpmath.mpf(fraction.numerator) / fraction.denominator))
    return 128 + bits - one, whole - 7


def _close_gaps(weights: list[tuple[int, int]]) -> list[Fraction]:
    """Weights of the same effect whose exponents are small enough to write the numbers down.

    The result depends on the signs of sums of w_j * (v_j - tau) for midpoints tau of bf16. Each v_j - tau is an integer
    times 2**-134 below 2**129, so behind a gap of more than `gap` powers of two the rest of the sum cannot reach the
    last bit of what stands before the gap. How far it lies behind does not matter: wider gaps are closed to `gap`.
    """
    gap = 400 + len(weights).bit_length()
    shifted, drop, above = {}, 0, None
    for exponent in sorted({e for _, e in weights}, reverse=True):
        if above is not None and above - exponent > gap:
            drop += above - exponent - gap
        shifted[exponent] = exponent + drop
        above = exponent
    top = max(shifted.values())
    return [dyadic(m, shifted[e] - top) for m, e in weights]


def _row(logits: list[Value], values: list[Sequence[int]], head_dim: int) -> list[int]:
    """One query of one head: t_j and v_j of the keys it sees."""
    terms = [(t, v) for t, v in zip(logits, values, strict=True) if t != -INFINITY]
    if not terms:
        return [0] * head_dim
    if any(t != t or t == INFINITY for t, _ in terms):
        return [BF16.nan] * head_dim
    weights = _close_gaps([weight(Fraction(t)) for t, _ in terms])
    denominator = sum(weights)
    return [_column(weights, [decode(BF16, v[i]) for _, v in terms], denominator) for i in range(head_dim)]


def _column(weights: list[Fraction], values: list[Value], denominator: Fraction) -> int:
    if not all(is_number(v) for v in values):
        return encode(BF16, total(v if not is_number(v) else Fraction(0) for v in values))
    numerator = sum((w * Fraction(v) for w, v in zip(weights, values, strict=True)), Fraction(0))
    return encode(BF16, numerator / denominator)


# ---- by a tensor core: [ATTN-UNIT] -----------------------------------------------------------------------------------

BLOCK, SUPERBLOCK = 128, 2048  # keys
ONE = encode(BF16, Fraction(1))

# M, and the sums of w_j * v_j for each column and of w_j.
State = tuple[int, list[Value]]


def block_top(terms: list[Fraction]) -> int:
    """M_b of the t_j of the terms of a block."""
    return math.ceil(max(terms))


def unit_weight(t: Fraction, top: int) -> int:
    """w_j as a bf16 pattern: what lies below 2**-200 is zero in bf16 all the same."""
    m, exponent = weight(t)
    return encode(BF16, dyadic(m, exponent - top)) if exponent - top > -200 else 0


def unit_sums(unit: str, weights: list[int], values: list[Sequence[int]], head_dim: int) -> list[Value]:
    """Numerators and, last, the denominator of a block."""
    columns = [[v[i] for v in values] for i in range(head_dim)] + [[ONE] * len(weights)]
    return [decode(FP32, mma.chain(unit, weights, BF16, column, BF16)) for column in columns]


def unit_block(unit: str, logits: list[Value], values: list[Sequence[int]], head_dim: int) -> State | None:
    """The state of a block of keys, None without terms. Other keys have the weight and the value +0."""
    terms = [Fraction(t) for t in logits if t != -INFINITY]
    if not terms:
        return None
    top = block_top(terms)
    weights = [0 if t == -INFINITY else unit_weight(Fraction(t), top) for t in logits]
    seen = [[0] * head_dim if t == -INFINITY else v for t, v in zip(logits, values, strict=True)]
    return top, unit_sums(unit, weights, seen, head_dim)


def merge(first: State | None, second: State | None) -> State | None:
    """Two states as one, relative to the larger M."""
    if first is None or second is None:
        return second if first is None else first
    top = max(first[0], second[0])
    scaled = []
    for own, sums in (first, second):
        factor = dyadic(1, own - top) if top - own <= 126 else Fraction(0)
        scaled.append([via_fp32(multiply(factor, x)) for x in sums])
    return top, [via_fp32(add(x, y)) for x, y in zip(*scaled, strict=True)]


def unit_blocks(unit: str, logits: list[Value], values: list[Sequence[int]], head_dim: int) -> State | None:
    """The state of a row: blocks merge into superblocks, and these into the row."""
    row = None
    for start in range(0, len(logits), SUPERBLOCK):
        part = None
        for block in range(start, min(start + SUPERBLOCK, len(logits)), BLOCK):
            keys = slice(block, min(block + BLOCK, start + SUPERBLOCK))
            part = merge(part, unit_block(unit, logits[keys], values[keys], head_dim))
        row = merge(row, part)
    return row


def _unit_row(unit: str, logits: list[Value], values: list[Sequence[int]], head_dim: int) -> list[int]:
    """One query of one head, by a tensor core."""
    if any(t != t or t == INFINITY for t in logits):
        return [BF16.nan] * head_dim
    state = unit_blocks(unit, logits, values, head_dim)
    if state is None:
        return [0] * head_dim
    *numerators, denominator = state[1]
    return [encode(BF16, via_fp32(divide(n, denominator))) for n in numerators]


def unit_score(unit: str, query: Sequence[int], key: Sequence[int]) -> Value:
    """s_j: one chain over the head."""
    return decode(FP32, mma.chain(unit, query, BF16, key, BF16))


# ---- heads -----------------------------------------------------------------------------------------------------------


def logit(unit: str, c: Value, query: Sequence[int], key: Sequence[int]) -> Value:
    """t_j."""
    score = via_fp32(dot(BF16, query, BF16, key)) if unit == "exact" else unit_score(unit, query, key)
    return via_fp32(multiply(c, score))


def sees(mask: str, position: int, chunk: int | None, key: int) -> bool:
    """Whether the query at a position sees a key."""
    if mask == "full":
        return True
    return key <= position and (mask == "causal" or key // chunk == position // chunk)


def attention(
    q: Heads,
    k: Heads,
    v: Heads,
    scale: float | None = None,
    mask: str = "causal",
    accumulate: str = "exact",
    chunk: int | None = None,
) -> list[list[list[int]]]:
    """q is (T, Hq, d), k and v are (S, Hkv, d), bf16 patterns. Query i has the position S - T + i."""
    tokens, keys, unit = len(q), len(k), mma.MODES[accumulate][1]
    result = []
    for i, heads in enumerate(q):
        seen = [sees(mask, keys - tokens + i, chunk, j) for j in range(keys)]
        row = []
        for h, query in enumerate(heads):
            c = scale_constant(len(query), scale)
            group = h * len(k[0]) // len(heads) if keys else 0
            values = [value[group] for value in v]
            logits = [logit(unit, c, query, key[group]) if yes else -INFINITY for yes, key in zip(seen, k, strict=True)]
            attend = _row if unit == "exact" else partial(_unit_row, unit)
            row.append(attend(logits, values, len(query)))
        result.append(row)
    return result
