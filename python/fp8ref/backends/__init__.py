# SPDX-License-Identifier: Apache-2.0
"""The same functions on every implementation: ``backend("cpu").linear`` has the signature of ``fp8ref.linear``."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..errors import BackendError
from ..table import ops

BACKENDS = {"golden": "fp8ref.golden", "cpu": "fp8ref.backends.cpu"}


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
    """The backend of that name: ``golden`` (numpy, the specification) or ``cpu`` (C++).

    Raises:
        BackendError: the name is unknown, or the compiled extension is not installed.

    Example:
        >>> import fp8ref
        >>> fp8ref.backend("golden").name
        'golden'
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}; known: {', '.join(BACKENDS)}")
    try:
        return Backend(name, BACKENDS[name])
    except ImportError as error:
        raise BackendError(f"backend {name!r} is not available: {error} (pip install fp8ref builds it)") from error
