# SPDX-License-Identifier: Apache-2.0
"""A checkpoint folder: config.json, and one safetensors file or an index with shards. [CKPT-FOLDER], [CKPT-INDEX]"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .safetensors import Entry, SafetensorsFile
from .strict_json import Section, damaged, read_object, show

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def _plain_name(index: Path, tensor: str, value: Any) -> str:
    """A shard's file name, which must not lead out of the folder."""
    if not isinstance(value, str) or value in ("", ".", "..") or any(c in value for c in "/\\\0"):
        raise damaged(index, f"weight_map of tensor {show(tensor)} must be a plain file name, got {show(value)}")
    return value


def _shards(folder: Path) -> dict[str, SafetensorsFile]:
    """The mapped file of each tensor, through the index; index and shards must agree. [CKPT-INDEX]"""
    index = folder / INDEX
    root = read_object(index)
    weight_map = root.section("weight_map").values
    if not weight_map:
        raise damaged(index, "weight_map is missing or empty")
    names = {tensor: _plain_name(index, tensor, file) for tensor, file in weight_map.items()}
    shards = {file: SafetensorsFile(folder / file) for file in sorted(set(names.values()))}
    for tensor, file in names.items():
        if tensor not in shards[file].entries:
            raise damaged(folder / file, f"tensor {show(tensor)} is missing; {INDEX} says that it is here")
    for file, shard in shards.items():
        for tensor in shard.entries:
            if names.get(tensor) != file:
                raise damaged(shard.path, f"tensor {show(tensor)} is here, but {INDEX} does not say so")
    return {tensor: shards[file] for tensor, file in names.items()}


class Checkpoint:
    """An opened folder: the config's JSON, and every tensor as a view of a mapped file.

    Args:
        path: the folder.

    Attributes:
        path: the folder.
        config: config.json.
        generation_config: generation_config.json; empty if absent.
        files: the safetensors files.

    Raises:
        CheckpointError: the folder or a file of it is damaged; the message names the file and the tensor or key.
        UnsupportedError: a tensor has a dtype that the format does not know.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise damaged(self.path, "is not a folder")
        self.config = read_object(self.path / CONFIG)
        generation = self.path / GENERATION_CONFIG
        self.generation_config = read_object(generation) if generation.exists() else Section(generation, {})
        if (self.path / SINGLE).exists():
            single = SafetensorsFile(self.path / SINGLE)
            self._file = dict.fromkeys(single.entries, single)
        elif (self.path / INDEX).exists():
            self._file = _shards(self.path)
        else:
            raise damaged(self.path, f"holds neither {SINGLE} nor {INDEX}")
        self.files = tuple({file.path: file for file in self._file.values()}.values())

    def __contains__(self, name: str) -> bool:
        return name in self._file

    @property
    def names(self) -> tuple[str, ...]:
        """All tensor names."""
        return tuple(self._file)

    def file_of(self, name: str) -> Path:
        """The file that holds a tensor, or would hold it if it were there."""
        return self._file[name].path if name in self._file else self.path

    def entry(self, name: str) -> Entry:
        """dtype, shape and place of a tensor.

        Raises:
            CheckpointError: there is no such tensor.
        """
        if name not in self._file:
            raise damaged(self.path, f"tensor {show(name)} is missing")
        return self._file[name].entries[name]

    def array(self, name: str) -> NDArray[Any]:
        """A tensor as a read-only view of its mapped file.

        Raises:
            CheckpointError: there is no such tensor.
        """
        self.entry(name)
        return self._file[name].array(name)

    def expect(self, access: str) -> None:
        """Say how tensors will be read from now on: ``whole``, or ``scattered``, a few bytes of many."""
        for file in self.files:
            file.expect(access)

    def release(self) -> None:
        """Give back the memory of what was read; arrays stay valid, and read it again."""
        for file in self.files:
            file.release()
