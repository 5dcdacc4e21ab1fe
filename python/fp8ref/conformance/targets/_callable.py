# SPDX-License-Identifier: Apache-2.0
"""Python functions as targets: ``pkg.mod:function``, a class or a whole module. [TARGET-PYTHON]"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...table import ops
from ..claim import defaults
from ..outcome import Outcome
from ._arrays import arrays_of
from ._target import OUTPUTS, Target, TargetError

Function = Callable[..., Any]
DECLARATION = "fp8ref_arrays"  # attribute of a function, class or module: which arrays it takes


class CallableTarget(Target):
    """Functions with the signatures and defaults of the golden ones.

    Required arguments are passed by position, others by name and only where they differ from the default. A function
    that has no such argument does not support the case, and neither does one that raises NotImplementedError. Any
    other exception is an outcome that fails.

    Example:
        >>> import fp8ref
        >>> target = CallableTarget({"encode": fp8ref.encode})
        >>> target.call("encode", {"x": np.float32([1.0, 500.0])}).arrays["codes"].view(np.uint8).tolist()
        [56, 126]
    """

    def __init__(
        self, functions: Mapping[str, Function], arrays: str = "numpy", name: str = "", owner: ModuleType | None = None
    ) -> None:
        self._functions = dict(functions)
        self._takes = {key: _takes(function) for key, function in functions.items()}
        self._arrays = arrays_of(arrays)
        self._owner = owner
        self.name = name or ", ".join(self._functions)

    @staticmethod
    def load(path: str, arrays: str = "", functions: tuple[str, ...] = ()) -> CallableTarget:
        """Import ``pkg.mod:attribute``, or ``pkg.mod`` for all functions of a module; the working directory counts.

        Args:
            path: where it is. ``attribute`` may have dots.
            arrays: ``numpy``, ``torch``, ``torch:cuda``, ``cupy``; by default what the attribute ``fp8ref_arrays`` of
                the function, or of its module, says; else numpy.
            functions: the functions to be checked; a single function whose name is none of them is taken for the first.

        Raises:
            TargetError: it cannot be imported or is no function, class or module.
        """
        module, found = _imported(path)
        declared = arrays or getattr(found, DECLARATION, "") or getattr(module, DECLARATION, "") or "numpy"
        try:
            return CallableTarget(_named(found, functions), declared, path, module)
        except (ValueError, ImportError) as error:
            raise TargetError(f"target {path}: {error}") from error

    def functions(self) -> tuple[str, ...]:
        """As :meth:`Target.functions`."""
        return tuple(self._functions)

    def call(self, function: str, arguments: Mapping[str, Any], implied: frozenset[str] = frozenset()) -> Outcome:
        """As :meth:`Target.call`."""
        try:
            return self._call(function, arguments, implied)
        except NotImplementedError as error:  # arrays that this library lacks
            return Outcome(unsupported=str(error))

    def _call(self, function: str, arguments: Mapping[str, Any], implied: frozenset[str]) -> Outcome:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for name, default in defaults(function).items():
            if default is inspect.Parameter.empty and name not in implied:
                positional.append(self._arrays.of(arguments[name]))
            elif name in arguments and not _same(arguments[name], default):
                if name in self._takes[function] or "*" in self._takes[function]:
                    named[name] = self._arrays.of(arguments[name])
                elif name not in implied:
                    return Outcome(unsupported=f"takes no argument {name!r}")
        try:
            result = self._functions[function](*positional, **named)
            outputs = result if isinstance(result, tuple | list) else (result,)
            names = (*OUTPUTS[function], *(f"output {i}" for i in range(len(OUTPUTS[function]), len(outputs))))
            arrays = [self._arrays.back(output, name) for output, name in zip(outputs, names, strict=False)]
        except NotImplementedError as error:
            return Outcome(unsupported=str(error) or "NotImplementedError")
        except Exception as error:  # whatever a stranger's code raises is an outcome
            return Outcome(error=type(error).__name__, message=str(error).split("\n")[0])
        return Outcome(dict(zip(names, arrays, strict=False)))

    def set_threads(self, threads: int) -> str:
        """As :meth:`Target.set_threads`: by the module's function of that name."""
        setter = getattr(self._owner, "set_threads", None)
        if setter is None:
            return "the module has no set_threads"
        setter(threads)
        return ""

    def facts(self) -> dict[str, str]:
        """As :meth:`Target.facts`."""
        found = {"arrays": self._arrays.name, **self._arrays.facts()}
        package = sys.modules.get(self._owner.__name__.split(".")[0]) if self._owner else None
        version = getattr(package, "__version__", "")
        return {**found, **({"version": str(version)} if version else {})}


def _takes(function: Function) -> frozenset[str]:
    """The names of the arguments; ``*`` where any name is taken."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a compiled function
        return frozenset("*")
    return frozenset("*" if p.kind is p.VAR_KEYWORD else p.name for p in parameters)


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic | Mapping) or value is None or default is None:
        return value is default
    return bool(value == default)


def _imported(path: str) -> tuple[ModuleType, Any]:
    module_name, _, attribute = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
        found: Any = module
        for part in filter(None, attribute.split(".")):
            found = getattr(found, part)
    except Exception as error:  # a stranger's module may raise anything
        raise TargetError(f"target {path}: {type(error).__name__}: {error}") from error
    return module, found


def _named(found: Any, functions: tuple[str, ...]) -> dict[str, Function]:
    """The functions of spec/ops.toml that an object has, by their names."""
    if isinstance(found, type):
        found = found()
    if isinstance(found, ModuleType) or not callable(found):
        return {name: getattr(found, name) for name in OUTPUTS if callable(getattr(found, name, None))}
    name = getattr(found, "__name__", "")
    if name in OUTPUTS and (not functions or name in functions):
        return {name: found}
    if not functions:
        raise TargetError(f"{name or found!r} is the name of no operation: say which one it is to be checked as")
    return {functions[0]: found}


def functions_of(selected: tuple[str, ...]) -> tuple[str, ...]:
    """The functions that names of ops or of functions mean; the one named as its op first."""
    found: list[str] = []
    for op in ops():
        if op.stem in selected:
            found += sorted(op.functions, key=lambda name: name != op.stem)
        found += [name for name in op.functions if name in selected and name not in found]
    return tuple(found)
