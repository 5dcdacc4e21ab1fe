# SPDX-License-Identifier: Apache-2.0
"""The attention temperature of Llama 4: queries that grow with the logarithm of their position. spec/temperature.md"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import position_array, temperature_arrays, temperature_scales
from ._decide import Bounds, Compare, by_enclosure, ln, settle
from ._round import Array, check_environment, round_to, widen

Float32 = NDArray[np.float32]


def temperature_factors(positions: Any, floor_scale: float, attn_scale: float) -> Float32:
    """The factor of the queries at each position. [TEMPERATURE-FACTOR]

    Args:
        positions: integers in [0, 2**24), shape (T,).
        floor_scale, attn_scale: numbers whose rounding to float32 is positive and finite.

    Returns:
        float32, shape (T,): RN32(RN32(RN32(log1p(floor(RN32((position + 1) / floor_scale)))) * attn_scale) + 1).

    Raises:
        OpError: positions that are no such integers, or another number that is not positive and finite.

    Source: transformers ``Llama4TextAttention.forward``; the logarithm is correctly rounded here.

    Example:
        >>> import fp8ref
        >>> fp8ref.temperature_factors([0, 8191], 8192, 0.1).tolist()
        [1.0, 1.06931471824646]
    """
    check_environment("temperature_factors")
    index = position_array("temperature_factors", positions)
    floor, scale = (np.float32(number) for number in temperature_scales(floor_scale, attn_scale))
    with np.errstate(over="ignore", under="ignore"):
        steps = np.floor((index + 1).astype(np.float32) / floor)
        return np.asarray(log1p(steps) * scale + np.float32(1.0))


def log1p(n: Float32) -> Float32:
    """RN32 of ln(1 + n) for whole numbers n >= 0; infinity stays. It is irrational for n > 0, so never a midpoint."""
    known = np.where(np.isfinite(n), n, 0.0).astype(np.float64)

    def real(i: int) -> Compare:
        return by_enclosure(lambda bits: _logarithm(1 + Fraction(float(known[i])), bits))

    # 16 units of slack for numpy's logarithm.
    return np.where(np.isfinite(n), settle(np.log1p(known), 2.0**-48, real), n)


def _logarithm(x: Fraction, bits: int) -> Bounds:
    """Encloses ln(x) for x > 1, by the logarithms of two and of x / 2^e in (1, 2]."""
    e = 0
    while x > 2:
        x, e = x / 2, e + 1
    (low, high), (low2, high2) = ln(x, bits + 32), ln(Fraction(2), bits + 32)
    return low + e * low2, high + e * high2


def temperature(x: Any, factors: Any) -> Array:
    """Queries times the factors of their tokens. [TEMPERATURE-PRODUCT]

    Args:
        x: bfloat16, shape (T, heads, d).
        factors: float32, shape (T,), from :func:`temperature_factors`.

    Returns:
        bfloat16, the shape of x: RNbf(RN32(x * factor)).

    Raises:
        OpError: a wrong dtype or shape.

    Source: transformers ``Llama4TextAttention.forward``.

    Example:
        >>> import ml_dtypes, numpy as np, fp8ref
        >>> fp8ref.temperature(np.ones((1, 1, 2), ml_dtypes.bfloat16), np.float32([1.5])).astype(float).tolist()
        [[[1.5, 1.5]]]
    """
    check_environment("temperature")
    array, values = temperature_arrays(x, factors)
    with np.errstate(all="ignore"):
        return round_to(widen(array) * values[:, None, None], "bfloat16")
