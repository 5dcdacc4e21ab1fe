# SPDX-License-Identifier: Apache-2.0
"""What opening and inspecting a checkpoint read of it, by the pages that Linux counts. [CKPT-STREAM], [CKPT-MMAP]"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from fp8ref.checkpoint import Checkpoint, LlamaReader, inspect, write_checkpoint
from fp8ref.checkpoint.tensors import Tensors
from fp8ref.golden.llama import Moe
from fp8ref.model import load
from model.tiny import fp8_config
from model.tiny_families import SCOUT, projections

inspecting = importlib.import_module("fp8ref.checkpoint.inspect")  # beside it is a function of this name
SMAPS = Path("/proc/self/smaps")
EXPERT = 3 * 512 * 1024  # bytes of one

pytestmark = pytest.mark.skipif(not SMAPS.exists(), reason="needs /proc/self/smaps")


def resident(file: Path) -> int:
    """Bytes of a mapped file that this process has read and not given back."""
    lines = iter(SMAPS.read_text().splitlines())
    total = 0
    for line in lines:
        if line.endswith(str(file)):
            rss = next(entry for entry in lines if entry.startswith("Rss:"))
            total += int(rss.split()[1]) * 1024
    return total


def reads_ahead(file: Path) -> bool:
    """Whether the system may read more of a mapped file than it is asked for."""
    lines = iter(SMAPS.read_text().splitlines())
    assert any(line.endswith(str(file)) for line in lines)
    return "rr" not in next(line for line in lines if line.startswith("VmFlags:")).split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A layer with 16 experts of 1.5 MiB; nothing else is large."""
    sizes = {"hidden_size": 512, "intermediate_size": 1024, "num_local_experts": 16, "num_hidden_layers": 1}
    text = SCOUT | sizes | {"no_rope_layers": [1]}
    tensors = {}
    for path, shape in projections(text, 0).items():
        if "self_attn" in path:
            tensors[f"{path}.weight"] = np.zeros(shape, ml_dtypes.bfloat16)
        else:
            tensors[f"{path}.weight"] = np.full(shape, 448, ml_dtypes.float8_e4m3fn)
            tensors[f"{path}.weight_scale"] = np.ones((shape[0], 1), ml_dtypes.bfloat16)
    tensors["feed_forward.router.weight"] = np.zeros((16, 512), ml_dtypes.bfloat16)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"{norm}.weight"] = np.ones(512, ml_dtypes.bfloat16)
    whole = {f"model.layers.0.{name}": tensor for name, tensor in tensors.items()}
    whole["model.norm.weight"] = np.ones(512, ml_dtypes.bfloat16)
    whole |= {name: np.zeros((80, 512), ml_dtypes.bfloat16) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    method = fp8_config("channel", "token") | {"ignore": ["re:.*self_attn", "lm_head"]}
    write_checkpoint(tmp_path / "model", text | {"quantization_config": method}, whole)
    return tmp_path / "model"


def test_an_expert_is_read_when_it_is_asked_for(folder: Path) -> None:
    reader = LlamaReader(Checkpoint(folder))
    moe = reader.weights().layers[0].mlp
    assert isinstance(moe, Moe)
    file = reader.checkpoint.files[0].path
    opened = resident(file)
    assert opened < 4 * EXPERT  # scales, with the pages that the system maps around each
    expert = moe.experts[5]
    assert resident(file) == opened
    for projection in (expert.gate_proj, expert.up_proj, expert.down_proj):
        projection.weight.view(np.uint8).max()
    assert opened < resident(file) < opened + 4 * EXPERT
    for one in moe.experts:
        for projection in (one.gate_proj, one.up_proj, one.down_proj):
            projection.weight.view(np.uint8).max()
    assert resident(file) >= 16 * EXPERT  # the measure sees what is read
    reader.checkpoint.release()
    assert resident(file) == 0
    assert int(moe.experts[5].up_proj.weight.view(np.uint8).max()) == 0x7E  # and it can be read again


def test_inspect_gives_back_what_it_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "model.safetensors"
    seen: dict[int, int] = {}
    for window in (EXPERT, 1 << 30):
        seen[window] = 0

        def look(done: int, total: int, window: int = window) -> None:
            if done % 6 == 0:
                seen[window] = max(seen[window], resident(file))

        monkeypatch.setattr(inspecting, "RELEASE", window)
        assert inspect(folder, look).layers[0].ranges.amax == 448
    assert seen[EXPERT] < 4 * EXPERT and seen[1 << 30] >= 16 * EXPERT


def test_scales_are_read_without_what_lies_between(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are read in long runs, scales here and there: reading ahead would read most of the file."""
    file, seen = folder / "model.safetensors", []
    scale = Tensors.scale
    monkeypatch.setattr(Tensors, "scale", lambda *args: seen.append(reads_ahead(file)) or scale(*args))
    reader = LlamaReader(Checkpoint(folder))
    reader.weights()
    assert len(seen) == 17 * 3 + 3 and not any(seen)  # expert 0 is compared with all
    assert reads_ahead(file)


def test_headers_alone(folder: Path) -> None:
    file = folder / "model.safetensors"
    sizes: list[int] = []
    report = inspect(folder, lambda done, total: sizes.append(resident(file) if done % 6 == 0 else 0), scan="headers")
    assert max(sizes) < 4 * EXPERT
    ranges = report.layers[0].ranges
    assert (ranges.amax, ranges.largest_code, ranges.odd, ranges.scale_max) == (None, None, None, 1.0)


@pytest.mark.parametrize("backend", ["golden", "cpu"])
def test_a_forward_reads_the_experts_that_were_chosen(folder: Path, backend: str) -> None:
    """All logits of the router are equal, so every token takes expert 0."""
    if backend == "cpu" and importlib.util.find_spec("fp8ref._ext") is None:
        pytest.skip("the compiled extension is not installed")
    file = folder / "model.safetensors"
    model = load(folder, backend=backend)
    model.forward([1, 2, 3])
    assert EXPERT <= resident(file) < 8 * EXPERT  # of 16
