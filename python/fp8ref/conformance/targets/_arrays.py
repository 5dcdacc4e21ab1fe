# SPDX-License-Identifier: Apache-2.0
"""Which arrays a Python target takes: numpy's, torch's or cupy's; bits never change on the way. [TARGET-ARRAYS]"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from ...golden._foreign import TORCH, as_array

FLOAT8 = np.dtype(ml_dtypes.float8_e4m3fn)


class Arrays:
    """numpy arrays: codes in ml_dtypes.float8_e4m3fn, 16-bit numbers in ml_dtypes.bfloat16 and numpy.float16."""

    name = "numpy"

    def of(self, value: Any) -> Any:
        """An argument as the target wants it: arrays are copies, so that nothing it does to them counts."""
        if isinstance(value, np.ndarray | np.generic):
            array = np.array(value)
            return array.view(FLOAT8) if array.dtype == np.uint8 else array
        return dict(value) if isinstance(value, Mapping) else value

    def back(self, value: Any) -> Any:
        """A result as a numpy array, copied: a target may use its buffer again."""
        return np.array(as_array(value))

    def facts(self) -> dict[str, str]:
        """Versions, and the device."""
        return {"numpy": np.__version__}


class TorchArrays(Arrays):
    """torch tensors on a device."""

    def __init__(self, device: str) -> None:
        self.torch = importlib.import_module("torch")
        self.device = device
        self.name = f"torch:{device}"

    def of(self, value: Any) -> Any:
        """As :meth:`Arrays.of`."""
        plain = super().of(value)
        if not isinstance(plain, np.ndarray):
            return plain
        named = {dtype: (words, name) for name, (words, dtype) in TORCH.items()}
        words, name = named.get(plain.dtype, ("", plain.dtype.name))
        tensor = self.torch.from_numpy(plain.view(words) if words else plain)
        return tensor.view(getattr(self.torch, name)).to(self.device)

    def facts(self) -> dict[str, str]:
        """As :meth:`Arrays.facts`."""
        found = {"torch": str(self.torch.__version__)}
        if self.device.startswith("cuda"):
            found["device"] = str(self.torch.cuda.get_device_name(self.device))
        return found


def arrays_of(name: str) -> Arrays:
    """By name.

    Raises:
        ValueError: an unknown name.
    """
    library, _, device = name.partition(":")
    if library == "numpy" and not device:
        return Arrays()
    if library == "torch":
        return TorchArrays(device or "cpu")
    raise ValueError(f"unknown arrays {name!r}; known: numpy, torch, torch:DEVICE")
