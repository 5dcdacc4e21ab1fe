# SPDX-License-Identifier: Apache-2.0
"""Arrays as the extension takes them: C-contiguous, codes as uint8, bfloat16 and float16 as uint16 bit patterns."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT8 = np.dtype(ml_dtypes.float8_e4m3fn)
FLOAT8_E5M2 = np.dtype(ml_dtypes.float8_e5m2)
OUT_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": BFLOAT16, "float16": np.dtype(np.float16)}
BITS: dict[np.dtype[Any], np.dtype[Any]] = {
    BFLOAT16: np.dtype(np.uint16),
    np.dtype(np.float16): np.dtype(np.uint16),
    FLOAT8: np.dtype(np.uint8),
    FLOAT8_E5M2: np.dtype(np.uint8),
}


def bits(x: Array) -> Array:
    """The elements of ``x``, contiguous, in the type that the extension knows them by; a view where one will do."""
    contiguous = np.ascontiguousarray(x).reshape(x.shape)  # ascontiguousarray makes () into (1,)
    return contiguous.view(BITS.get(x.dtype, x.dtype))
