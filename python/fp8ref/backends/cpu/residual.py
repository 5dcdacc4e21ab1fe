# SPDX-License-Identifier: Apache-2.0
"""``residual`` in C++. spec/residual.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _ext
from ...golden._args import bf16_pair
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
