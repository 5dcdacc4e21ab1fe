# SPDX-License-Identifier: Apache-2.0
"""Arguments as strangers get them: texts, numbers and tensors under names, nothing else. [PIPE-ARGUMENTS]"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from ..claim import defaults
from ..outcome import Array

FLOAT8 = np.dtype(ml_dtypes.float8_e4m3fn)
# The types that are exchanged, by the names that are exchanged. [PIPE-BITS]
TYPES: dict[str, np.dtype[Any]] = {
    np.dtype(kind).name: np.dtype(kind)
    for kind in (
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e8m0fnu,
        ml_dtypes.bfloat16,
        np.float16,
        np.float32,
        np.float64,
        np.int32,
        np.int64,
    )
}


@dataclass(frozen=True)
class Plain:
    """The arguments of one call."""

    function: str
    values: Mapping[str, str | int | float]
    tensors: Mapping[str, Array]

    def digest(self) -> str:
        """SHA-256 of all that goes in. [VECTORS-MANIFEST]"""
        values = {name: portable(value) for name, value in self.values.items()}
        found = hashlib.sha256(json.dumps([self.function, values], sort_keys=True, separators=(",", ":")).encode())
        for name, tensor in sorted(self.tensors.items()):
            found.update(f"\n{name} {tensor.dtype.name} {','.join(map(str, tensor.shape))}\n".encode())
            found.update(tensor.tobytes())
        return found.hexdigest()


def plain(function: str, arguments: Mapping[str, Any]) -> Plain:
    """The arguments of a golden function with its defaults filled in and what is None left out.

    Example:
        >>> plain("rmsnorm", {"x": np.zeros((1, 2), np.float32), "eps": 1e-5, "weight": None}).values
        {'eps': 1e-05}
    """
    values: dict[str, str | int | float] = {}
    tensors: dict[str, Array] = {}
    for name, value in _flat({key: arguments.get(key, default) for key, default in defaults(function).items()}):
        if isinstance(value, np.ndarray | np.generic):
            tensors[name] = _dense(np.asarray(value))
        else:
            values[name] = value
    return Plain(function, values, tensors)


def _flat(arguments: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


def _dense(array: Array) -> Array:
    """In row-major order without gaps; codes under their own name. np.ascontiguousarray would give () a dimension."""
    dense = np.asarray(array, order="C")
    return dense.view(FLOAT8) if dense.dtype == np.uint8 else dense


def portable(value: str | int | float) -> str | int | float:
    """As JSON and the lines of the pipe have it: what is no finite number is a text."""
    return value if not isinstance(value, float) or math.isfinite(value) else repr(value)
