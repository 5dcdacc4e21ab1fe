# SPDX-License-Identifier: Apache-2.0
"""``attention`` in C++. spec/attention.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _ext
from ...golden._args import attention_arrays, attention_scale, choice
from ...golden._units import MODES
from ._arrays import BFLOAT16, Array, bits


def attention(
    q: Any,
    k: Any,
    v: Any,
    scale: float | None = None,
    mask: str = "causal",
    accumulate: str = "exact",
    chunk: int | None = None,
) -> Array:
    """Attention of T queries over S keys, as :func:`fp8ref.attention`.

    Args:
        q: bfloat16, shape (T, Hq, d).
        k: bfloat16, shape (S, Hkv, d), Hq a multiple of Hkv; query head h reads head h // (Hq // Hkv).
        v: the same.
        scale: multiplies the scores; None is the real number d**-0.5. A float is taken exactly.
        mask: ``causal``: the queries are the last T of the S positions; ``chunked``: the same, but a query sees only
            the keys of its own chunk of positions; ``full``: every query sees every key.
        accumulate: ``"exact"``, or the mode whose bits are wanted, such as ``"sm90"``.
        chunk: for mask ``chunked`` the number of positions of a chunk, else None.

    Returns:
        bfloat16, shape (T, Hq, d).

    Raises:
        OpError: a wrong dtype, shape, scale, mask, chunk or mode.

    Example:
        >>> import fp8ref, numpy as np, ml_dtypes
        >>> q = k = np.ones((2, 1, 2), ml_dtypes.bfloat16)
        >>> v = np.array([[[0.0, 1.0]], [[1.0, 1.0]]], ml_dtypes.bfloat16)
        >>> fp8ref.backend("cpu").attention(q, k, v).astype(float).tolist()
        [[[0.0, 1.0]], [[0.5, 1.0]]]
    """
    choice("attention", "accumulate", accumulate, MODES)
    query, key, value = attention_arrays(q, k, v, mask, chunk)
    number = attention_scale(scale)
    d = query.shape[2]
    factor = _ext.attention_default_factor(d) if number is None else _ext.attention_factor(number)
    out = np.empty(query.shape, BFLOAT16)
    _ext.attention(bits(query), bits(key), bits(value), factor, mask, accumulate, chunk or 0, bits(out))
    return out
