# SPDX-License-Identifier: Apache-2.0
"""``silu_mul`` in C++. spec/silu_mul.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _ext
from ...golden._args import bf16_pair
from ._arrays import BFLOAT16, Array, bits


def silu_mul(gate: Any, up: Any) -> Array:
    """silu(gate) * up, where silu(g) = g / (1 + exp(-g)), as :func:`fp8ref.silu_mul`.

    Args:
        gate: bfloat16, any shape.
        up: bfloat16, the same shape; nothing is broadcast.

    Returns:
        bfloat16, the same shape.

    Raises:
        OpError: a dtype is not bfloat16, or the shapes differ.

    Example:
        >>> import fp8ref, numpy as np, ml_dtypes
        >>> one = np.ones(1, ml_dtypes.bfloat16)
        >>> fp8ref.backend("cpu").silu_mul(one, one).astype(float).tolist()
        [0.73046875]
    """
    left, right = bf16_pair("silu_mul", "gate", gate, "up", up)
    out = np.empty(left.shape, BFLOAT16)
    _ext.silu_mul(bits(left), bits(right), bits(out))
    return out
