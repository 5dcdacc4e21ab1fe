# SPDX-License-Identifier: Apache-2.0
"""One model under each spelling of its names, and what is not read. [CKPT-PREFIX], [CKPT-MATCH], [CKPT-EXTRA]"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoint.damage import Damaged
from fp8ref.checkpoint import Checkpoint, LlamaReader
from fp8ref.checkpoint.names import is_vision, plain, spellings
from fp8ref.checkpoint.scheme import quantization
from fp8ref.checkpoint.strict_json import Section
from model.tiny import fp8_config, write_tiny
from model.tiny_families import MODELS, NAMES, VISION, spelled

Refuses = Callable[..., None]
Opens = Callable[[Path], object]

Q = "model.layers.0.self_attn.q_proj"
LATER = [names for names in NAMES if names != "plain"]


@pytest.mark.parametrize("name", [f"{Q}.weight", "model.norm.weight", "lm_head.weight", "lm_head", "model.layers.1.x"])
def test_spellings_of_a_name(name: str) -> None:
    every = spellings(name)
    assert every[0] == name and len(set(every)) == 3
    assert [plain(other) for other in every] == [name] * 3
    assert {spelled(name, names) for names in NAMES} <= set(every)


@pytest.mark.parametrize(
    "name", ["norm.weight", "model.lm_header.weight", "language_model.norm.weight", "lm_head2.weight", "vision_model.x"]
)
def test_other_names_stay(name: str) -> None:
    assert plain(name) == name


def test_names_of_the_vision_side() -> None:
    for name in ("vision_model.x", "model.vision_model.x", "multi_modal_projector.weight"):
        assert is_vision(name)
    for name in ("vision_models.x", "model.layers.0.vision_model.x", "language_model.vision_model.x", "vision_model"):
        assert not is_vision(name)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all tensors that the reader can be asked for."""
    tensors = LlamaReader(Checkpoint(folder)).tensors
    names = (plain(name) for name in tensors.checkpoint.names if not is_vision(name))
    return {name: tensors.checkpoint.array(tensors.stored(name)).tobytes() for name in names}


@pytest.mark.parametrize("model", MODELS[1:])
def test_all_spellings_are_one_model(tmp_path: Path, model: str) -> None:
    folders = [write_tiny(tmp_path / names, model=model, names=names) for names in NAMES]
    first, *others = map(contents, folders)
    assert others == [first] * 2
    readers = [LlamaReader(Checkpoint(folder)) for folder in folders]
    assert all(reader.config == readers[0].config for reader in readers)
    codes = [np.asarray(reader.weights().layers[0].mlp.down_proj.weight) for reader in readers if model == "mllama"]
    assert all(np.array_equal(code.view(np.uint8), codes[0].view(np.uint8)) for code in codes)


def test_a_llama_may_have_prefixes_too(opens: Opens, tiny: Damaged) -> None:
    for name in list(tiny.header):
        if name != "__metadata__":
            tiny.rename(name, spelled(name, "new"))
    opens(tiny.save())


@pytest.mark.parametrize("names", LATER)
def test_two_spellings_of_one_tensor(refuses: Refuses, tmp_path: Path, names: str) -> None:
    tiny = Damaged(tmp_path / "model", model="scout", names=names)
    tiny.put("model.norm.weight", "BF16", [48], b"\0" * 96)
    refuses(tiny.save(), "model.safetensors", "model.norm.weight")


@pytest.mark.parametrize("names", LATER)
def test_errors_have_the_name_of_the_file(refuses: Refuses, tmp_path: Path, names: str) -> None:
    tiny = Damaged(tmp_path / "model", model="mllama", names=names)
    name = spelled("model.layers.1.cross_attn.q_norm.weight", names)
    tiny.header[name]["shape"] = [2, 4]
    refuses(tiny.save(), "model.safetensors", f"'{name}'" if names == "old" else name)


@pytest.mark.parametrize("names", NAMES)
def test_a_missing_tensor_has_its_plain_name(refuses: Refuses, tmp_path: Path, names: str) -> None:
    tiny = Damaged(tmp_path / "model", model="mllama", names=names)
    tiny.drop(spelled("model.layers.1.cross_attn_mlp_gate", names))
    refuses(tiny.save(), "model.layers.1.cross_attn_mlp_gate")


@pytest.mark.parametrize("names", LATER)
@pytest.mark.parametrize("model", ["scout", "mllama"])
def test_the_vision_side_is_not_read(opens: Opens, tmp_path: Path, model: str, names: str) -> None:
    """Whatever it holds: FP8 without a scale, other dtypes, under either spelling."""
    tiny = Damaged(tmp_path / "model", model=model, names=names)
    for name in VISION["mllama" if model == "mllama" else "llama4"]:
        tiny.put(name, "F8_E4M3", [4], b"\x7f" * 4)
        tiny.put(f"model.{name}", "F64", [1], b"\xff" * 8)
    tiny.put("multi_modal_projector.weight_scale", "F32", [1], b"\0\0\xc0\xff")
    opens(tiny.save())


@pytest.mark.parametrize("name", ["vision_tower.x", "language_model.x", "model.multi_modal.x", "language_model.norm"])
def test_a_name_of_nothing(unsupported: Refuses, tmp_path: Path, name: str) -> None:
    tiny = Damaged(tmp_path / "model", model="mllama")
    tiny.put(name, "BF16", [1], b"\0\0")
    unsupported(tiny.save(), "model.safetensors", name)


@pytest.mark.parametrize(
    ("entry", "ignored"),
    [
        (Q, True),
        (f"language_model.{Q}", True),
        ("model.language_model.layers.0.self_attn.q_proj", True),
        ("language_model.layers.0.self_attn.q_proj", False),
        ("re:language_model.*self_attn", True),
        ("re:model\\.language_model.*q_proj", True),
        ("re:.*language_model\\.layers", True),
        ("re:vision_model.*", False),
        ("re:layers.*", False),
        ("language_model.lm_head", False),
    ],
)
def test_an_entry_matches_any_spelling(entry: str, ignored: bool) -> None:
    method = fp8_config("channel", "token") | {"ignore": [entry]}
    config = quantization(Section("config.json", {"quantization_config": method}))
    assert (config.configured(Q) is None) == ignored


@pytest.mark.parametrize("names", LATER)
@pytest.mark.parametrize("ignore", NAMES)
def test_ignore_in_another_spelling_than_the_tensors(opens: Opens, tmp_path: Path, names: str, ignore: str) -> None:
    """What transformers 5 writes: static activations are asked of FP8 projections alone."""
    tiny = Damaged(tmp_path / "model", "tensor_static", model="scout", names=names)
    tiny.method["ignore"] = [spelled(plain(name), ignore) for name in tiny.method["ignore"]]
    opens(tiny.save_config())
    first: Any = LlamaReader(Checkpoint(tiny.folder))
    assert first.quantization.configured(Q) is None
