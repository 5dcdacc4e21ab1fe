# SPDX-License-Identifier: Apache-2.0
"""``grouped_mm`` on a CUDA device. spec/grouped_mm.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _cuda
from ...golden._args import fail, fp8_array
from ...golden._mm_args import group_bias, group_offsets, group_output, group_scales, policy, scale_kind
from ._call import INT64, OUT_DTYPES, Call
from ._matmul import policies, row_bits, row_stride

OP = "grouped_mm"


def grouped_mm(
    a: Any,
    b: Any,
    a_scale: Any,
    b_scale: Any,
    offsets: Any,
    bias: Any = None,
    out_dtype: str = "bfloat16",
    accumulate: str = "exact",
    epilogue: str = "a_b",
    split_k: int = 1,
    out_scale: Any = None,
    overflow: str | None = None,
    out: Any = None,
) -> Any:
    """Rows ``offsets[e]`` to ``offsets[e + 1] - 1`` of ``a`` times expert ``e`` of ``b``: :func:`fp8ref.grouped_mm`
    where the arrays are.

    ``offsets`` on a device are read by the kernels, and nothing waits for them. An ``out_scale`` on a device is read,
    which waits for it. ``out`` is written in place; only where it shares memory with an input is there a copy.
    """
    others = {"a_scale": a_scale, "b_scale": b_scale, "offsets": offsets, "out_scale": out_scale}
    with Call(OP, {"a": a, "b": b, "bias": bias, "out": out}, others) as call:
        how = policy(OP, out_dtype, accumulate, epilogue, split_k, call.read("out_scale"), overflow)
        left, right = fp8_array(OP, "a", call.shown("a"), 2), fp8_array(OP, "b", call.shown("b"), 3)
        (rows, k), (experts, n, depth) = left.shape, right.shape
        if k != depth:
            raise fail(OP, f"a {left.shape} and b {right.shape} must have the same K, as (R, K) and (E, N, K)")
        bounds = group_offsets(OP, call.shown("offsets"), experts, rows)
        a_s, b_s = group_scales(OP, call.shown("a_scale"), call.shown("b_scale"), (rows, experts, n, k), how)
        kind = scale_kind(OP, a_s.shape, b_s.shape[1:], (rows, n, k), how)
        offset = group_bias(OP, call.shown("bias"), experts, n)
        host = group_output(OP, call.shown("out"), (rows, n), OUT_DTYPES[out_dtype])
        target = call.target("out") if "out" in call.arrays else None
        result = call.zeros((rows, n), OUT_DTYPES[out_dtype]) if target is None else target
        each = b_s.ndim > 0  # scales of b for each expert
        _cuda.grouped_mm(
            call.place("a", left),
            left.dtype.name,
            call.place("b", right),
            right.dtype.name,
            rows,
            n,
            k,
            call.place("a_scale", a_s),
            row_stride(a_s.shape, kind),
            call.place("b_scale", b_s),
            row_stride(b_s.shape[1:], kind),
            row_bits(b_s.shape[1:], kind, n),
            int(np.prod(b_s.shape[1:], dtype=np.int64)) if each else 0,
            experts,
            call.place("offsets", np.array(bounds, INT64)),
            call.place("bias", offset),
            result.address,
            call.stream,
            kind,
            *policies(how),
        )
        if target is not None:
            return call.written("out", target)
        return _into(host, call.result(result), bounds)


def _into(out: Any, result: Any, bounds: list[int]) -> Any:
    """The rows of experts go into an ``out`` on the host. [GROUPED-OUT]"""
    if out is None:
        return result
    out[bounds[0] : bounds[-1]] = result[bounds[0] : bounds[-1]]
    return out
