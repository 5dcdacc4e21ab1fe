# SPDX-License-Identifier: Apache-2.0
"""Which expert takes which token, with what input, and the sum of what they give. See spec/route.md."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import BFLOAT16
from ._bf16 import add, multiply, widen64
from ._decide import Bounds, Compare, by_enclosure, exp, settle
from ._exact import exact_sum, round_exact
from ._round import Array, check_environment, round_to, widen
from ._route_args import combine_arrays, dispatch_arrays, route_arrays

Int64 = NDArray[np.int64]


def route(logits: Any, top_k: int = 1) -> tuple[Int64, Array]:
    """The experts of each token, and the score of each: the largest logits and their sigmoids. [ROUTE-TOP]

    Args:
        logits: bfloat16, shape (T, E).
        top_k: the number k of experts for a token, 1 to E.

    Returns:
        (experts, scores): int64 and bfloat16, each (T, k), the largest logit first. A NaN counts as larger than every
        number, -0 equals +0, and of equal logits the lowest expert comes first. scores are RNbf(RN32(sigmoid(logit))),
        not normalised. [ROUTE-SCORE]

    Raises:
        OpError: a wrong dtype, shape or top_k.

    Source: transformers ``Llama4Router.forward``; ties are decided here.

    Example:
        >>> import ml_dtypes, numpy as np, fp8ref
        >>> experts, scores = fp8ref.route(np.array([[1.0, 3.0, 3.0]], ml_dtypes.bfloat16), top_k=2)
        >>> experts.tolist(), scores.astype(float).tolist()
        ([[1, 2]], [[0.953125, 0.953125]])
    """
    check_environment("route")
    array, chosen = route_arrays(logits, top_k)
    values = widen(array)
    nan = np.isnan(values)
    order = np.lexsort((np.where(nan, 0.0, -values), ~nan), axis=-1)  # stable: the lowest expert of equal ones first
    experts = order[:, :chosen].astype(np.int64)
    return experts, _scores()[np.take_along_axis(array.view(np.uint16), experts, axis=1)]


@cache
def _scores() -> Array:
    """The score of every bfloat16 bit pattern: 65,536 values, computed at the first use."""
    return round_to(sigmoid(widen64(np.arange(1 << 16, dtype=np.uint16).view(BFLOAT16))), "bfloat16")


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float32]:
    """RN32(1 / (1 + exp(-x))) of bfloat16 values held in float64. [ROUTE-SCORE]

    The value at 0 is 1/2, exact in float64; the others are irrational. Below -709 exp overflows to infinity, and the
    zero that results is right.
    """
    finite = np.isfinite(x)
    known = np.where(finite, x, 0.0)

    def real(i: int) -> Compare:
        if known[i] == 0:
            return lambda m: (m < Fraction(1, 2)) - (m > Fraction(1, 2))
        return by_enclosure(lambda bits: _enclosed(Fraction(float(known[i])), bits))

    with np.errstate(over="ignore"):
        approximation = 1.0 / (1.0 + np.exp(-known))
    limits = np.where(np.isnan(x), x, (x > 0).astype(np.float64))
    return np.where(finite, settle(approximation, 2.0**-49, real), limits).astype(np.float32)


def _enclosed(x: Fraction, bits: int) -> Bounds:
    low, high = exp(-x, bits)
    return 1 / (1 + high), 1 / (1 + low)


def dispatch(x: Any, experts: Any, scores: Any, num_experts: int) -> tuple[Array, Int64, Int64]:
    """The rows that the experts get, sorted by expert, each multiplied by its score. [DISPATCH-ORDER]

    Args:
        x: bfloat16, shape (T, H).
        experts: integers (T, k) in [0, num_experts), from :func:`route`.
        scores: bfloat16, shape (T, k).
        num_experts: how many there are.

    Returns:
        (inputs, order, offsets). inputs: bfloat16 (T * k, H), RNbf(x[t] * scores[t, j]) in row r where order[r] =
        t * k + j. order: int64 (T * k,), by ascending expert and then ascending. offsets: int64 (num_experts + 1,),
        what :func:`grouped_mm` takes.

    Raises:
        OpError: a wrong dtype, shape, or an expert that does not exist.

    Source: transformers ``Llama4TextMoe.forward``: the score multiplies the expert's input.

    Example:
        >>> import ml_dtypes, numpy as np, fp8ref
        >>> x, one = np.ones((3, 2), ml_dtypes.bfloat16), np.ones((3, 1), ml_dtypes.bfloat16)
        >>> _, order, offsets = fp8ref.dispatch(x, [[1], [0], [1]], one, 3)
        >>> order.tolist(), offsets.tolist()
        ([1, 0, 2], [0, 1, 3, 3])
    """
    check_environment("dispatch")
    rows, ids, factors, experts_in_all = dispatch_arrays(x, experts, scores, num_experts)
    order = np.argsort(ids.ravel(), kind="stable").astype(np.int64)
    offsets = np.zeros(experts_in_all + 1, np.int64)
    np.cumsum(np.bincount(ids.ravel(), minlength=experts_in_all), out=offsets[1:])
    tokens = order // max(ids.shape[1], 1)
    # [ROUTE-EDGES]: IEEE 754 for special values
    return multiply(widen(rows)[tokens], widen(factors).ravel()[order, None]), order, offsets


def combine(routed: Any, order: Any, shared: Any) -> Array:
    """The outputs of a token's experts, added up, and added to the shared expert's. [COMBINE-SUM]

    Args:
        routed: bfloat16, shape (T * k, H), in the order of :func:`dispatch`.
        order: integers (T * k,), the permutation from :func:`dispatch`.
        shared: bfloat16, shape (T, H).

    Returns:
        bfloat16, shape (T, H): RNbf(shared + RNbf(RN32(sum of routed))), the sum exact.

    Raises:
        OpError: a wrong dtype or shape, or an order that is no permutation.

    Source: transformers ``Llama4TextMoe.forward``.

    Example:
        >>> import ml_dtypes, numpy as np, fp8ref
        >>> routed = np.array([[1.0], [2.0]], ml_dtypes.bfloat16)
        >>> fp8ref.combine(routed, [1, 0], np.zeros((2, 1), ml_dtypes.bfloat16)).astype(float).tolist()
        [[2.0], [1.0]]
    """
    check_environment("combine")
    parts, places, other = combine_arrays(routed, order, shared)
    tokens, columns = other.shape
    sorted_parts = np.empty_like(parts)
    sorted_parts[places] = parts
    choices = len(places) // tokens if tokens else 1
    return add(round_to(_sums(widen64(sorted_parts).reshape(tokens, choices, columns)), "bfloat16"), other)


def _sums(x: NDArray[np.float64]) -> NDArray[np.float32]:
    """RN32 of the exact sums along the middle axis of bfloat16 values (T, k, H). [COMBINE-SUM]

    float64 holds the sum of a few terms of like size exactly; where the rest of some addition is not zero, integers
    decide. A sum of NaN or infinities is IEEE's, and an exact zero is +0.
    """
    total, exact = np.zeros((x.shape[0], x.shape[2])), np.ones((x.shape[0], x.shape[2]), np.bool_)
    with np.errstate(all="ignore"):
        for j in range(x.shape[1]):
            term = x[:, j]
            new = total + term
            back = new - total
            exact &= ((total - (new - back)) == 0) & ((term - back) == 0)  # [SUM-ZERO]: the rest of TwoSum
            total = new
    out = round_to(total + 0.0, "float32")
    for t, h in zip(*np.nonzero(~exact & np.isfinite(total)), strict=True):
        out[t, h] = round_exact(*exact_sum(x[t, :, h]), "float32")
    return out
