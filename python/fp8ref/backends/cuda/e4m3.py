# SPDX-License-Identifier: Apache-2.0
"""``encode`` and ``decode`` on a CUDA device. spec/e4m3.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ...golden._args import choice, codes_array, float_array
from ...golden.e4m3 import OVERFLOW
from ._call import FLOAT8, FLOAT32, Call


def encode(x: Any, overflow: str = "saturate") -> Any:
    """E4M3 codes of ``x``, one rounding from the given value: :func:`fp8ref.encode` where the array is."""
    choice("encode", "overflow", overflow, OVERFLOW)
    with Call("encode", {"x": x}) as call:
        array = float_array("encode", "x", call.shown("x"))
        codes = call.empty(array.shape, FLOAT8)
        run = getattr(_cuda, f"encode_{array.dtype.name}")
        run(call.place("x", array), array.size, overflow, codes.address, call.stream)
        return call.result(codes)


def decode(codes: Any) -> Any:
    """The float32 values of E4M3 codes: :func:`fp8ref.decode` where the array is."""
    with Call("decode", {"codes": codes}) as call:
        array = codes_array("decode", "codes", call.shown("codes"))
        values = call.empty(array.shape, FLOAT32)
        _cuda.decode(call.place("codes", array), array.size, values.address, call.stream)
        return call.result(values)
