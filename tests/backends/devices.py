# SPDX-License-Identifier: Apache-2.0
"""Arguments in device memory, as two libraries have them. On the SIMT emulator, whose device memory is the host's, a
torch tensor of the host is taken for one of a device."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from everywhere import EMULATED
from fp8ref.golden._foreign import as_array


class Foreign:
    """An array of a library that fp8ref does not know, with ``__cuda_array_interface__``."""

    def __init__(self, x: np.ndarray) -> None:
        from fp8ref import _cuda

        self.shape, self.dtype = x.shape, x.dtype
        self.memory = _cuda.Memory("test", x.nbytes, 0)
        self.strides: tuple[int, ...] | None = None
        self.read_only = False
        _cuda.upload("test", self.memory.address, np.ascontiguousarray(x).reshape(-1).view(np.uint8), 0)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        data = (self.memory.address, self.read_only)
        return {"shape": self.shape, "typestr": self.dtype.str, "data": data, "version": 3, "strides": self.strides}


def downloaded(x: Any) -> np.ndarray:
    from fp8ref import _cuda

    host = np.empty(x.shape, x.dtype)
    _cuda.download("test", host.reshape(-1).view(np.uint8), x.memory.address, 0)
    return host


def _tensor(x: np.ndarray) -> Any:
    import torch

    words = torch.from_numpy(np.array(x).view(f"u{x.dtype.itemsize}" if x.dtype.itemsize < 4 else x.dtype))
    tensor = words.view(getattr(torch, x.dtype.name)) if x.dtype.itemsize < 4 else words
    return tensor if EMULATED else tensor.cuda()


class Torch:
    """torch tensors."""

    name = "torch"

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        torch = pytest.importorskip("torch")
        if EMULATED:
            libraries = sys.modules["fp8ref.backends.cuda._libraries"]
            patch.setattr(libraries, "_is_cuda", lambda tensor: True)
            patch.setattr(libraries, "_torch_stream", lambda device: 0)
        elif not torch.cuda.is_available():
            pytest.skip("this torch has no CUDA")

    def up(self, x: Any) -> Any:
        """Arrays and numpy scalars go to the device; other arguments stay as they are."""
        return _tensor(np.asarray(x)) if isinstance(x, (np.ndarray, np.generic)) else x

    def down(self, x: Any) -> np.ndarray:
        """A result on the host; it must be a tensor."""
        assert type(x).__module__.startswith("torch")
        return as_array(x)


class Interface:
    """Arrays with ``__cuda_array_interface__``."""

    name = "interface"

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        pass

    def up(self, x: Any) -> Any:
        """As for torch."""
        return Foreign(np.asarray(x)) if isinstance(x, (np.ndarray, np.generic)) else x

    def down(self, x: Any) -> np.ndarray:
        """A result on the host; it must be in device memory."""
        assert hasattr(x, "__cuda_array_interface__")
        return downloaded(x)


LIBRARIES = (Torch, Interface)
