# SPDX-License-Identifier: Apache-2.0
"""``scaled_mm`` on a CUDA device. spec/scaled_mm.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ...golden._args import bias_vector, fail, fp8_array, scale_values
from ...golden._mm_args import policy, scale_kind
from ._call import OUT_DTYPES, Call
from ._matmul import policies, row_bits, row_stride

OP = "scaled_mm"


def scaled_mm(
    a: Any,
    b: Any,
    a_scale: Any,
    b_scale: Any,
    bias: Any = None,
    out_dtype: str = "bfloat16",
    accumulate: str = "exact",
    epilogue: str = "a_b",
    split_k: int = 1,
    out_scale: Any = None,
    overflow: str | None = None,
) -> Any:
    """The scaled product of FP8 codes: :func:`fp8ref.scaled_mm` where the arrays are.

    An ``out_scale`` on a device is read, which waits for it.
    """
    others = {"a_scale": a_scale, "b_scale": b_scale, "out_scale": out_scale}
    with Call(OP, {"a": a, "b": b, "bias": bias}, others) as call:
        how = policy(OP, out_dtype, accumulate, epilogue, split_k, call.read("out_scale"), overflow)
        left, right = fp8_array(OP, "a", call.shown("a"), 2), fp8_array(OP, "b", call.shown("b"), 2)
        (m, k), n = left.shape, right.shape[0]
        if right.shape[1] != k:
            raise fail(OP, f"a {left.shape} and b {right.shape} must have the same K, as (M, K) and (N, K)")
        a_s, b_s = (scale_values(OP, name, call.shown(name)) for name in ("a_scale", "b_scale"))
        kind = scale_kind(OP, a_s.shape, b_s.shape, (m, n, k), how)
        offset = bias_vector(OP, call.shown("bias"), n)
        out = call.empty((m, n), OUT_DTYPES[out_dtype])
        _cuda.scaled_mm(
            call.place("a", left),
            left.dtype.name,
            call.place("b", right),
            right.dtype.name,
            m,
            n,
            k,
            call.place("a_scale", a_s),
            row_stride(a_s.shape, kind),
            call.place("b_scale", b_s),
            row_stride(b_s.shape, kind),
            row_bits(b_s.shape, kind, n),
            call.place("bias", offset),
            out.address,
            call.stream,
            kind,
            *policies(how),
        )
        return call.result(out)
