# SPDX-License-Identifier: Apache-2.0
"""``temperature_factors`` and ``temperature`` on a CUDA device. spec/temperature.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ...golden._args import position_array, temperature_arrays, temperature_scales
from ._call import BFLOAT16, FLOAT32, Call


def temperature_factors(positions: Any, floor_scale: float, attn_scale: float) -> Any:
    """The factor of the queries at each position: :func:`fp8ref.temperature_factors` where the positions are."""
    numbers = {"floor_scale": floor_scale, "attn_scale": attn_scale}
    with Call("temperature_factors", {"positions": positions}, numbers) as call:
        index = position_array("temperature_factors", call.shown("positions"))
        floor, scale = temperature_scales(call.read("floor_scale"), call.read("attn_scale"))
        factors = call.empty(index.shape, FLOAT32)
        arguments = (call.place("positions", index), index.size, floor, scale)
        _cuda.temperature_factors(*arguments, factors.address, call.stream)
        return call.result(factors)


def temperature(x: Any, factors: Any) -> Any:
    """Queries times the factors of their tokens: :func:`fp8ref.temperature` where the arrays are."""
    with Call("temperature", {"x": x, "factors": factors}) as call:
        array, values = temperature_arrays(call.shown("x"), call.shown("factors"))
        tokens, heads, d = array.shape
        out = call.empty(array.shape, BFLOAT16)
        arguments = (call.place("x", array), tokens, heads * d, call.place("factors", values))
        _cuda.temperature(*arguments, out.address, call.stream)
        return call.result(out)
