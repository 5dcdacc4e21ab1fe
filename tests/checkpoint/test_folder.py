# SPDX-License-Identifier: Apache-2.0
"""Folders, indexes and shards. [CKPT-FOLDER], [CKPT-INDEX], [CKPT-JSON]"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoint.damage import NORM, SINGLE, Damaged, joined, shard, split
from fp8ref.checkpoint import Checkpoint

Refuses = Callable[..., None]
FIRST = "model-00001-of-00002.safetensors"
INDEX = f"{SINGLE}.index.json"


def test_not_a_folder(refuses: Refuses, tmp_path: Path) -> None:
    refuses(tmp_path / "nowhere", "nowhere")
    (tmp_path / "file").write_text("{}")
    refuses(tmp_path / "file", "file")


def test_no_config(refuses: Refuses, tiny: Damaged) -> None:
    (tiny.folder / "config.json").unlink()
    refuses(tiny.folder, "config.json")


def test_no_weights(refuses: Refuses, tiny: Damaged) -> None:
    tiny.file.unlink()
    refuses(tiny.folder, SINGLE)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b"null", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\xff{}", b"\xef\xbb\xbf{}", b'{"a": 1e999}',
     b"{}\0", b'{"a": -1' + b"0" * 400 + b"}", b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}"],
)  # fmt: skip
def test_config_is_not_sound_json(refuses: Refuses, tiny: Damaged, text: bytes) -> None:
    (tiny.folder / "config.json").write_bytes(text)
    refuses(tiny.folder, "config.json")


def test_the_deepest_json(opens: Callable[[Path], object], tiny: Damaged) -> None:
    tiny.config["extra"] = json.loads("[" * 63 + "1" + "]" * 63)
    opens(tiny.save_config())


def test_generation_config_is_not_sound_json(refuses: Refuses, tiny: Damaged) -> None:
    (tiny.folder / "generation_config.json").write_text("{")
    refuses(tiny.folder, "generation_config.json")


def test_shards_hold_the_same_tensors(opens: Callable[[Path], object], tiny: Damaged) -> None:
    single = Checkpoint(tiny.folder)
    whole = {name: single.array(name).tobytes() for name in single.names}
    sharded = Checkpoint(shard(tiny.folder))
    assert {name: sharded.array(name).tobytes() for name in sharded.names} == whole
    assert len(sharded.files) == 2
    opens(tiny.folder)


def test_links_to_files_are_followed(opens: Callable[[Path], object], tiny: Damaged, tmp_path: Path) -> None:
    """A download cache keeps files elsewhere and links to them."""
    tiny.file.rename(tmp_path / "blob")
    tiny.file.symlink_to(tmp_path / "blob")
    opens(tiny.folder)


def test_index_names_a_missing_file(refuses: Refuses, tiny: Damaged) -> None:
    shard(tiny.folder)
    (tiny.folder / FIRST).unlink()
    refuses(tiny.folder, FIRST)


def test_index_names_a_missing_tensor(refuses: Refuses, tiny: Damaged) -> None:
    shard(tiny.folder, lambda weights: weights.update({"model.ghost": FIRST}))
    refuses(tiny.folder, FIRST, "model.ghost")


def test_shard_holds_a_tensor_that_is_not_in_the_index(refuses: Refuses, tiny: Damaged) -> None:
    shard(tiny.folder, lambda weights: weights.pop(NORM))  # type: ignore[arg-type, return-value]
    refuses(tiny.folder, NORM)


def test_tensor_in_two_shards(refuses: Refuses, tiny: Damaged) -> None:
    shard(tiny.folder)
    header, data = split(tiny.folder, FIRST)
    name = "model.layers.0.self_attn.q_proj.weight_scale"
    name = name if name not in header else "model.layers.0.self_attn.k_proj.weight_scale"
    header[name] = {"dtype": "U8", "shape": [1], "data_offsets": [len(data), len(data) + 1]}
    (tiny.folder / FIRST).write_bytes(joined(header, data + b"\0"))
    refuses(tiny.folder, FIRST, name)


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", "a\\b", "a\0b", 3, None, ["x"]]
)
def test_index_leads_out_of_the_folder(refuses: Refuses, tiny: Damaged, name: Any) -> None:
    (tiny.folder.parent / "x.safetensors").write_bytes(tiny.file.read_bytes())
    shard(tiny.folder, lambda weights: weights.update({NORM: name}))
    refuses(tiny.folder, INDEX, NORM)


@pytest.mark.parametrize("text", ["{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": 3}', "3"])
def test_index_without_a_map(refuses: Refuses, tiny: Damaged, text: str) -> None:
    shard(tiny.folder)
    (tiny.folder / INDEX).write_text(text)
    refuses(tiny.folder, INDEX)


def test_damaged_shard(refuses: Refuses, tiny: Damaged) -> None:
    shard(tiny.folder)
    raw = np.fromfile(tiny.folder / FIRST, np.uint8)
    (tiny.folder / FIRST).write_bytes(raw[:-1].tobytes())
    refuses(tiny.folder, FIRST)
