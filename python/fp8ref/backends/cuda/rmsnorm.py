# SPDX-License-Identifier: Apache-2.0
"""``rmsnorm`` on a CUDA device. spec/rmsnorm.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ...golden._args import positive, rmsnorm_arrays
from ._call import BFLOAT16, Call


def rmsnorm(x: Any, weight: Any, eps: float) -> Any:
    """x / sqrt(mean(x^2) + eps) * weight along the last dimension: :func:`fp8ref.rmsnorm` where the arrays are."""
    with Call("rmsnorm", {"x": x, "weight": weight}, {"eps": eps}) as call:
        array, factors = rmsnorm_arrays(call.shown("x"), call.shown("weight"))
        small = positive("rmsnorm", "eps", call.read("eps"), "float32")
        rows, k = array.size // array.shape[-1], array.shape[-1]
        out = call.empty(array.shape, BFLOAT16)
        weights = call.place("weight", factors)
        _cuda.rmsnorm(call.place("x", array), weights, rows, k, small, out.address, call.stream)
        return call.result(out)
