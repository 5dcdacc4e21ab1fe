# SPDX-License-Identifier: Apache-2.0
"""``linear`` in C++. spec/linear.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _ext
from ...golden._args import bf16_array, bias_vector, choice, fail
from ...golden.linear import ACCUMULATORS
from ._arrays import BFLOAT16, Array, bits

OP = "linear"


def linear(x: Any, weight: Any, bias: Any = None, accumulate: str = "exact") -> Array:
    """``x @ weight.T + bias`` in bfloat16, as :func:`fp8ref.linear`.

    Args:
        x: (M, K) bfloat16.
        weight: (N, K) bfloat16, as ``nn.Linear`` stores it.
        bias: (N,) bfloat16, float16 or float32, or None.
        accumulate: ``"exact"``, or the tensor core whose bits are wanted, such as ``"sm90_wgmma"``, or a mode such as
            ``"sm90"``, which names one.

    Returns:
        (M, N) bfloat16.

    Raises:
        OpError: wrong dtypes or shapes.

    Example:
        >>> import fp8ref, numpy as np, ml_dtypes
        >>> x = np.array([[1.0, 2.0]], ml_dtypes.bfloat16)
        >>> fp8ref.backend("cpu").linear(x, x, bias=np.array([0.5], np.float32)).tolist()
        [[5.5]]
    """
    choice(OP, "accumulate", accumulate, ACCUMULATORS)
    left, right = bf16_array(OP, "x", x, 2), bf16_array(OP, "weight", weight, 2)
    (m, k), n = left.shape, right.shape[0]
    if right.shape[1] != k:
        raise fail(OP, f"x {left.shape} and weight {right.shape} must have the same K, as (M, K) and (N, K)")
    offset = bias_vector(OP, bias, n)
    out = np.empty((m, n), BFLOAT16)
    _ext.linear(bits(left), bits(right), None if offset is None else bits(offset), bits(out), accumulate)
    return out
