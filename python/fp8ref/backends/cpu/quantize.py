# SPDX-License-Identifier: Apache-2.0
"""``quantize`` and ``dequantize`` in C++. spec/quantize.md"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _ext
from ...golden._args import SCALES, choice, codes_array, describe, fail, float32_scale, float_array
from ...golden.quantize import RULES
from ._arrays import FLOAT8, OUT_DTYPES, Array, bits

OP = "quantize"


def quantize(x: Any, rule: str, scale: Any = None) -> tuple[Array, NDArray[np.float32]]:
    """Codes and scale of a tensor by a named rule, as :func:`fp8ref.quantize`.

    Args:
        x: bfloat16, float16 or float32; (rows, K) for rules with a scale per row, any shape of at least one
            dimension for rules with one scale per tensor.
        rule: for example ``"vllm.per_token"``.
        scale: for ``"vllm.per_tensor_static"`` only: the float32 scale to use, one value, sign bit clear.

    Returns:
        ``(codes, scale)``: float8_e4m3fn of the shape of ``x``; float32 (rows, 1) or ().

    Raises:
        OpError: an unknown rule, a wrong dtype or shape, a scale that is missing or not asked for.

    Example:
        >>> import fp8ref, numpy as np
        >>> codes, scale = fp8ref.backend("cpu").quantize(np.array([[448.0, 1.0]], np.float32), "vllm.per_token")
        >>> codes.view("uint8").tolist(), scale.tolist()
        ([[126, 56]], [[1.0]])
    """
    row = RULES[choice(OP, "rule", rule, RULES)]
    array = float_array(OP, "x", x)
    if array.dtype not in SCALES:
        raise fail(OP, f"x must be bfloat16, float16 or float32, got {describe(array)}")
    if array.ndim != 2 if row.granularity == "row" else array.ndim == 0:
        wanted = "be (rows, K)" if row.granularity == "row" else "have at least one dimension"
        raise fail(OP, f"x must {wanted} for rule {rule!r}, got {describe(array)}")
    if (row.scale == "given") != (scale is not None):
        raise fail(OP, f"rule {rule!r} {'needs' if scale is None else 'computes its own'} scale")
    if scale is not None:
        kept = bits(float32_scale(OP, "scale", scale))
    else:
        kept = np.empty((array.shape[0], 1) if row.granularity == "row" else (), np.float32)
    codes = np.empty(array.shape, FLOAT8)
    rows = array.shape[0] if row.granularity == "row" else 1
    shape = (rows, array.size // rows) if rows else array.shape
    getattr(_ext, f"quantize_{array.dtype.name}")(bits(array).reshape(shape), rule, bits(codes), kept)
    return codes, kept


def dequantize(codes: Any, scale: Any, out_dtype: str = "bfloat16") -> Array:
    """``RN_out(RN32(code * scale))``, as :func:`fp8ref.dequantize`.

    Args:
        codes: float8_e4m3fn or uint8 of any shape.
        scale: one float32 value, or (rows, 1) for codes (rows, K); sign bit clear.
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
    factor = float32_scale("dequantize", "scale", scale, array.shape[0] if array.ndim == 2 else None)
    out = np.empty(array.shape, OUT_DTYPES[out_dtype])
    rows = bits(array) if array.ndim == 2 else bits(array).reshape(1, -1)
    _ext.dequantize(rows, bits(factor), out_dtype, bits(out))
    return out
