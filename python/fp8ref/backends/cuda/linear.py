# SPDX-License-Identifier: Apache-2.0
"""``linear`` on a CUDA device. spec/linear.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ...golden._args import bf16_array, bias_vector, choice, fail
from ...golden.linear import ACCUMULATORS
from ._call import BFLOAT16, Call

OP = "linear"


def linear(x: Any, weight: Any, bias: Any = None, accumulate: str = "exact") -> Any:
    """``x @ weight.T + bias`` in bfloat16: :func:`fp8ref.linear` where the arrays are."""
    choice(OP, "accumulate", accumulate, ACCUMULATORS)
    with Call(OP, {"x": x, "weight": weight, "bias": bias}) as call:
        left, right = bf16_array(OP, "x", call.shown("x"), 2), bf16_array(OP, "weight", call.shown("weight"), 2)
        (m, k), n = left.shape, right.shape[0]
        if right.shape[1] != k:
            raise fail(OP, f"x {left.shape} and weight {right.shape} must have the same K, as (M, K) and (N, K)")
        offset = bias_vector(OP, call.shown("bias"), n)
        out = call.empty((m, n), BFLOAT16)
        operands = (call.place("x", left), call.place("weight", right), m, n, k, call.place("bias", offset))
        _cuda.linear(*operands, accumulate, out.address, call.stream)
        return call.result(out)
