# SPDX-License-Identifier: Apache-2.0
"""``quantize`` and ``dequantize`` in C++. spec/quantize.md"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _ext
from ...golden._args import choice, codes_array, float32_scale
from ...golden._rule_steps import TILE, scale_shape
from ...golden.quantize import arguments, dequantize_scale
from ._arrays import FLOAT8, OUT_DTYPES, Array, bits

OP = "quantize"


def quantize(x: Any, rule: str, scale: Any = None, scale_ub: Any = None) -> tuple[Array, NDArray[np.float32]]:
    """Codes and scale of a tensor by a named rule, as :func:`fp8ref.quantize`.

    Args:
        x: bfloat16, float16 or float32; (rows, K) for rules with a scale per row, group or block, any shape of at
            least one dimension for rules with one scale per tensor.
        rule: a name of ``fp8ref.rules()``, for example ``"vllm.per_token"``.
        scale: for rules whose scale is given, and for no others: one float32 value, sign bit clear.
        scale_ub: for rules that have an upper bound: one positive, finite float32 value.

    Returns:
        ``(codes, scale)``: float8_e4m3fn of the shape of ``x``; float32 of shape () per tensor, (rows, 1) per row,
        (rows, ceil(K/128)) per group, (ceil(rows/128), ceil(K/128)) per block.

    Raises:
        OpError: an unknown rule, a wrong dtype or shape, a scale or bound that is missing, wrong or not asked for.

    Example:
        >>> import fp8ref, numpy as np
        >>> codes, scale = fp8ref.backend("cpu").quantize(np.array([[448.0, 1.0]], np.float32), "vllm.per_token")
        >>> codes.view("uint8").tolist(), scale.tolist()
        ([[126, 56]], [[1.0]])
    """
    row, array, bound = arguments(x, rule, scale, scale_ub)
    shape = (1, array.size) if row.granularity == "tensor" else array.shape
    kept = np.empty(scale_shape(row.granularity, shape), np.float32)
    if scale is not None:
        kept[...] = float32_scale(OP, "scale", scale)
    codes = np.empty(array.shape, FLOAT8)
    upper = np.array(np.inf, np.float32) if bound is None else bits(bound)
    getattr(_ext, f"quantize_{array.dtype.name}")(
        bits(array).reshape(shape), rule, bits(codes).reshape(shape), kept, upper
    )
    return codes, kept


def dequantize(codes: Any, scale: Any, out_dtype: str = "bfloat16") -> Array:
    """``RN_out(RN32(code * scale))``, as :func:`fp8ref.dequantize`.

    Args:
        codes: float8_e4m3fn or uint8 of any shape.
        scale: one float32 value, or for codes (rows, K) one for each row (rows, 1), group (rows, ceil(K/128)) or
            block (ceil(rows/128), ceil(K/128)); sign bit clear.
        out_dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Returns:
        Array of ``out_dtype`` with the shape of ``codes``.

    Raises:
        OpError: wrong dtypes or shapes, or a scale whose sign bit is set.

    Example:
        >>> import fp8ref, numpy as np
        >>> fp8ref.backend("cpu").dequantize(np.array([[0x38, 0x7E]], np.uint8), 0.5).tolist()
        [[0.5, 224.0]]
    """
    choice("dequantize", "out_dtype", out_dtype, OUT_DTYPES)
    array = codes_array("dequantize", "codes", codes)
    factor = dequantize_scale(scale, array.shape)
    out = np.empty(array.shape, OUT_DTYPES[out_dtype])
    rows, columns = array.shape if array.ndim == 2 else (1, array.size)
    high, wide = max(rows, 1), max(columns, 1)
    if factor.ndim:
        high = 1 if factor.shape[0] == rows else TILE
        wide = wide if factor.shape == (rows, 1) else TILE
    _ext.dequantize(
        bits(array).reshape(rows, columns), bits(factor), high, wide, out_dtype, bits(out).reshape(rows, columns)
    )
    return out
