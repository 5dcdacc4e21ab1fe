# SPDX-License-Identifier: Apache-2.0
"""Without the extension, a driver or a device: importing works, and backend("cuda") says what is missing."""

from __future__ import annotations

import sys
import types

import pytest

import fp8ref
import fp8ref.backends.cuda
from fp8ref.backends import BACKENDS, backend
from fp8ref.errors import BackendError, DeviceError


@pytest.fixture
def fresh(monkeypatch):
    """Nothing of the cuda backend is loaded, and what is loaded here is forgotten."""
    for module in [name for name in sys.modules if name.startswith(BACKENDS["cuda"] + ".")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr(fp8ref, "_cuda", raising=False)
    backend.cache_clear()
    yield monkeypatch
    for module in [name for name in sys.modules if name.startswith(BACKENDS["cuda"] + ".")]:
        del sys.modules[module]
    backend.cache_clear()


def test_no_extension(fresh):
    fresh.setitem(sys.modules, "fp8ref._cuda", None)
    with pytest.raises(BackendError, match=r"backend 'cuda' is not available: .*_cuda.* FP8REF_CUDA=ON has it\)"):
        fp8ref.backend("cuda")


def test_no_driver(fresh):
    def no_driver():
        raise DeviceError("device: no CUDA driver")

    stub = types.ModuleType("fp8ref._cuda")
    stub.device_info = no_driver
    fresh.setitem(sys.modules, "fp8ref._cuda", stub)
    fresh.setattr(fp8ref, "_cuda", stub, raising=False)
    with pytest.raises(BackendError, match="backend 'cuda' is not available: device: no CUDA driver"):
        fp8ref.backend("cuda")
