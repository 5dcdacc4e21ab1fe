# SPDX-License-Identifier: Apache-2.0
"""The same bits as numpy arrays and as torch tensors, and the inputs that every library is given."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

torch = pytest.importorskip("torch")

BF16, E4M3 = np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.float8_e4m3fn)
DTYPES = (BF16, np.dtype(np.float16), np.dtype(np.float32))


def tensor(x: np.ndarray) -> Any:
    """The torch tensor with the bits of an array."""
    integers = torch.from_numpy(np.ascontiguousarray(x).view(f"i{x.dtype.itemsize}"))
    return integers.view(getattr(torch, x.dtype.name))


def array(t: Any) -> np.ndarray:
    """The array with the bits of a float8_e4m3fn or float32 tensor."""
    t = t.detach().contiguous()
    return t.view(torch.uint8).numpy().view(E4M3) if t.dtype is torch.float8_e4m3fn else t.numpy()


def ordinary(dtype: np.dtype, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Normal numbers, each row of another size; some rows have zeros, -0 and numbers that underflow."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns)) * 10.0 ** rng.uniform(-4, 2, (rows, 1))
    x[0], x[1], x[2, ::3] = 0.0, -0.0, -0.0
    x[3] *= 1e-6
    x[4] = np.linspace(1, 2, columns)
    return x.astype(np.float32).astype(dtype)


def special(dtype: np.dtype, rows: int, columns: int) -> np.ndarray:
    """The same with NaNs and infinities of both signs in some of the rows."""
    x = ordinary(dtype, rows, columns, seed=1)
    x[5, 3], x[6, 5], x[7, 7] = np.nan, np.inf, -np.inf
    x[8, :3] = np.nan, np.inf, -np.inf
    return x


INPUTS = [(make, dtype) for make in (ordinary, special) for dtype in DTYPES]
NAMES = [f"{make.__name__}-{dtype}" for make, dtype in INPUTS]
