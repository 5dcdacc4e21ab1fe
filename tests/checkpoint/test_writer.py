# SPDX-License-Identifier: Apache-2.0
"""Writing and quantizing checkpoints. [CKPT-WRITE], [CKPT-QUANTIZE]"""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from fp8ref.checkpoint import Checkpoint, inspect, quantize_checkpoint, write_checkpoint
from fp8ref.errors import CheckpointError, UnsupportedError
from model.tiny import CONFIG, bf16, bf16_tensors, write_tiny

PROJECTION = "model.layers.0.mlp.down_proj"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors = {
        "codes": np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).reshape(16, 16),
        "bf16": bf16([[1.5, -2.0]]),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "scalar": np.float32(7.0),
        "empty": np.zeros((0, 3), np.float16),
    }
    write_checkpoint(tmp_path / "new" / "model", {"model_type": "llama"}, tensors)
    checkpoint = Checkpoint(tmp_path / "new" / "model")
    assert checkpoint.config.values == {"model_type": "llama"}
    for name, tensor in tensors.items():
        got = checkpoint.array(name)
        assert (got.dtype, got.shape, got.tobytes()) == (tensor.dtype, np.shape(tensor), tensor.tobytes())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]


def test_companions_are_copied(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("text")
    write_checkpoint(tmp_path / "model", {}, {"x": np.zeros(1)}, [tmp_path / "tokenizer.json"])
    assert (tmp_path / "model" / "tokenizer.json").read_text() == "text"


def test_nothing_is_written_over(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match="exists already"):
        write_checkpoint(folder, {}, {"x": np.zeros(1)})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_checkpoint(tmp_path / "model", {}, {"x": np.zeros(1)}, [tmp_path / "missing"])
    assert list(tmp_path.iterdir()) == []


def test_quantize_checkpoint(tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "bf16", "bf16", tie_word_embeddings=True)
    (source / "tokenizer.json").write_text("text")
    (source / "generation_config.json").write_text('{"eos_token_id": 3}')
    seen: list[tuple[int, int]] = []
    quantize_checkpoint(source, tmp_path / "fp8", on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 14) for i in range(1, 15)]
    report = inspect(tmp_path / "fp8")
    assert report.schemes == {"fp8 channel weights, token activations": 14} and report.warnings == ()
    assert report.model.eos_token_ids == (3,)
    assert (tmp_path / "fp8" / "tokenizer.json").read_text() == "text"
    before, after = Checkpoint(source), Checkpoint(tmp_path / "fp8")
    assert set(after.names) - set(before.names) == {f"{m.name}.weight_scale" for m in report.modules}
    assert "lm_head.weight" not in after
    for name in before.names:
        if after.entry(name).dtype == "BF16":
            assert after.array(name).tobytes() == before.array(name).tobytes()


def test_quantized_codes_by_hand(tmp_path: Path) -> None:
    """Row 0: amax 3.5, scale RNbf(3.5 / 448) = 2**-7, codes of 448, -64 and RNbf(0.3 * 128) = 38.5; row 1: zeros."""
    tensors = bf16_tensors({**CONFIG})
    weight = np.zeros((48, 72), np.float32)
    weight[0, :3] = [3.5, -0.5, 0.3]
    tensors[f"{PROJECTION}.weight"] = bf16(weight)
    write_checkpoint(tmp_path / "bf16", CONFIG, tensors)
    quantize_checkpoint(tmp_path / "bf16", tmp_path / "fp8")
    after = Checkpoint(tmp_path / "fp8")
    codes, scale = after.array(f"{PROJECTION}.weight"), after.array(f"{PROJECTION}.weight_scale")
    assert codes[0, :4].view(np.uint8).tolist() == [0x7E, 0xE8, 0x62, 0x00]
    assert scale.dtype == ml_dtypes.bfloat16 and scale.shape == (48, 1)
    assert scale[:2].view(np.uint16).ravel().tolist() == [0x3C00, 0x3C00]  # 2**-7 twice: bf16's epsilon for zeros
    assert not codes[1:].view(np.uint8).any()


def test_quantized_already(tmp_path: Path) -> None:
    source = write_tiny(tmp_path / "fp8")
    with pytest.raises(UnsupportedError, match="quantized already"):
        quantize_checkpoint(source, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.hf
def test_quantize_checkpoint_is_llm_compressor(tmp_path: Path) -> None:
    """Every tensor in every bit, and config.json's scheme, against llm-compressor's FP8_DYNAMIC."""
    transformers = pytest.importorskip("transformers")
    llmcompressor = pytest.importorskip("llmcompressor")
    from llmcompressor.modifiers.quantization import QuantizationModifier

    source = write_tiny(tmp_path / "bf16", "bf16", seed=3)
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype="bfloat16")
    recipe = QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=["lm_head"])
    llmcompressor.oneshot(model=model, recipe=recipe)
    model.save_pretrained(tmp_path / "theirs", save_compressed=True)
    quantize_checkpoint(source, tmp_path / "ours")
    ours, theirs = Checkpoint(tmp_path / "ours"), Checkpoint(tmp_path / "theirs")
    assert set(ours.names) == set(theirs.names)
    for name in ours.names:
        a, b = ours.entry(name), theirs.entry(name)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert ours.array(name).tobytes() == theirs.array(name).tobytes(), name
    schemes = [
        json.loads((tmp_path / x / "config.json").read_text())["quantization_config"] for x in ("ours", "theirs")
    ]
    assert {**schemes[0], "version": ""} == {**schemes[1], "version": ""}
