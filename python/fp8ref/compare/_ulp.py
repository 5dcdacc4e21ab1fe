# SPDX-License-Identifier: Apache-2.0
"""Distances in units in the last place. [BOUND-ULP]"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..golden._args import describe, fail
from ..golden._foreign import as_array

OP = "compare.ulp"
DTYPES = {np.dtype(t) for t in (np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)}
NAN_DISTANCE = np.iinfo(np.int64).max


def _ordered(x: NDArray[Any]) -> NDArray[np.int64]:
    """The number of each value in the order of its format; both zeros are number 0."""
    bits = x.view(f"u{x.dtype.itemsize}").astype(np.int64)
    magnitude = bits & ((1 << 8 * x.dtype.itemsize - 1) - 1)
    return np.where(bits == magnitude, magnitude, -magnitude)


def ulp(actual: Any, expected: Any) -> NDArray[np.int64]:
    """How many numbers of the format lie between two arrays: 0 for equal values, 1 for neighbours.

    Args:
        actual: float32, float16, bfloat16 or float8_e4m3fn, any shape.
        expected: the same shape and dtype.

    Returns:
        int64 of that shape. +0 and -0 are 0 apart, a NaN is 0 from a NaN and 2**63 - 1 from everything else, and an
        infinity is the neighbour of the largest number.

    Raises:
        OpError: other dtypes, or shapes or dtypes that differ.

    Example:
        >>> import numpy as np
        >>> ulp(np.float32([1, -0.0, 2]), np.float32([1 + 2**-23, 0.0, np.nan])).tolist()
        [1, 0, 9223372036854775807]
    """
    left, right = as_array(actual), as_array(expected)
    if left.dtype not in DTYPES or (left.dtype, left.shape) != (right.dtype, right.shape):
        raise fail(OP, f"two arrays of one format and shape are needed, got {describe(left)} and {describe(right)}")
    distance = np.abs(_ordered(left) - _ordered(right))
    with np.errstate(invalid="ignore"):  # ml_dtypes flags signalling NaNs
        nan = np.isnan(left), np.isnan(right)
    return np.where(nan[0] & nan[1], 0, np.where(nan[0] | nan[1], NAN_DISTANCE, distance))
