# SPDX-License-Identifier: Apache-2.0
"""``mma`` on a CUDA device. spec/mma.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ...golden.mma import mma_arrays
from ._call import OUT_DTYPES, Call


def mma(a: Any, b: Any, c: Any = None, accumulate: str = "sm90_wgmma", out_dtype: str = "float32") -> Any:
    """``c + a @ b.T`` as a tensor core computes it: :func:`fp8ref.mma` where the arrays are."""
    with Call("mma", {"a": a, "b": b, "c": c}) as call:
        shown = call.shown("a"), call.shown("b"), call.shown("c")
        _, left, right, accumulator = mma_arrays(*shown, accumulate, out_dtype)
        (m, k), n = left.shape, len(right)
        out = call.empty((m, n), OUT_DTYPES[out_dtype])
        operands = (call.place("a", left), left.dtype.name, call.place("b", right), right.dtype.name)
        start = call.place("c", None if c is None else accumulator)
        _cuda.mma(*operands, m, n, k, start, accumulate, out_dtype, out.address, call.stream)
        return call.result(out)
