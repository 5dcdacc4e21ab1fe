# SPDX-License-Identifier: Apache-2.0
"""``silu_mul`` on a CUDA device. spec/silu_mul.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ...golden._args import bf16_pair
from ._call import BFLOAT16, Call


def silu_mul(gate: Any, up: Any) -> Any:
    """silu(gate) * up, where silu(g) = g / (1 + exp(-g)): :func:`fp8ref.silu_mul` where the arrays are."""
    with Call("silu_mul", {"gate": gate, "up": up}) as call:
        left, right = bf16_pair("silu_mul", "gate", call.shown("gate"), "up", call.shown("up"))
        out = call.empty(left.shape, BFLOAT16)
        _cuda.silu_mul(call.place("gate", left), call.place("up", right), left.size, out.address, call.stream)
        return call.result(out)
