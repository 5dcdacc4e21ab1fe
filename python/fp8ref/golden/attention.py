# SPDX-License-Identifier: Apache-2.0
"""Scaled dot product attention with grouped queries. See spec/attention.md.

Each output is a quotient of two exact sums, rounded once, so the result does not depend on how keys are split,
ordered or merged: there is no running maximum, no block size and no partial sum in the definition. What a tensor core
computes, in blocks of fixed place, is in ``_attention_unit.py``.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import BFLOAT16, attention_arrays, attention_scale, choice
from ._attention_unit import attend_by_unit
from ._attention_weight import exponents, weights
from ._bf16 import widen64
from ._decide import log2_e, settle, sign, weighted_mean
from ._exact import Mask, Rows, certify, dots, exact_dot, exact_pairs, lowest_exponents, prepare, round_exact
from ._round import Array, check_environment, round_to
from ._units import MODES, UNITS

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Index = NDArray[np.int64]

BLOCK = 1 << 18  # scores worked on at once; only memory depends on it
FAR = 600  # a weight below 2**-FAR of the largest is left out of the float64 sums; the error bound pays for it
LOG2_E = 1.4426950408889634  # an approximation: the certificate decides, see score_factor


def attention(
    q: Any,
    k: Any,
    v: Any,
    scale: float | None = None,
    mask: str = "causal",
    accumulate: str = "exact",
    chunk: int | None = None,
) -> Array:
    """Attention of T queries over S keys; query head h reads key and value head h // (Hq // Hkv). [ATTN-OUTPUT]

    Args:
        q: bfloat16, shape (T, Hq, d).
        k, v: bfloat16, shape (S, Hkv, d), Hq a multiple of Hkv.
        scale: multiplies the scores; None is the real number d**-0.5. A float is taken exactly. [ATTN-SCALE]
        mask: ``causal``: the queries are the last T of the S positions (S >= T), and query i sees the keys 0..S-T+i;
            ``chunked``: the same, but a query sees only the keys of its own chunk of positions; ``full``: every query
            sees every key. [ATTN-VISIBLE]
        accumulate: ``"exact"``, or the mode whose bits are wanted, such as ``"sm90"``. [ATTN-UNIT]
        chunk: for mask ``chunked`` the number of positions of a chunk, else None.

    Returns:
        bfloat16, shape (T, Hq, d).

    Raises:
        OpError: a wrong dtype, shape, scale, mask, chunk or mode.

    Source: softmax(q k^T d^-1/2) v of "Attention Is All You Need", with the rounding points of spec/attention.md.

    Example:
        >>> import ml_dtypes, numpy as np, fp8ref
        >>> q = k = np.ones((2, 1, 4), ml_dtypes.bfloat16)
        >>> v = np.array([[[0.0, 1.0, 2.0, 3.0]], [[1.0, 1.0, 1.0, 1.0]]], ml_dtypes.bfloat16)
        >>> fp8ref.attention(q, k, v).astype(float).tolist()
        [[[0.0, 1.0, 2.0, 3.0]], [[0.5, 1.0, 1.5, 2.0]]]
    """
    check_environment("attention")
    choice("attention", "accumulate", accumulate, MODES)
    q, k, v = attention_arrays(q, k, v, mask, chunk)
    (queries, heads, d), (keys, kv_heads, _) = q.shape, k.shape
    factor = score_factor(d, attention_scale(scale))
    group = heads // kv_heads
    out = np.zeros(q.shape, BFLOAT16)
    step = max(1, BLOCK // max(group * keys, 1))
    for head in range(kv_heads) if out.size else ():
        mine = slice(head * group, (head + 1) * group)
        if accumulate == "exact":
            attend = partial(_attend_exactly, _Matrix(k[:, head]), _Matrix(v[:, head]), factor)
        else:
            unit = UNITS[MODES[accumulate].bf16, "bf16", "float32"]
            attend = partial(attend_by_unit, unit, k[:, head], v[:, head], factor)
        for start in range(0, queries, step):
            index = np.arange(start, min(start + step, queries))
            first, last = _visible(index + (keys - queries), keys, mask, chunk)
            rows = attend(q[index, mine].reshape(-1, d), np.repeat(first, group), np.repeat(last, group))
            out[index, mine] = rows.reshape(-1, group, d)
    return out


def _visible(position: Index, keys: int, mask: str, chunk: int | None) -> tuple[Index, Index]:
    """The first and the last key that queries at these positions see. [ATTN-VISIBLE]"""
    if mask == "full":
        return np.zeros_like(position), np.full_like(position, keys - 1)
    return np.zeros_like(position) if chunk is None else position // chunk * chunk, position


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


def _attend_exactly(key: _Matrix, value: _Matrix, factor: np.float32, q: Array, first: Index, last: Index) -> Array:
    """The outputs of query rows (rows, d), each of which sees the keys first .. last. [ATTN-VISIBLE]"""
    keys = np.arange(len(key.values))
    visible = (first[:, None] <= keys) & (keys <= last[:, None])
    return average(exponents(scores(_Matrix(q), key), factor), visible, value)


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
