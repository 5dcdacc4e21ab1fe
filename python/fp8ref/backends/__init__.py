# SPDX-License-Identifier: Apache-2.0
"""The same functions on every implementation: ``backend("cpu").linear`` has the signature of ``fp8ref.linear``."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..errors import BackendError, DeviceError
from ..table import ops

BACKENDS = {"golden": "fp8ref.golden", "cpu": "fp8ref.backends.cpu", "cuda": "fp8ref.backends.cuda"}
HOW = {"cpu": "pip install fp8ref builds it", "cuda": "a build with FP8REF_CUDA=ON has it"}


class Backend:
    """The functions of spec/ops.toml on one implementation, as attributes.

    Example:
        >>> import fp8ref
        >>> fp8ref.backend("golden").encode([1.0, 500.0]).view("uint8").tolist()
        [56, 126]
    """

    def __init__(self, name: str, package: str) -> None:
        self.name = name
        for op in ops():
            if name not in op.backends:
                continue
            module: ModuleType = importlib.import_module(f"{package}.{op.stem}")
            for function in op.functions:
                setattr(self, function, getattr(module, function))

    def __getattr__(self, attribute: str) -> Callable[..., Any]:
        raise AttributeError(f"backend {self.name!r} has no function {attribute!r}")

    def __repr__(self) -> str:
        return f"<fp8ref backend {self.name}>"


@functools.cache
def backend(name: str) -> Backend:
    """The backend of that name: ``golden`` (numpy, the specification), ``cpu`` (C++) or ``cuda``.

    Raises:
        BackendError: the name is unknown, or the compiled extension, the driver or the device is missing.

    Example:
        >>> import fp8ref
        >>> fp8ref.backend("golden").name
        'golden'
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}; known: {', '.join(BACKENDS)}")
    try:
        if name == "cuda":
            importlib.import_module(f"{BACKENDS[name]}._device").info()
        return Backend(name, BACKENDS[name])
    except ImportError as error:
        raise BackendError(f"backend {name!r} is not available: {error} ({HOW.get(name, '')})") from error
    except DeviceError as error:
        raise BackendError(f"backend {name!r} is not available: {error}") from error
