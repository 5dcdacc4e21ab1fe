# SPDX-License-Identifier: Apache-2.0
"""``rope_table`` and ``rope`` on a CUDA device, ``rope_frequencies`` on the host. spec/rope.md"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _cuda
from ...golden._args import float32_array, position_array, rope_arrays
from ..cpu import rope as cpu
from ._call import BFLOAT16, FLOAT32, Call


def rope_frequencies(head_dim: int, base: float, scaling: Mapping[str, float] | None = None) -> NDArray[np.float32]:
    """The angle per position of each pair of a head, in radians: :func:`fp8ref.rope_frequencies`, a numpy array.

    There are head_dim / 2 of them and no array among the arguments, so the host computes them.
    """
    return cpu.rope_frequencies(head_dim, base, scaling)


def rope_table(positions: Any, frequencies: Any) -> tuple[Any, Any]:
    """Cosines and sines of position * frequency: :func:`fp8ref.rope_table` where one of the arrays is on a device."""
    with Call("rope_table", {}, {"positions": positions, "frequencies": frequencies}) as call:
        index = position_array("rope_table", call.shown("positions"))
        inverse = float32_array("rope_table", "frequencies", call.shown("frequencies"), 1)
        cos, sin = (call.empty((index.size, inverse.size), FLOAT32) for _ in range(2))
        angles = (call.place("positions", index), index.size, call.place("frequencies", inverse), inverse.size)
        _cuda.rope_table(*angles, cos.address, sin.address, call.stream)
        return call.result(cos), call.result(sin)


def rope(x: Any, cos: Any, sin: Any, layout: str = "rotate_half") -> Any:
    """Rotates the pairs of every head by its token's angles: :func:`fp8ref.rope` where the arrays are."""
    with Call("rope", {"x": x, "cos": cos, "sin": sin}) as call:
        array, cosines, sines = rope_arrays(call.shown("x"), call.shown("cos"), call.shown("sin"), layout)
        tokens, heads, d = array.shape
        out = call.empty(array.shape, BFLOAT16)
        table = (call.place("cos", cosines), call.place("sin", sines))
        _cuda.rope(call.place("x", array), tokens, heads, d // 2, *table, layout, out.address, call.stream)
        return call.result(out)
