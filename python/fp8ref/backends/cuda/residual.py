# SPDX-License-Identifier: Apache-2.0
"""``residual`` and ``gated_residual`` on a CUDA device. spec/residual.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ...golden._args import bf16_pair, gate_value
from ._call import BFLOAT16, Call


def residual(x: Any, y: Any) -> Any:
    """The elementwise sum of two bfloat16 arrays, rounded once: :func:`fp8ref.residual` where the arrays are."""
    with Call("residual", {"x": x, "y": y}) as call:
        left, right = bf16_pair("residual", "x", call.shown("x"), "y", call.shown("y"))
        out = call.empty(left.shape, BFLOAT16)
        _cuda.residual(call.place("x", left), call.place("y", right), left.size, out.address, call.stream)
        return call.result(out)


def gated_residual(x: Any, y: Any, gate: Any) -> Any:
    """x + tanh(gate) * y: :func:`fp8ref.gated_residual` where the arrays are."""
    with Call("gated_residual", {"x": x, "y": y, "gate": gate}) as call:
        left, right = bf16_pair("gated_residual", "x", call.shown("x"), "y", call.shown("y"))
        factor = gate_value(call.shown("gate"))
        out = call.empty(left.shape, BFLOAT16)
        arrays = (call.place("x", left), call.place("y", right), call.place("gate", factor))
        _cuda.gated_residual(*arrays, left.size, out.address, call.stream)
        return call.result(out)
