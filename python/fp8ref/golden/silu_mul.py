# SPDX-License-Identifier: Apache-2.0
"""The gate of SwiGLU: ``RNbf(RNbf(RN32(silu(g))) * u)``. See spec/silu_mul.md."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import BFLOAT16, bf16_pair
from ._bf16 import multiply, widen64
from ._decide import Bounds, Compare, by_enclosure, exp, settle
from ._round import Array, check_environment, round_to


def silu_mul(gate: Any, up: Any) -> Array:
    """silu(gate) * up, where silu(g) = g / (1 + exp(-g)). [SILU-MUL]

    Args:
        gate: bfloat16, any shape.
        up: bfloat16, the same shape; nothing is broadcast. [SILU-SHAPES]

    Returns:
        bfloat16, the same shape: RNbf(RNbf(RN32(silu(gate))) * up), special values by [SILU-SPECIAL].

    Raises:
        OpError: a dtype is not bfloat16, or the shapes differ.

    Source: transformers ``LlamaMLP.forward`` and vLLM ``silu_and_mul``, which round at the same three points; the
    value of each is here the correctly rounded one.

    Example:
        >>> import ml_dtypes, numpy as np, fp8ref
        >>> one = np.ones(1, ml_dtypes.bfloat16)
        >>> fp8ref.silu_mul(one, one).astype(float).tolist()  # silu(1) = 0.7310585...
        [0.73046875]
    """
    check_environment("silu_mul")
    gate, up = bf16_pair("silu_mul", "gate", gate, "up", up)
    return multiply(_table()[gate.view(np.uint16)], up)


@cache
def _table() -> NDArray[np.float64]:
    """RNbf(RN32(silu(g))) for every bfloat16 bit pattern of g: 65,536 values, computed at the first use."""
    patterns = np.arange(1 << 16, dtype=np.uint16).view(BFLOAT16)
    return widen64(round_to(silu(widen64(patterns)), "bfloat16"))


def silu(g: NDArray[np.float64]) -> NDArray[np.float32]:
    """RN32(g / (1 + exp(-g))) of bfloat16 values held in float64. [SILU-VALUE]

    float64 gives every value to 2**-49, ten times what libm and four operations lose. Below -709 its exp overflows, and
    the zero that results is right: there silu(g) lies between -2**-1000 and 0. silu(g) is irrational for g != 0, so no
    value is a midpoint; but 19 are so close to one that float64 cannot tell, since for a small g silu(g) is
    g/2 + g^2/4 - g^4/48 + ..., and g/2 + g^2/4 can be one.
    """
    finite = np.isfinite(g)
    x = np.where(finite, g, 0.0)

    def real(i: int) -> Compare:
        return by_enclosure(lambda bits: _magnitude(Fraction(float(x[i])), bits))

    with np.errstate(over="ignore"):
        size = np.abs(x) / (1.0 + np.exp(-x))
    value = np.copysign(settle(size, 2.0**-49, real), x)
    # +Inf stays; -Inf (which is -Inf * 0) and NaN give NaN. [SILU-SPECIAL]
    return np.where(finite, value, np.where(g == np.inf, np.inf, np.nan)).astype(np.float32)


def _magnitude(g: Fraction, bits: int) -> Bounds:
    """Encloses |silu(g)|."""
    low, high = exp(-g, bits)
    return abs(g) / (1 + high), abs(g) / (1 + low)
