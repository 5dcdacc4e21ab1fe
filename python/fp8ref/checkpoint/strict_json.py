# SPDX-License-Identifier: Apache-2.0
"""JSON that is not trusted: a strict parser, and typed look-ups whose errors name the file and the key. [CKPT-JSON]"""

from __future__ import annotations

import json
import math
import stat
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError

MAX_BYTES = 100_000_000
MAX_DEPTH = 64


def damaged(file: str | Path, message: str) -> CheckpointError:
    """The error to raise: file name first."""
    return CheckpointError(f"{file}: {message}")


def show(value: Any) -> str:
    """A value for an error message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {show(twice)} appears twice")
    return out


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _is_float64(number: float) -> bool:
    """Whether a number of a JSON text rounds to a finite float64."""
    try:
        return math.isfinite(float(number))
    except OverflowError:
        return False


def _check_values(value: Any) -> None:
    """Depth, strings and numbers: none may surprise the code that walks or prints them later."""
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH and isinstance(item, dict | list):
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
        if isinstance(item, str):
            item.encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, a ValueError
        elif isinstance(item, int | float):
            if not _is_float64(item):
                raise ValueError("a number is beyond float64")
        elif isinstance(item, dict):
            stack.extend((key, depth) for key in item)
            stack.extend((child, depth + 1) for child in item.values())
        elif isinstance(item, list):
            stack.extend((child, depth + 1) for child in item)


def parse_object(data: bytes, file: str | Path, what: str) -> dict[str, Any]:
    """A JSON object out of bytes; ``what`` says in the error which part of the file it is."""
    try:
        value = json.loads(
            data.decode("utf-8", "strict"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant
        )
        _check_values(value)
    except RecursionError:
        raise damaged(file, f"{what} is nested too deep") from None
    except ValueError as error:  # JSONDecodeError, Unicode errors, and integers beyond Python's digit limit
        raise damaged(file, f"{what} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise damaged(file, f"{what} must be a JSON object, got {show(value)}")
    return value


def regular_file(path: Path) -> int:
    """The size of a regular file. A pipe or a device would block or never end, so it is refused. [CKPT-FOLDER]"""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise damaged(path, f"cannot be read: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise damaged(path, "is not a regular file")
    return status.st_size


def read_object(path: Path) -> Section:
    """A JSON file that holds an object."""
    if regular_file(path) > MAX_BYTES:
        raise damaged(path, f"is larger than {MAX_BYTES} bytes")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise damaged(path, f"cannot be read: {error}") from None
    return Section(path, parse_object(data, path, "the file"))


class Section:
    """An object of a JSON file, read key by key; ``null`` counts as absent. [CKPT-VALUES]

    Example:
        >>> config = Section("config.json", {"vocab_size": 32, "rope": {"theta": 1e4}})
        >>> config.integer("vocab_size", low=1), config.section("rope").number("theta")
        (32, 10000.0)
    """

    def __init__(self, file: str | Path, values: dict[str, Any], prefix: str = "") -> None:
        self.file = file
        self.values = values
        self.prefix = prefix

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.values.get(key) is not None

    def path(self, key: str) -> str:
        """The key with all keys above it: ``quantization_config.format``."""
        return f"{self.prefix}{key}"

    def wrong(self, key: str, expected: str) -> CheckpointError:
        """The error for a value that is not what the key needs."""
        if key not in self.values:
            return damaged(self.file, f"key {self.path(key)} is missing; expected {expected}")
        return damaged(self.file, f"key {self.path(key)} must be {expected}, got {show(self.values[key])}")

    def integer(self, key: str, default: int | None = None, low: int = 0, high: int = 2**31 - 1) -> int:
        """An integer in [low, high]; a default of None makes the key required."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(key, f"an integer from {low} to {high}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300 or math.isnan(value):
            raise self.wrong(key, "a finite number")
        return float(value)

    def positive(self, key: str, default: float | None = None) -> float:
        """A number that is positive and finite in float32, as the operations round it."""
        value = self.number(key, default)
        with np.errstate(over="ignore", under="ignore"):
            rounded = np.float32(value)
        if not 0 < rounded < np.inf:
            raise self.wrong(key, "a number that is positive and finite in float32")
        return value

    def boolean(self, key: str) -> bool:
        """True or false; absent is false."""
        value = self.values.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def string(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings; absent is empty."""
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of strings")
        return tuple(value)

    def integers(self, key: str, high: int) -> tuple[int, ...]:
        """A list of integers in [0, high); absent is empty."""
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(type(item) is int and 0 <= item < high for item in value):
            raise self.wrong(key, f"a list of integers from 0 to {high - 1}")
        return tuple(value)

    def section(self, key: str) -> Section:
        """An object under the key; absent is empty."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Section(self.file, value or {}, f"{self.path(key)}.")
