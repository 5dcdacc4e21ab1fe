# SPDX-License-Identifier: Apache-2.0
"""``residual`` and ``gated_residual`` in C++. spec/residual.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _ext
from ...golden._args import bf16_pair, gate_value
from ._arrays import BFLOAT16, Array, bits


def residual(x: Any, y: Any) -> Array:
    """The elementwise sum of two bfloat16 arrays, rounded once, as :func:`fp8ref.residual`.

    Args:
        x: bfloat16, any shape.
        y: bfloat16, the same shape; nothing is broadcast.

    Returns:
        bfloat16, the same shape.

    Raises:
        OpError: a dtype is not bfloat16, or the shapes differ.

    Example:
        >>> import fp8ref, numpy as np, ml_dtypes
        >>> x = np.array([1.0], ml_dtypes.bfloat16)
        >>> fp8ref.backend("cpu").residual(x, x).astype(float).tolist()
        [2.0]
    """
    left, right = bf16_pair("residual", "x", x, "y", y)
    out = np.empty(left.shape, BFLOAT16)
    _ext.residual(bits(left), bits(right), bits(out))
    return out


def gated_residual(x: Any, y: Any, gate: Any) -> Array:
    """x + tanh(gate) * y, as :func:`fp8ref.gated_residual`.

    Args:
        x: bfloat16, any shape.
        y: bfloat16, the same shape; nothing is broadcast.
        gate: bfloat16, shape (1,).

    Returns:
        bfloat16, the same shape.

    Raises:
        OpError: a dtype is not bfloat16, the shapes differ, or gate is not one number.

    Example:
        >>> import fp8ref, numpy as np, ml_dtypes
        >>> one = np.ones(1, ml_dtypes.bfloat16)
        >>> fp8ref.backend("cpu").gated_residual(one, one, one).astype(float).tolist()
        [1.765625]
    """
    left, right = bf16_pair("gated_residual", "x", x, "y", y)
    factor = gate_value(gate)
    out = np.empty(left.shape, BFLOAT16)
    _ext.gated_residual(bits(left), bits(right), bits(factor), bits(out))
    return out
