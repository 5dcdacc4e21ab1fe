# SPDX-License-Identifier: Apache-2.0
"""Scaled dot product attention with grouped queries. See spec/attention.md.

Each output is a quotient of two exact sums, rounded once, so the result does not depend on how keys are split,
ordered or merged: there is no running maximum, no block size and no partial sum in the definition.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import BFLOAT16, attention_arrays, attention_scale
from ._bf16 import widen64
from ._decide import log2, log2_e, settle, sign, weighted_mean
from ._exact import Mask, Rows, certify, dots, exact_dot, exact_pairs, lowest_exponents, prepare, round_exact
from ._round import Array, check_environment, round_to

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

BLOCK = 1 << 18  # scores worked on at once; only memory depends on it
FAR = 600  # a weight below 2**-FAR of the largest is left out of the float64 sums; the error bound pays for it
LOG2_E = 1.4426950408889634  # an approximation: the certificate decides, see score_factor


def attention(q: Any, k: Any, v: Any, scale: float | None = None, mask: str = "causal") -> Array:
    """Attention of T queries over S keys; query head h reads key and value head h // (Hq // Hkv). [ATTN-OUTPUT]

    Args:
        q: bfloat16, shape (T, Hq, d).
        k, v: bfloat16, shape (S, Hkv, d), Hq a multiple of Hkv.
        scale: multiplies the scores; None is the real number d**-0.5. A float is taken exactly. [ATTN-SCALE]
        mask: ``causal``: the queries are the last T of the S positions (S >= T), and query i sees the keys 0..S-T+i;
            ``full``: every query sees every key. [ATTN-VISIBLE]

    Returns:
        bfloat16, shape (T, Hq, d).

    Raises:
        OpError: a wrong dtype, shape, scale or mask.

    Source: softmax(q k^T d^-1/2) v of "Attention Is All You Need", with the rounding points of spec/attention.md.

    Example:
        >>> import ml_dtypes, numpy as np, fp8ref
        >>> q = k = np.ones((2, 1, 4), ml_dtypes.bfloat16)
        >>> v = np.array([[[0.0, 1.0, 2.0, 3.0]], [[1.0, 1.0, 1.0, 1.0]]], ml_dtypes.bfloat16)
        >>> fp8ref.attention(q, k, v).astype(float).tolist()
        [[[0.0, 1.0, 2.0, 3.0]], [[0.5, 1.0, 1.5, 2.0]]]
    """
    check_environment("attention")
    q, k, v = attention_arrays(q, k, v, mask)
    (queries, heads, d), (keys, kv_heads, _) = q.shape, k.shape
    factor = score_factor(d, attention_scale(scale))
    group = heads // kv_heads
    out = np.zeros(q.shape, BFLOAT16)
    step = max(1, BLOCK // max(group * keys, 1))
    for head in range(kv_heads) if out.size else ():
        mine = slice(head * group, (head + 1) * group)
        key, value = _Matrix(k[:, head]), _Matrix(v[:, head])
        for start in range(0, queries, step):
            index = np.arange(start, min(start + step, queries))
            last = index + (keys - queries) if mask == "causal" else np.full(index.shape, keys)
            visible = np.arange(keys) <= np.repeat(last, group)[:, None]  # [ATTN-VISIBLE]
            query = _Matrix(q[index, mine].reshape(-1, d))
            t = exponents(scores(query, key), factor)
            out[index, mine] = average(t, visible, value).reshape(-1, group, d)
    return out


class _Matrix:
    """A matrix (rows, d) of bfloat16 values as float64: what is finite of it, and the places of the rest."""

    def __init__(self, x: Array) -> None:
        self.values = widen64(x)
        self.finite = np.isfinite(self.values)
        self.all_finite = bool(self.finite.all())
        self.zeroed = self.values if self.all_finite else np.where(self.finite, self.values, 0.0)

    @cached_property
    def rows(self) -> Rows:
        """The finite part, prepared for dot products with its rows."""
        return prepare(self.zeroed)

    @cached_property
    def largest(self) -> Float64:
        """The largest finite magnitude of each column."""
        return np.asarray(np.max(np.abs(self.zeroed), axis=0, initial=0.0))

    @cached_property
    def low(self) -> NDArray[np.int32]:
        """All finite numbers of a column are multiples of 2**low."""
        return lowest_exponents(self.zeroed.T).astype(np.int32)


@cache
def score_factor(head_dim: int, scale: float | None) -> np.float32:
    """c = RN32 of the real number log2(e) * scale, where None means head_dim**-0.5. [ATTN-SCALE]

    Its square is compared: that of the default scale is the rational number 1/head_dim.
    """
    square = Fraction(1, head_dim) if scale is None else Fraction(scale) ** 2
    number = head_dim**-0.5 if scale is None else scale

    def compare(m: Fraction) -> int:
        bits = 64
        while True:
            low, high = (square * bound**2 - m**2 for bound in log2_e(bits))
            if sign(low) == sign(high):
                return sign(low)
            bits *= 2

    return np.float32(settle(np.array([LOG2_E * number]), 2.0**-50, lambda _: compare)[0])


# ---- scores and weights ----------------------------------------------------------------------------------------------


def scores(query: _Matrix, key: _Matrix) -> Float32:
    """RN32 of the exact dot products of the rows of ``query`` and ``key``. [ATTN-SCORE]"""
    a, b = query.rows, key.rows
    sums, error = dots(a, b)
    out, certain = certify(sums - error, sums + error, _rn32)
    i, j = np.nonzero(~certain)
    exact = exact_pairs(a, b, i, j)
    out[i[exact], j[exact]] = _rn32(sums[i[exact], j[exact]])
    for row, column in zip(i[~exact], j[~exact], strict=True):
        out[row, column] = round_exact(*exact_dot(a.values[row], b.values[column]), "float32")
    for row in np.flatnonzero(~query.finite.all(axis=1)):
        out[row] = _special_dots(query.values[row], key.values)
    for column in np.flatnonzero(~key.finite.all(axis=1)):
        out[:, column] = _special_dots(key.values[column], query.values)
    return out


def _rn32(x: Float64) -> Float32:
    return round_to(x, "float32")


def _special_dots(row: Float64, others: Float64) -> Float32:
    """Dot products with a NaN or infinite factor. float64 cannot overflow, so any order gives NaN or Inf alike."""
    with np.errstate(invalid="ignore"):
        return _rn32((row * others).sum(axis=1))


def exponents(score: Float32, factor: np.float32) -> Float32:
    """t = RN32(c * s). [ATTN-EXPONENT]"""
    with np.errstate(over="ignore", invalid="ignore"):
        return score * factor


@cache
def thresholds() -> Float64:
    """128 numbers that sort fractions as the midpoints log2((2 m + 1) / 256), m = 128..255, would. [ATTN-THRESHOLDS]

    Near the thresholds (0.0056 to 0.9972) the fraction of a float32 t is a multiple of 2**-32, for |t| >= 2**-9; a
    threshold is irrational. So it may be moved within its gap between two multiples, to the middle of it, which
    float64 holds. Fractions of smaller |t| lie within 2**-9 of 0 or 1, beyond all thresholds.
    """
    middles = []
    for m in range(128, 256):
        low, high = (int(bound * 2**32) for bound in log2(Fraction(2 * m + 1, 256), 96))
        if low != high:
            raise ArithmeticError("a threshold is not separated by 96 bits")
        middles.append((low + 0.5) * 2.0**-32)
    return np.array(middles)


def weights(t: Float64) -> tuple[Float64, Float64]:
    """Integers m in 128..256 and n so that 2**t, rounded to 8 significant bits, is m * 2**(n - 7). [ATTN-WEIGHT]"""
    n = np.floor(t)
    # Of a tiny negative t the fraction rounds to 1: above all thresholds, as it should be.
    return (128 + np.searchsorted(thresholds(), t - n)).astype(np.float64), n


# ---- weighted average ------------------------------------------------------------------------------------------------


def average(t: Float32, visible: Mask, value: _Matrix) -> Array:
    """RNbf(sum_j w_j v_j / sum_j w_j) for each row of exponents (rows, keys) and column of ``value``. [ATTN-OUTPUT]"""
    term = visible & ~(t == -np.inf)  # [ATTN-TERMS]; a NaN is a term
    broken = np.any(visible & ~(t < np.inf), axis=1, keepdims=True)  # [ATTN-BROKEN]
    term &= ~broken
    m, n = weights(np.where(term, t, 0.0).astype(np.float64))
    m[~term] = 0.0
    out, certain = _certified(m, n, value)
    for row, column in zip(*np.nonzero(~certain), strict=True):
        mine = term[row]
        out[row, column] = weighted_mean(m[row, mine], n[row, mine], value.zeroed[mine, column])
    if not value.all_finite:
        _special_values(out, term, value)
    out[broken[:, 0]] = np.nan
    return out


def _certified(m: Float64, n: Float64, value: _Matrix) -> tuple[Array, Mask]:
    """The quotients in float64, rounded, and where that is proved right. [ATTN-CERTIFY]

    With weights scaled so that the largest is at least 128, both sums lose less than (keys + 4) 2**-52 of
    sum(w) max|v|, also by the weights left out; the quotient is no larger than max|v|.
    """
    term = m > 0.0
    top = np.max(n, axis=1, keepdims=True, initial=-np.inf, where=term)
    shift = np.where(term, np.maximum(n - top, -2.0 * FAR), 0.0).astype(np.int32)
    w = np.where(shift > -FAR, np.ldexp(m, shift), 0.0)
    empty = ~term.any(axis=1, keepdims=True)  # gives +0 [ATTN-EMPTY]
    total = np.where(empty, 1.0, w.sum(axis=1, keepdims=True))
    numerator = w @ value.zeroed + 0.0  # an exact zero is +0 [ATTN-ZERO]
    q = numerator / total
    error = (m.shape[1] + 8) * 2.0**-51 * value.largest
    out, certain = certify(q - error, q + error, lambda x: round_to(x, "bfloat16"))
    settled = empty | (value.largest == 0.0) | _exact_quotients(q, numerator, total, shift, value)
    out[settled] = round_to(q[settled], "bfloat16")
    return out, certain | settled


def _exact_quotients(q: Float64, numerator: Float64, total: Float64, shift: NDArray[np.int32], value: _Matrix) -> Mask:
    """Where the sums are exact, and rounding their float64 quotient q rounds the real one. [ATTN-CERTIFY]

    The terms are multiples of 2**unit. RN64 is monotone, so q and the real quotient round alike unless q is a midpoint,
    a number of 9 bits; then q must be the quotient itself, and with a sum of 44 bits q * total is exact.
    """
    low = np.min(shift, axis=1, keepdims=True, initial=0)  # that of a weight left out makes the test fail
    exact = total * value.largest < np.ldexp(1.0, low + value.low + 53)
    short = (q.view(np.uint64) & np.uint64((1 << 44) - 1)) == 0
    hit = (q * total == numerator) & (total < np.ldexp(1.0, low + 44))
    return np.asarray(exact & (hit | ~short))


def _special_values(out: Array, term: Mask, value: _Matrix) -> None:
    """Where a term's value is infinite or NaN: the sum of IEEE 754, as every weight is positive. [ATTN-VALUES]"""
    counts = term.astype(np.float64)
    plus, minus, nan = (
        counts @ kind for kind in (value.values == np.inf, value.values == -np.inf, np.isnan(value.values))
    )
    out[plus > 0] = np.inf
    out[minus > 0] = -np.inf
    out[(nan > 0) | ((plus > 0) & (minus > 0))] = np.nan
