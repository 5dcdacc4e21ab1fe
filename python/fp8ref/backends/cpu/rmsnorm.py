# SPDX-License-Identifier: Apache-2.0
"""``rmsnorm`` in C++. spec/rmsnorm.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _ext
from ...golden._args import positive, rmsnorm_arrays
from ._arrays import BFLOAT16, Array, bits


def rmsnorm(x: Any, weight: Any, eps: float) -> Array:
    """x / sqrt(mean(x^2) + eps) * weight along the last dimension, as :func:`fp8ref.rmsnorm`.

    Args:
        x: bfloat16, shape (..., K) with 1 <= K <= 2**24.
        weight: bfloat16, shape (K,); None leaves the last multiplication out.
        eps: a number whose rounding to float32 is positive and finite.

    Returns:
        bfloat16, the shape of x.

    Raises:
        OpError: a wrong dtype, shape or eps.

    Example:
        >>> import fp8ref, numpy as np, ml_dtypes
        >>> x = np.array([[3.0, 4.0]], ml_dtypes.bfloat16)
        >>> fp8ref.backend("cpu").rmsnorm(x, None, 1e-5).astype(float).tolist()
        [[0.84765625, 1.1328125]]
    """
    array, factors = rmsnorm_arrays(x, weight)
    small = positive("rmsnorm", "eps", eps, "float32")
    out = np.empty(array.shape, BFLOAT16)
    rows = array.reshape(-1, array.shape[-1])
    _ext.rmsnorm(bits(rows), None if factors is None else bits(factors), small, bits(out))
    return out
