# SPDX-License-Identifier: Apache-2.0
"""``quantize`` and ``dequantize`` on a CUDA device. spec/quantize.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _cuda
from ...golden._args import choice, codes_array, float32_scale
from ...golden._rule_steps import TILE, scale_shape
from ...golden.quantize import arguments, dequantize_scale
from ._call import FLOAT8, FLOAT32, OUT_DTYPES, Call

OP = "quantize"
VALUES = tuple(name for name in OUT_DTYPES if name != "float8_e4m3fn")


def quantize(x: Any, rule: str, scale: Any = None, scale_ub: Any = None) -> tuple[Any, Any]:
    """Codes and scale of a tensor by a named rule: :func:`fp8ref.quantize` where the array is.

    A ``scale_ub`` on a device is read, which waits for it.
    """
    with Call(OP, {"x": x}, {"scale": scale, "scale_ub": scale_ub}) as call:
        row, array, bound = arguments(call.shown("x"), rule, call.shown("scale"), call.read("scale_ub"))
        rows, columns = (1, array.size) if row.granularity == "tensor" else array.shape
        kept = call.empty(scale_shape(row.granularity, (rows, columns)), FLOAT32)
        if scale is not None:
            given = call.place("scale", float32_scale(OP, "scale", call.shown("scale")))
            _cuda.copy(OP, kept.address, given, kept.bytes, call.stream)
        codes = call.empty(array.shape, FLOAT8)
        upper = np.array(np.inf, np.float32) if bound is None else bound
        run = getattr(_cuda, f"quantize_{array.dtype.name}")
        run(call.place("x", array), rows, columns, rule, codes.address, kept.address, upper, call.stream)
        return call.result(codes), call.result(kept)


def dequantize(codes: Any, scale: Any, out_dtype: str = "bfloat16") -> Any:
    """``RN_out(RN32(code * scale))``: :func:`fp8ref.dequantize` where the arrays are."""
    choice("dequantize", "out_dtype", out_dtype, VALUES)
    with Call("dequantize", {"codes": codes}, {"scale": scale}) as call:
        array = codes_array("dequantize", "codes", call.shown("codes"))
        factor = dequantize_scale(call.shown("scale"), array.shape)
        out = call.empty(array.shape, OUT_DTYPES[out_dtype])
        rows, columns = array.shape if array.ndim == 2 else (1, array.size)
        high, wide = max(rows, 1), max(columns, 1)
        if factor.ndim:
            high = 1 if factor.shape[0] == rows else TILE
            wide = wide if factor.shape == (rows, 1) else TILE
        tiles = (call.place("scale", factor), high, wide)
        _cuda.dequantize(call.place("codes", array), rows, columns, *tiles, out_dtype, out.address, call.stream)
        return call.result(out)
