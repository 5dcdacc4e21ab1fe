# SPDX-License-Identifier: Apache-2.0
"""Take a sound tiny checkpoint apart, change one thing, and write it back: the corpus of the hostile tests."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model.tiny import write_tiny

CONFIG = "config.json"
SINGLE = "model.safetensors"
Q = "model.layers.0.self_attn.q_proj"
NORM = "model.norm.weight"

Header = dict[str, Any]


def split(folder: Path, name: str = SINGLE) -> tuple[Header, bytes]:
    """Header and data of a safetensors file."""
    raw = (folder / name).read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:end]), raw[end:]


def joined(header: Header | bytes, data: bytes) -> bytes:
    """A safetensors file of a header (text or object) and data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@functools.cache
def _sound(scheme: str, changes: str) -> tuple[bytes, str]:
    """The files of a tiny checkpoint: quantizing takes longer than most tests."""
    with tempfile.TemporaryDirectory() as parent:
        folder = write_tiny(Path(parent) / "model", scheme, **json.loads(changes))
        return (folder / SINGLE).read_bytes(), (folder / CONFIG).read_text()


class Damaged:
    """A tiny checkpoint to be changed, made with the arguments of ``write_tiny``.

    ``header`` and ``data`` are those of its safetensors file; ``config`` is config.json. ``save`` writes them.
    """

    def __init__(self, folder: Path, scheme: str = "channel_token", **changes: Any) -> None:
        self.folder = folder
        file, config = _sound(scheme, json.dumps(changes))
        folder.mkdir(parents=True)
        self.file.write_bytes(file)
        (folder / CONFIG).write_text(config)
        self.header, self.data = split(folder)
        self.config: dict[str, Any] = json.loads(config)

    @property
    def text(self) -> dict[str, Any]:
        """The keys of the text model."""
        nested: dict[str, Any] = self.config.get("text_config", self.config)
        return nested

    @property
    def method(self) -> dict[str, Any]:
        """The quantization config."""
        values: dict[str, Any] = self.config["quantization_config"]
        return values

    @property
    def file(self) -> Path:
        return self.folder / SINGLE

    def save(self) -> Path:
        self.file.write_bytes(joined(self.header, self.data))
        return self.save_config()

    def save_config(self) -> Path:
        (self.folder / CONFIG).write_text(json.dumps(self.config))
        return self.folder

    def bytes_of(self, name: str) -> bytes:
        begin, end = self.header[name]["data_offsets"]
        return self.data[begin:end]

    def put(self, name: str, dtype: str, shape: list[int], payload: bytes) -> None:
        """Replace a tensor, or add one: the data is laid out anew."""
        tensors = {key: (row["dtype"], row["shape"], self.bytes_of(key)) for key, row in self._rows()}
        self._lay_out(tensors | {name: (dtype, shape, payload)})

    def drop(self, name: str) -> None:
        """Remove a tensor with its data."""
        assert name in self.header
        self._lay_out({k: (row["dtype"], row["shape"], self.bytes_of(k)) for k, row in self._rows() if k != name})

    def rename(self, name: str, other: str) -> None:
        """Give a tensor another name."""
        self.header[other] = self.header.pop(name)

    def fill(self, name: str, payload: bytes) -> None:
        """Overwrite the first bytes of a tensor."""
        begin = self.header[name]["data_offsets"][0]
        self.data = self.data[:begin] + payload + self.data[begin + len(payload) :]

    def _rows(self) -> list[tuple[str, Any]]:
        return [(key, row) for key, row in self.header.items() if key != "__metadata__"]

    def _lay_out(self, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
        self.header, self.data = {}, b""
        for key, (dtype, shape, payload) in tensors.items():
            offsets = [len(self.data), len(self.data) + len(payload)]
            self.header[key] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
            self.data += payload


def shard(folder: Path, change: Callable[[dict[str, str]], None] = lambda weight_map: None) -> Path:
    """Split the single file into two shards with an index; ``change`` edits the index."""
    header, data = split(folder)
    (folder / SINGLE).unlink()
    names = [name for name in header if name != "__metadata__"]
    weight_map: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file, rows, payload = f"model-{number:05}-of-00002.safetensors", {}, b""
        for name in part:
            begin, end = header[name]["data_offsets"]
            rows[name] = header[name] | {"data_offsets": [len(payload), len(payload) + end - begin]}
            payload += data[begin:end]
            weight_map[name] = file
        (folder / file).write_bytes(joined(rows, payload))
    change(weight_map)
    index = {"metadata": {"total_size": len(data)}, "weight_map": weight_map}
    (folder / f"{SINGLE}.index.json").write_text(json.dumps(index))
    return folder
