# SPDX-License-Identifier: Apache-2.0
"""``encode`` and ``decode`` in C++. spec/e4m3.md"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _ext
from ...golden._args import choice, codes_array, float_array
from ...golden.e4m3 import OVERFLOW
from ._arrays import FLOAT8, Array, bits


def encode(x: Any, overflow: str = "saturate") -> Array:
    """E4M3 codes of ``x``, as :func:`fp8ref.encode`: one rounding from the given value to nearest, ties to even.

    Args:
        x: array-like of float64, float32, float16 or bfloat16, any shape.
        overflow: ``"saturate"`` or ``"nan"``.

    Returns:
        float8_e4m3fn array of the same shape.

    Raises:
        OpError: another dtype, or an unknown policy.

    Example:
        >>> import fp8ref
        >>> fp8ref.backend("cpu").encode([1.0, 500.0, -0.0]).view("uint8").tolist()
        [56, 126, 128]
    """
    choice("encode", "overflow", overflow, OVERFLOW)
    array = float_array("encode", "x", x)
    codes = np.empty(array.shape, FLOAT8)
    getattr(_ext, f"encode_{array.dtype.name}")(bits(array), overflow, bits(codes))
    return codes


def decode(codes: Any) -> NDArray[np.float32]:
    """The float32 values of E4M3 codes, as :func:`fp8ref.decode`.

    Args:
        codes: float8_e4m3fn or uint8 array of any shape.

    Returns:
        float32 array of the same shape; both NaN codes give the canonical NaN.

    Raises:
        OpError: ``codes`` is neither float8_e4m3fn nor uint8.

    Example:
        >>> import fp8ref, numpy as np
        >>> fp8ref.backend("cpu").decode(np.array([0x38, 0x7E, 0x81], np.uint8)).tolist()
        [1.0, 448.0, -0.001953125]
    """
    array = codes_array("decode", "codes", codes)
    values = np.empty(array.shape, np.float32)
    _ext.decode(bits(array), values)
    return values
