# SPDX-License-Identifier: Apache-2.0
"""Arrays of other libraries as numpy arrays. Nothing is imported for it: who passes a tensor has its library."""

from __future__ import annotations

import sys
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

# torch types that numpy does not know: the integers of their width, and what they are here.
TORCH = {
    "bfloat16": ("int16", np.dtype(ml_dtypes.bfloat16)),
    "float8_e4m3fn": ("uint8", np.dtype(ml_dtypes.float8_e4m3fn)),
    "float8_e5m2": ("uint8", np.dtype(ml_dtypes.float8_e5m2)),
    "float8_e8m0fnu": ("uint8", np.dtype(ml_dtypes.float8_e8m0fnu)),
}


def as_array(x: Any) -> NDArray[Any]:
    """``numpy.asarray``, also of torch tensors in bfloat16 and FP8, from any device: bit for bit.

    Raises:
        TypeError, ValueError: as numpy's.

    Example:
        >>> as_array([1.0, 2.0]).tolist()
        [1.0, 2.0]
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor):
        return np.asarray(x)
    tensor = x.detach().cpu().contiguous()
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in TORCH:
        return np.asarray(tensor.numpy())
    words, dtype = TORCH[name]
    return np.asarray(tensor.view(getattr(torch, words)).numpy()).view(dtype)
