# SPDX-License-Identifier: Apache-2.0
"""``route``, ``dispatch`` and ``combine`` in C++. spec/route.md"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _ext
from ...golden._route_args import combine_arrays, dispatch_arrays, route_arrays
from ._arrays import BFLOAT16, Array, bits

Int64 = NDArray[np.int64]


def route(logits: Any, top_k: int = 1) -> tuple[Int64, Array]:
    """The experts of each token, and the score of each, as :func:`fp8ref.route`.

    Args:
        logits: bfloat16, shape (T, E).
        top_k: the number k of experts for a token, 1 to E.

    Returns:
        (experts, scores): int64 and bfloat16, each (T, k), the largest logit first.

    Raises:
        OpError: a wrong dtype, shape or top_k.

    Example:
        >>> import fp8ref, numpy as np, ml_dtypes
        >>> logits = np.array([[1.0, 3.0, 3.0]], ml_dtypes.bfloat16)
        >>> experts, scores = fp8ref.backend("cpu").route(logits, top_k=2)
        >>> experts.tolist(), scores.astype(float).tolist()
        ([[1, 2]], [[0.953125, 0.953125]])
    """
    array, chosen = route_arrays(logits, top_k)
    experts, scores = np.empty((len(array), chosen), np.int64), np.empty((len(array), chosen), BFLOAT16)
    _ext.route(bits(array), chosen, experts, bits(scores))
    return experts, scores


def dispatch(x: Any, experts: Any, scores: Any, num_experts: int) -> tuple[Array, Int64, Int64]:
    """The rows that the experts get, sorted by expert, each multiplied by its score, as :func:`fp8ref.dispatch`.

    Args:
        x: bfloat16, shape (T, H).
        experts: integers (T, k) in [0, num_experts), from :func:`route`.
        scores: bfloat16, shape (T, k).
        num_experts: how many there are.

    Returns:
        (inputs, order, offsets): bfloat16 (T * k, H), int64 (T * k,) and int64 (num_experts + 1,).

    Raises:
        OpError: a wrong dtype, shape, or an expert that does not exist.

    Example:
        >>> import fp8ref, numpy as np, ml_dtypes
        >>> x, one = np.ones((3, 2), ml_dtypes.bfloat16), np.ones((3, 1), ml_dtypes.bfloat16)
        >>> _, order, offsets = fp8ref.backend("cpu").dispatch(x, [[1], [0], [1]], one, 3)
        >>> order.tolist(), offsets.tolist()
        ([1, 0, 2], [0, 1, 3, 3])
    """
    rows, ids, factors, limit = dispatch_arrays(x, experts, scores, num_experts)
    inputs = np.empty((ids.size, rows.shape[1]), BFLOAT16)
    order, offsets = np.empty(ids.size, np.int64), np.empty(limit + 1, np.int64)
    _ext.dispatch(bits(rows), bits(ids), bits(factors), bits(inputs), order, offsets)
    return inputs, order, offsets


def combine(routed: Any, order: Any, shared: Any) -> Array:
    """The outputs of a token's experts, added up, and added to the shared expert's, as :func:`fp8ref.combine`.

    Args:
        routed: bfloat16, shape (T * k, H), in the order of :func:`dispatch`.
        order: integers (T * k,), the permutation from :func:`dispatch`.
        shared: bfloat16, shape (T, H).

    Returns:
        bfloat16, shape (T, H).

    Raises:
        OpError: a wrong dtype or shape, or an order that is no permutation.

    Example:
        >>> import fp8ref, numpy as np, ml_dtypes
        >>> routed, shared = np.array([[1.0], [2.0]], ml_dtypes.bfloat16), np.zeros((2, 1), ml_dtypes.bfloat16)
        >>> fp8ref.backend("cpu").combine(routed, [1, 0], shared).astype(float).tolist()
        [[2.0], [1.0]]
    """
    parts, places, other = combine_arrays(routed, order, shared)
    out = np.empty(other.shape, BFLOAT16)
    _ext.combine(bits(parts), bits(places), bits(other), bits(out))
    return out
