# SPDX-License-Identifier: Apache-2.0
"""``scaled_mm`` in C++. spec/scaled_mm.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _ext
from ...golden._args import bias_vector, fail, fp8_array
from ...golden._mm_args import policy, scale_pair
from ._arrays import Array, bits
from ._matmul import MATMUL_DTYPES, policies

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
) -> Array:
    """The scaled product of FP8 codes, as :func:`fp8ref.scaled_mm`.

    Args:
        a: codes (M, K), float8_e4m3fn (or uint8, its codes) or float8_e5m2.
        b: codes (N, K) of either type, as ``nn.Linear`` stores weights.
        a_scale: float32 (bfloat16, float16 and float8_e8m0fnu widen exactly), sign bit clear: one value, (M, 1), or
            for each block of 128 along K (M, ceil(K / 128)).
        b_scale: the same: one value, (N, 1), (ceil(N / 128), ceil(K / 128)) or (N, ceil(K / 128)).
        bias: (N,) float32, bfloat16 or float16, or None.
        out_dtype: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"float8_e4m3fn"``.
        accumulate: ``"exact"``, or the tensor core whose bits are wanted, such as ``"sm90_wgmma"``.
        epilogue: the order of the scales: ``"a_b"`` multiplies by ``b_scale`` first, ``"b_a"`` by ``a_scale`` first,
            ``"ab"`` by their product; with block scales also the orders of kernels that scale each block's sum:
            ``"deepgemm"``, ``"triton"``, ``"triton_ba"``.
        split_k: the number of contiguous parts of K that a tensor core sums apart.
        out_scale: the multiplier before rounding to E4M3, one value; for that output type only.
        overflow: ``"saturate"`` or ``"nan"``, as :func:`fp8ref.encode` has it; for that output type only.

    Returns:
        (M, N) of ``out_dtype``. The clauses [MM-...] of spec/scaled_mm.md say which steps round.

    Raises:
        OpError: shapes, dtypes or policies that have no meaning, or a scale whose sign bit is set.

    Example:
        >>> import fp8ref, numpy as np
        >>> one = np.full((1, 32), 0x38, np.uint8)
        >>> fp8ref.backend("cpu").scaled_mm(one, one, 0.5, 0.25, out_dtype="float32").tolist()
        [[4.0]]
    """
    how = policy(OP, out_dtype, accumulate, epilogue, split_k, out_scale, overflow)
    left, right = fp8_array(OP, "a", a, 2), fp8_array(OP, "b", b, 2)
    (m, k), n = left.shape, right.shape[0]
    if right.shape[1] != k:
        raise fail(OP, f"a {left.shape} and b {right.shape} must have the same K, as (M, K) and (N, K)")
    a_s, b_s, kind = scale_pair(OP, a_scale, b_scale, (m, n, k), how)
    offset = bias_vector(OP, bias, n)
    out = np.empty((m, n), MATMUL_DTYPES[out_dtype])
    _ext.scaled_mm(
        bits(left),
        bits(right),
        bits(a_s),
        bits(b_s),
        None if offset is None else bits(offset),
        bits(out),
        left.dtype.name,
        right.dtype.name,
        kind,
        *policies(how),
    )
    return out
