# SPDX-License-Identifier: Apache-2.0
"""``route``, ``dispatch`` and ``combine`` on a CUDA device. spec/route.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ...golden._route_args import combine_arrays, combine_shapes, dispatch_arrays, route_arrays
from ._call import BFLOAT16, INT64, Call


def route(logits: Any, top_k: int = 1) -> tuple[Any, Any]:
    """The experts of each token, and the score of each: :func:`fp8ref.route` where the logits are."""
    with Call("route", {"logits": logits}) as call:
        array, chosen = route_arrays(call.shown("logits"), top_k)
        tokens, experts = array.shape
        ids, scores = call.empty((tokens, chosen), INT64), call.empty((tokens, chosen), BFLOAT16)
        _cuda.route(call.place("logits", array), tokens, experts, chosen, ids.address, scores.address, call.stream)
        return call.result(ids), call.result(scores)


def dispatch(x: Any, experts: Any, scores: Any, num_experts: int) -> tuple[Any, Any, Any]:
    """The rows that the experts get, sorted by expert: :func:`fp8ref.dispatch` where the arrays are."""
    with Call("dispatch", {"x": x, "experts": experts, "scores": scores}) as call:
        shown = (call.shown("x"), call.shown("experts"), call.shown("scores"))
        rows, ids, factors, limit = dispatch_arrays(*shown, num_experts)
        (tokens, cols), (_, chosen) = rows.shape, ids.shape
        inputs = call.empty((ids.size, cols), BFLOAT16)
        order, offsets = call.empty((ids.size,), INT64), call.empty((limit + 1,), INT64)
        arrays = (call.place("x", rows), call.place("experts", ids), call.place("scores", factors))
        results = (inputs.address, order.address, offsets.address)
        _cuda.dispatch(*arrays, tokens, chosen, cols, limit, *results, call.stream)
        return call.result(inputs), call.result(order), call.result(offsets)


def combine(routed: Any, order: Any, shared: Any) -> Any:
    """The outputs of a token's experts, added up, and added to the shared expert's: :func:`fp8ref.combine` where the
    arrays are."""
    with Call("combine", {"routed": routed, "order": order, "shared": shared}) as call:
        check = combine_shapes if "order" in call.arrays else combine_arrays
        parts, places, other = check(call.shown("routed"), call.shown("order"), call.shown("shared"))
        (rows, cols), tokens = parts.shape, other.shape[0]
        out = call.empty(other.shape, BFLOAT16)
        arrays = (call.place("routed", parts), call.place("order", places), call.place("shared", other))
        _cuda.combine(*arrays, tokens, rows // max(tokens, 1), cols, out.address, call.stream)
        return call.result(out)
