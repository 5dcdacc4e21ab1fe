# SPDX-License-Identifier: Apache-2.0
"""Argument checks of route, dispatch and combine, which all backends share. spec/route.md"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import bf16_array, count, describe, fail, integers_array
from ._round import Array

EXPERTS = 1 << 20  # more of them, or choices of one token, are an error

Int64 = NDArray[np.int64]


def route_arrays(logits: Any, top_k: Any) -> tuple[Array, int]:
    """Logits of each token for each expert, and how many to choose. [ROUTE-SHAPES]"""
    array = bf16_array("route", "logits", logits, 2)
    if not 1 <= array.shape[1] <= EXPERTS:
        raise fail("route", f"logits must have shape (T, E) with 1 <= E <= {EXPERTS}, got {describe(array)}")
    return array, count("route", "top_k", top_k, array.shape[1])


def dispatch_arrays(x: Any, experts: Any, scores: Any, num_experts: Any) -> tuple[Array, Int64, Array, int]:
    """Tokens, their experts and scores, and the number of experts. [DISPATCH-SHAPES]"""
    op = "dispatch"
    rows, ids = bf16_array(op, "x", x, 2), integers_array(op, "experts", experts, 2)
    factors = bf16_array(op, "scores", scores, 2)
    if ids.shape != factors.shape or ids.shape[0] != rows.shape[0] or ids.shape[1] == 0:
        got = ", ".join(f"{name} {array.shape}" for name, array in (("x", rows), ("experts", ids), ("scores", factors)))
        raise fail(op, f"expected x (T, H), experts and scores (T, k) with k >= 1; got {got}")
    limit = count(op, "num_experts", num_experts, EXPERTS)
    if ids.size and not (ids.min() >= 0 and ids.max() < limit):
        raise fail(op, f"experts must lie in [0, {limit}), got {ids.min()} to {ids.max()}")
    return rows, ids, factors, limit


def combine_arrays(routed: Any, order: Any, shared: Any) -> tuple[Array, Int64, Array]:
    """Rows of experts, their places, and rows to add them to. [COMBINE-SHAPES]"""
    parts, places, other = combine_shapes(routed, order, shared)
    if not np.array_equal(np.sort(places), np.arange(len(places))):
        raise fail("combine", f"order must be a permutation of 0 to {len(places) - 1}")
    return parts, places, other


def combine_shapes(routed: Any, order: Any, shared: Any) -> tuple[Array, Int64, Array]:
    """The same, without a look at the numbers of order."""
    op = "combine"
    parts, other = bf16_array(op, "routed", routed, 2), bf16_array(op, "shared", shared, 2)
    places = integers_array(op, "order", order, 1)
    rows, tokens = parts.shape[0], other.shape[0]
    whole = rows == 0 if tokens == 0 else rows % tokens == 0 and 1 <= rows // tokens <= EXPERTS
    if not whole or parts.shape[1] != other.shape[1] or places.shape != (rows,):
        got = f"routed {parts.shape}, order {places.shape}, shared {other.shape}"
        raise fail(op, f"expected routed (T * k, H), order (T * k,) and shared (T, H); got {got}")
    return parts, places, other
