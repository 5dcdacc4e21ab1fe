# SPDX-License-Identifier: Apache-2.0
"""When two arrays are the same: by their bits, NaNs aside. [NAN-CANONICAL]"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def difference(expected: Array, got: Array) -> NDArray[np.bool_]:
    """True where two arrays of one shape and type differ in bits and are not both NaN."""
    kind = np.dtype(f"u{expected.dtype.itemsize}")
    different = np.ascontiguousarray(expected).view(kind) != np.ascontiguousarray(got).view(kind)
    if expected.dtype.kind not in "biu":
        with np.errstate(invalid="ignore"):  # ml_dtypes flags signalling NaNs
            different &= ~(np.isnan(expected) & np.isnan(got))
    return np.asarray(different).reshape(expected.shape)


def alike(expected: Array, got: Array) -> bool:
    """Whether two arrays agree in type, shape and bits."""
    if expected.shape != got.shape or expected.dtype != got.dtype:
        return False
    return not difference(expected, got).any()
