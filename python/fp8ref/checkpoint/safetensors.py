# SPDX-License-Identifier: Apache-2.0
"""One safetensors file: a header that is checked completely before anything trusts it, and views of the mapped data.

The ``safetensors`` package copies tensors and has no numpy view of bfloat16 and E4M3, so reading is done here; writing
is that package's (:mod:`fp8ref.checkpoint.writer`).
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, UnsupportedError
from .strict_json import Section, damaged, parse_object, regular_file, show

MAX_HEADER = 100_000_000  # as the safetensors package has it
LIMIT = 2**63
ACCESS = {"scattered": mmap.MADV_RANDOM, "whole": mmap.MADV_NORMAL}

DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(dtype)
    for name, dtype in {
        "BOOL": np.bool_,
        "U8": np.uint8,
        "I8": np.int8,
        "F8_E5M2": ml_dtypes.float8_e5m2,
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E8M0": ml_dtypes.float8_e8m0fnu,
        "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
        "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
        "I16": np.int16,
        "U16": np.uint16,
        "F16": np.float16,
        "BF16": ml_dtypes.bfloat16,
        "I32": np.int32,
        "U32": np.uint32,
        "F32": np.float32,
        "I64": np.int64,
        "U64": np.uint64,
        "F64": np.float64,
        "C64": np.complex64,
    }.items()
}


@dataclass(frozen=True)
class Entry:
    """One tensor of the header: its format's dtype name, shape, and bytes ``begin`` to ``end`` of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.end - self.begin

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def _integers(value: Any, count: int | None) -> bool:
    """Whether a JSON value is a list of integers in [0, 2**63), ``count`` of them if given."""
    if not isinstance(value, list) or (count is not None and len(value) != count):
        return False
    return all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < LIMIT for item in value)


def _entry(path: Path, name: str, value: Any) -> Entry:
    """One tensor of the header, checked by itself. [CKPT-TENSOR]"""

    def wrong(message: str) -> CheckpointError:
        return damaged(path, f"tensor {show(name)}: {message}")

    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise wrong(f"the header must give dtype, shape and data_offsets, got {show(value)}")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str):
        raise wrong(f"dtype must be a string, got {show(dtype)}")
    if dtype not in DTYPES:
        raise UnsupportedError(f"{path}: tensor {show(name)}: dtype {show(dtype)} is unknown")
    if not _integers(shape, None):
        raise wrong(f"shape must be a list of integers in [0, 2**63), got {show(shape)}")
    if not _integers(offsets, 2) or offsets[0] > offsets[1]:
        raise wrong(f"data_offsets must be [begin, end] with begin <= end, got {show(offsets)}")
    size = math.prod(shape) * DTYPES[dtype].itemsize  # Python integers: cannot overflow
    if size >= LIMIT or size != offsets[1] - offsets[0]:
        raise wrong(
            f"shape {show(shape)} of {dtype} needs {size} bytes, data_offsets {show(offsets)} hold another number"
        )
    return Entry(name, dtype, tuple(shape), offsets[0], offsets[1])


def _check_coverage(path: Path, entries: list[Entry], data_size: int) -> None:
    """The tensors cover the data without overlap, hole or rest. [CKPT-OFFSETS]"""
    position = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.end > data_size:
            message = f"ends at byte {entry.end} of the data, but the file holds {data_size}: it is truncated"
            raise damaged(path, f"tensor {show(entry.name)}: {message}")
        if entry.begin != position:
            kind = "overlaps the tensor before it" if entry.begin < position else "leaves a hole before it"
            raise damaged(path, f"tensor {show(entry.name)}: {kind} (begins at {entry.begin}, expected {position})")
        position = entry.end
    if position != data_size:
        raise damaged(path, f"{data_size - position} bytes follow the last tensor")


class SafetensorsFile:
    """A mapped safetensors file.

    Attributes:
        path: the file.
        entries: its tensors by name, in the header's order.
        metadata: the header's ``__metadata__``.

    Raises:
        CheckpointError: the file is damaged in any way; no tensor is handed out then.
        UnsupportedError: a dtype that the format does not know.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        size = regular_file(path)
        if size < 8:
            raise damaged(path, f"has {size} bytes, less than the 8 of a safetensors header length: it is truncated")
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise damaged(path, f"cannot be mapped: {error}") from None
        length = int.from_bytes(self._map[:8], "little")
        if not 2 <= length <= MAX_HEADER:
            raise damaged(path, f"header length {length} is not between 2 and {MAX_HEADER}")
        if 8 + length > len(self._map):
            raise damaged(path, f"the header needs {length} bytes, but the file ends after {len(self._map) - 8}")
        self._data = 8 + length
        header = self._map[8 : self._data]
        if header[:1] != b"{":
            raise damaged(path, "the header does not begin with '{'")
        values = parse_object(header, path, "the header")
        metadata = Section(path, values).section("__metadata__")
        self.metadata = {key: metadata.string(key) for key in metadata.values}
        entries = [_entry(path, name, value) for name, value in values.items() if name != "__metadata__"]
        _check_coverage(path, entries, len(self._map) - self._data)
        self.entries = {entry.name: entry for entry in entries}

    def array(self, name: str) -> NDArray[Any]:
        """A read-only view of the mapping, nothing copied. [CKPT-MMAP]"""
        entry = self.entries[name]
        dtype, count = DTYPES[entry.dtype], entry.elements
        if count == 0:
            return np.empty(entry.shape, dtype)
        return np.frombuffer(self._map, dtype, count, self._data + entry.begin).reshape(entry.shape)

    def expect(self, access: str) -> None:
        """Say how it will be read: ``scattered`` is a little here and there, where reading ahead reads in vain."""
        self._map.madvise(ACCESS[access])

    def release(self) -> None:
        """Give back the pages that were read; they are read again when they are needed."""
        self._map.madvise(mmap.MADV_DONTNEED)
