# SPDX-License-Identifier: Apache-2.0
"""``scaled_mm`` in C++. spec/scaled_mm.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _ext
from ...golden._args import bias_vector, choice, codes_array, fail, float32_scale
from ...golden.scaled_mm import ACCUMULATORS, EPILOGUES
from ._arrays import OUT_DTYPES, Array, bits

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
) -> Array:
    """The scaled product of E4M3 codes, as :func:`fp8ref.scaled_mm`.

    Args:
        a: codes (M, K), float8_e4m3fn or uint8.
        b: codes (N, K), as ``nn.Linear`` stores weights.
        a_scale: float32 (bfloat16 and float16 widen exactly), one value or (M, 1); sign bit clear.
        b_scale: the same, one value or (N, 1).
        bias: (N,) float32, bfloat16 or float16, or None.
        out_dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        accumulate: ``"exact"`` or ``"sm90_wgmma"``.
        epilogue: ``"a_b"``.

    Returns:
        (M, N) of ``out_dtype``.

    Raises:
        OpError: shapes, dtypes or policies that have no meaning, or a scale whose sign bit is set.

    Example:
        >>> import fp8ref, numpy as np
        >>> one = np.full((1, 32), 0x38, np.uint8)
        >>> fp8ref.backend("cpu").scaled_mm(one, one, 0.5, 0.25, out_dtype="float32").tolist()
        [[4.0]]
    """
    choice(OP, "out_dtype", out_dtype, OUT_DTYPES)
    choice(OP, "accumulate", accumulate, ACCUMULATORS)
    choice(OP, "epilogue", epilogue, EPILOGUES)
    left, right = codes_array(OP, "a", a, 2), codes_array(OP, "b", b, 2)
    (m, k), n = left.shape, right.shape[0]
    if right.shape[1] != k:
        raise fail(OP, f"a {left.shape} and b {right.shape} must have the same K, as (M, K) and (N, K)")
    a_s, b_s = float32_scale(OP, "a_scale", a_scale, m), float32_scale(OP, "b_scale", b_scale, n)
    offset = bias_vector(OP, bias, n)
    out = np.empty((m, n), OUT_DTYPES[out_dtype])
    _ext.scaled_mm(
        bits(left),
        bits(right),
        bits(a_s),
        bits(b_s),
        None if offset is None else bits(offset),
        out_dtype,
        accumulate,
        epilogue,
        bits(out),
    )
    return out
