# SPDX-License-Identifier: Apache-2.0
"""The residual addition: ``RNbf(x + y)``. See spec/residual.md."""

from __future__ import annotations

from typing import Any

from ._args import bf16_pair
from ._bf16 import add
from ._round import Array, check_environment


def residual(x: Any, y: Any) -> Array:
    """The elementwise sum of two bfloat16 arrays, rounded once. [RESIDUAL-SUM]

    Args:
        x: bfloat16, any shape.
        y: bfloat16, the same shape; nothing is broadcast. [RESIDUAL-SHAPES]

    Returns:
        bfloat16, the same shape: RNbf(x + y), IEEE 754 for infinities, NaN and the sign of zero. [RESIDUAL-SPECIAL]

    Raises:
        OpError: a dtype is not bfloat16, or the shapes differ.

    Source: the residual stream of a Llama layer, transformers ``LlamaDecoderLayer.forward``.

    Example:
        >>> import ml_dtypes, numpy as np, fp8ref
        >>> x = np.array([1.0, 1.0], ml_dtypes.bfloat16)
        >>> y = np.array([2.0**-8, 3 * 2.0**-8], ml_dtypes.bfloat16)
        >>> fp8ref.residual(x, y).astype(float).tolist()  # two ties, to even
        [1.0, 1.015625]
    """
    check_environment("residual")
    return add(*bf16_pair("residual", "x", x, "y", y))
