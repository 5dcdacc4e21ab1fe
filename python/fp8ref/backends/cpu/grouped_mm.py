# SPDX-License-Identifier: Apache-2.0
"""``grouped_mm`` in C++. spec/grouped_mm.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _ext
from ...golden._args import fail, fp8_array
from ...golden._mm_args import group_bias, group_offsets, group_output, group_scales, policy, scale_kind
from ._arrays import Array, bits
from ._matmul import MATMUL_DTYPES, policies

OP = "grouped_mm"
BLOCK_BITS = 7  # 128 rows of b share their scales, where not each has its own


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
) -> Array:
    """Rows ``offsets[e]`` to ``offsets[e + 1] - 1`` of ``a`` times expert ``e`` of ``b``, as :func:`fp8ref.grouped_mm`.

    Args:
        a: codes (R, K), float8_e4m3fn (or uint8, its codes) or float8_e5m2; the rows of an expert are contiguous.
        b: codes (E, N, K) of either type, a weight for each expert.
        a_scale: float32 (bfloat16, float16 and float8_e8m0fnu widen exactly), sign bit clear: one value, (R, 1) or
            (R, ceil(K / 128)).
        b_scale: the same: one value, (E,), (E, N, 1), (E, ceil(N / 128), ceil(K / 128)) or (E, N, ceil(K / 128)).
        offsets: (E + 1,) int32 or int64, non-decreasing, from 0 to R; an expert may have no rows.
        bias: (E, N) float32, bfloat16 or float16, or None.
        out_dtype: as in :func:`scaled_mm`; so are the arguments after it.
        accumulate: the accumulator.
        epilogue: the order of the scales.
        split_k: the number of contiguous parts of K that a tensor core sums apart.
        out_scale: the multiplier before rounding to E4M3.
        overflow: the policy of E4M3.
        out: an array (R, N) of ``out_dtype`` to write to, or None. All results are computed before the first is
            written, so it may share memory with the inputs.

    Returns:
        (R, N) of ``out_dtype``; ``out`` itself where it is given. Rows of no expert, before ``offsets[0]`` and from
        ``offsets[E]`` on, are +0, or keep what ``out`` holds. [GROUPED-ROWS]

    Raises:
        OpError: shapes, dtypes, offsets or policies that have no meaning; ``out`` is then as it was.

    Example:
        >>> import fp8ref, numpy as np
        >>> a, b = np.full((3, 32), 0x38, np.uint8), np.full((2, 1, 32), 0x38, np.uint8)
        >>> scales, offsets = np.array([1, 2], np.float32), np.array([0, 2, 3])
        >>> fp8ref.backend("cpu").grouped_mm(a, b, 1.0, scales, offsets, out_dtype="float32").tolist()
        [[32.0], [32.0], [64.0]]
    """
    how = policy(OP, out_dtype, accumulate, epilogue, split_k, out_scale, overflow)
    left, right = fp8_array(OP, "a", a, 2), fp8_array(OP, "b", b, 3)
    (rows, k), (experts, n, depth) = left.shape, right.shape
    if k != depth:
        raise fail(OP, f"a {left.shape} and b {right.shape} must have the same K, as (R, K) and (E, N, K)")
    bounds = group_offsets(OP, offsets, experts, rows)
    a_s, b_s = group_scales(OP, a_scale, b_scale, (rows, experts, n, k), how)
    kind = scale_kind(OP, a_s.shape, b_s.shape[1:], (rows, n, k), how)
    offset = group_bias(OP, bias, experts, n)
    target = group_output(OP, out, (rows, n), MATMUL_DTYPES[out_dtype])

    result = np.zeros((rows, n), MATMUL_DTYPES[out_dtype])
    _ext.grouped_mm(
        bits(left),
        bits(right),
        bits(a_s),
        bits(b_s),
        0 if b_s.ndim < 3 or b_s.shape[1] == n else BLOCK_BITS,
        np.array(bounds, np.int64),
        None if offset is None else bits(offset),
        bits(result),
        left.dtype.name,
        right.dtype.name,
        kind,
        *policies(how),
    )
    if target is None:
        return result
    target[bounds[0] : bounds[-1]] = result[bounds[0] : bounds[-1]]  # a may share memory with it [GROUPED-OUT]
    return target
