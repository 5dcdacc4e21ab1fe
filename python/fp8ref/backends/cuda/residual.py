# SPDX-License-Identifier: Apache-2.0
"""``residual`` on a CUDA device. spec/residual.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ...golden._args import bf16_pair
from ._call import BFLOAT16, Call


def residual(x: Any, y: Any) -> Any:
    """The elementwise sum of two bfloat16 arrays, rounded once: :func:`fp8ref.residual` where the arrays are."""
    with Call("residual", {"x": x, "y": y}) as call:
        left, right = bf16_pair("residual", "x", call.shown("x"), "y", call.shown("y"))
        out = call.empty(left.shape, BFLOAT16)
        _cuda.residual(call.place("x", left), call.place("y", right), left.size, out.address, call.stream)
        return call.result(out)
