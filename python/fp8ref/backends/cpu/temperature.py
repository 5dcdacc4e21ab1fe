# SPDX-License-Identifier: Apache-2.0
"""``temperature_factors`` and ``temperature`` in C++. spec/temperature.md"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _ext
from ...golden._args import position_array, temperature_arrays, temperature_scales
from ._arrays import BFLOAT16, Array, bits


def temperature_factors(positions: Any, floor_scale: float, attn_scale: float) -> NDArray[np.float32]:
    """The factor of the queries at each position, as :func:`fp8ref.temperature_factors`.

    Args:
        positions: integers in [0, 2**24), shape (T,).
        floor_scale: a number whose rounding to float32 is positive and finite.
        attn_scale: the same.

    Returns:
        float32, shape (T,).

    Raises:
        OpError: positions that are no such integers, or another number that is not positive and finite.

    Example:
        >>> import fp8ref
        >>> fp8ref.backend("cpu").temperature_factors([0, 8191], 8192, 0.1).tolist()
        [1.0, 1.06931471824646]
    """
    index = position_array("temperature_factors", positions)
    floor, scale = temperature_scales(floor_scale, attn_scale)
    factors = np.empty(index.shape, np.float32)
    _ext.temperature_factors(bits(index), floor, scale, factors)
    return factors


def temperature(x: Any, factors: Any) -> Array:
    """Queries times the factors of their tokens, as :func:`fp8ref.temperature`.

    Args:
        x: bfloat16, shape (T, heads, d).
        factors: float32, shape (T,), from :func:`temperature_factors`.

    Returns:
        bfloat16, the shape of x.

    Raises:
        OpError: a wrong dtype or shape.

    Example:
        >>> import fp8ref, numpy as np, ml_dtypes
        >>> x = np.ones((1, 1, 2), ml_dtypes.bfloat16)
        >>> fp8ref.backend("cpu").temperature(x, np.float32([1.5])).astype(float).tolist()
        [[[1.5, 1.5]]]
    """
    array, values = temperature_arrays(x, factors)
    out = np.empty(array.shape, BFLOAT16)
    _ext.temperature(bits(array), bits(values), bits(out))
    return out
