# SPDX-License-Identifier: Apache-2.0
"""The residual addition: ``RNbf(x + y)``, and the gated one. See spec/residual.md."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import bf16_pair, gate_value
from ._bf16 import add, multiply, widen64
from ._decide import Bounds, Compare, by_enclosure, exp, settle
from ._round import Array, check_environment, round_to


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


def gated_residual(x: Any, y: Any, gate: Any) -> Array:
    """x + tanh(gate) * y: the residual addition of a block that a learned number weighs. [RESIDUAL-GATED]

    Args:
        x: bfloat16, any shape.
        y: bfloat16, the same shape; nothing is broadcast. [RESIDUAL-SHAPES]
        gate: bfloat16, shape (1,).

    Returns:
        bfloat16, the same shape: RNbf(x + RNbf(RNbf(tanh(gate)) * y)).

    Raises:
        OpError: a dtype is not bfloat16, the shapes differ, or gate is not one number.

    Source: transformers ``MllamaCrossAttentionDecoderLayer.forward``.

    Example:
        >>> import ml_dtypes, numpy as np, fp8ref
        >>> one = np.ones(1, ml_dtypes.bfloat16)
        >>> fp8ref.gated_residual(one, one, one).astype(float).tolist()  # tanh(1) = 0.76159...
        [1.765625]
    """
    check_environment("gated_residual")
    x, y = bf16_pair("gated_residual", "x", x, "y", y)
    factor = round_to(tanh(widen64(gate_value(gate))), "bfloat16").reshape(())
    return add(x, multiply(factor, y))


def tanh(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The hyperbolic tangent of bfloat16 values, so near that RNbf of it is RNbf of the real one. [RESIDUAL-GATED]

    RN32 of the real value serves: tests/golden/test_residual.py shows for every bfloat16 number that no midpoint of
    bfloat16 lies between the two.
    """
    finite = np.isfinite(x)
    known = np.where(finite, x, 0.0)

    def real(i: int) -> Compare:
        return by_enclosure(lambda bits: _magnitude(abs(Fraction(float(known[i]))), bits))

    size = settle(np.tanh(np.abs(known)), 2.0**-48, real)
    return np.copysign(np.where(finite, size, np.where(np.isnan(x), x, 1.0)), x).astype(np.float64)


def _magnitude(x: Fraction, bits: int) -> Bounds:
    """Encloses tanh(x) = 1 - 2 / (e^(2x) + 1) for x >= 0."""
    low, high = exp(2 * x, bits)
    return 1 - 2 / (low + 1), 1 - 2 / (high + 1)
