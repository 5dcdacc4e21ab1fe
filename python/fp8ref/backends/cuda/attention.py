# SPDX-License-Identifier: Apache-2.0
"""``attention`` on a CUDA device. spec/attention.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda, _ext
from ...golden._args import attention_arrays, attention_scale, choice
from ...golden._units import MODES
from ._call import BFLOAT16, Call


def attention(
    q: Any,
    k: Any,
    v: Any,
    scale: float | None = None,
    mask: str = "causal",
    accumulate: str = "exact",
    chunk: int | None = None,
) -> Any:
    """Attention of T queries over S keys: :func:`fp8ref.attention` where the arrays are."""
    choice("attention", "accumulate", accumulate, MODES)
    with Call("attention", {"q": q, "k": k, "v": v}, {"scale": scale}) as call:
        query, key, value = attention_arrays(call.shown("q"), call.shown("k"), call.shown("v"), mask, chunk)
        number = attention_scale(call.read("scale"))
        (queries, heads, d), (keys, kv_heads, _) = query.shape, key.shape
        factor = _ext.attention_default_factor(d) if number is None else _ext.attention_factor(number)
        out = call.empty(query.shape, BFLOAT16)
        arrays = (call.place("q", query), call.place("k", key), call.place("v", value))
        sizes = (queries, keys, heads, kv_heads, d)
        _cuda.attention(*arrays, *sizes, factor, mask, accumulate, chunk or 0, out.address, call.stream)
        return call.result(out)
