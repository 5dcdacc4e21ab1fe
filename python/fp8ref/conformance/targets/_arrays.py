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
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
E8M0 = np.dtype(ml_dtypes.float8_e8m0fnu)


class Arrays:
    """numpy arrays: codes in ml_dtypes.float8_e4m3fn, 16-bit numbers in ml_dtypes.bfloat16 and numpy.float16."""

    name = "numpy"

    def of(self, value: Any) -> Any:
        """An argument as the target wants it: arrays are copies, so that nothing it does to them counts."""
        if isinstance(value, np.ndarray | np.generic):
            array = np.array(value)
            return array.view(FLOAT8) if array.dtype == np.uint8 else array
        return dict(value) if isinstance(value, Mapping) else value

    def back(self, value: Any, output: str = "") -> Any:
        """A result as a numpy array, copied: a target may use its buffer again. ``output`` is its name."""
        del output
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


class CupyArrays(Arrays):
    """cupy arrays on the current device. What cupy has no type for are unsigned integers of its width: E4M3, and
    bfloat16 where this cupy lacks it. Of other types of 8 bits nothing would tell them apart: they are refused.
    """

    name = "cupy"

    def __init__(self) -> None:
        self.cupy = importlib.import_module("cupy")

    def of(self, value: Any) -> Any:
        """As :meth:`Arrays.of`.

        Raises:
            NotImplementedError: E5M2 or E8M0, which cupy cannot tell from E4M3.
        """
        plain = super().of(value)
        if not isinstance(plain, np.ndarray):
            return plain
        try:
            return self.cupy.asarray(plain)
        except (TypeError, ValueError):
            if plain.dtype.itemsize == 1 and plain.dtype != FLOAT8:
                raise NotImplementedError(f"cupy arrays of {plain.dtype.name}") from None
            return self.cupy.asarray(plain.view(f"u{plain.dtype.itemsize}"))

    def back(self, value: Any, output: str = "") -> Any:
        """As :meth:`Arrays.back`; no function has a result that is an unsigned integer."""
        plain = np.array(self.cupy.asnumpy(value) if isinstance(value, self.cupy.ndarray) else value)
        words = {"uint16": BFLOAT16, "uint8": E8M0 if output == "scale" else FLOAT8}
        return plain.view(words[plain.dtype.name]) if plain.dtype.name in words else plain

    def facts(self) -> dict[str, str]:
        """As :meth:`Arrays.facts`."""
        device = self.cupy.cuda.runtime.getDeviceProperties(self.cupy.cuda.runtime.getDevice())["name"]
        return {"cupy": str(self.cupy.__version__), "device": device.decode() if isinstance(device, bytes) else device}


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
    if library == "cupy" and not device:
        return CupyArrays()
    raise ValueError(f"unknown arrays {name!r}; known: numpy, torch, torch:DEVICE, cupy")
