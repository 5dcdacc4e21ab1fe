# SPDX-License-Identifier: Apache-2.0
"""The report of ``inspect``: the table, the counts, and every warning of [CKPT-WARN]."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from checkpoint.damage import SINGLE, Damaged, Q, shard
from fp8ref.checkpoint import inspect
from fp8ref.errors import CheckpointError
from model.tiny import IGNORED, SCHEMES, write_tiny

TEXTS = {
    "bf16": "bf16",
    "channel_token": "fp8 channel weights, token activations",
    "channel_static": "fp8 channel weights, static activations",
    "tensor_token": "fp8 tensor weights, token activations",
    "tensor_static": "fp8 tensor weights, static activations",
    "autofp8_static": "fp8 tensor weights, static activations",
}


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "mixed"])
def test_report_of_each_scheme(tmp_path: Path, scheme: str) -> None:
    report = inspect(write_tiny(tmp_path / "model", scheme))
    assert report.schemes == {TEXTS[scheme]: 14} and report.warnings == ()
    first = report.modules[0]
    assert (first.name, first.shape) == (Q, (48, 48))
    assert first.dtype == ("BF16" if scheme == "bf16" else "F8_E4M3")
    assert (first.input_scale is not None) == scheme.endswith("static")
    assert report.method == {"b": "none", "a": "fp8"}.get(scheme[0], "compressed-tensors")
    assert report.model.hidden_size == 48 and report.dtype == "bfloat16"


def test_counts(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "model")
    report = inspect(folder)
    projections = 2 * (48 * 48 * 2 + 16 * 48 * 2 + 72 * 48 * 3)
    others = 48 * 5 + 80 * 48 * 2  # norms, embeddings, lm_head
    scales = 2 * (48 * 3 + 16 * 2 + 72 * 2)
    assert report.parameters == projections + others
    assert report.nbytes == projections + 2 * others + 2 * scales
    assert report.files[0].nbytes == (folder / SINGLE).stat().st_size > report.nbytes


def test_mixed_scheme_and_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = inspect(
        write_tiny(tmp_path / "model", "mixed"), on_progress=lambda done, total: seen.append((done, total))
    )
    assert report.schemes == {TEXTS["channel_token"]: 12, "bf16": 2} and report.warnings == ()
    assert {module.name for module in report.modules if module.scheme == "bf16"} == set(IGNORED)
    assert report.ignore == ("lm_head", *IGNORED)
    assert seen == [(i, 14) for i in range(1, 15)]


def test_shards_are_listed(tmp_path: Path) -> None:
    report = inspect(shard(write_tiny(tmp_path / "model")))
    assert [file.name for file in report.files] == [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]


def test_warns_of_fp8_that_the_config_ignores(tiny: Damaged) -> None:
    tiny.config["quantization_config"]["ignore"] = [Q, "lm_head"]
    (warning,) = inspect(tiny.save_config()).warnings
    assert Q in warning and "leaves it alone" in warning and "F8_E4M3" in warning


def test_warns_of_fp8_that_no_target_names(tiny: Damaged) -> None:
    tiny.config["quantization_config"]["config_groups"]["group_0"]["targets"] = ["re:.*mlp"]
    warnings = inspect(tiny.save_config()).warnings
    assert len(warnings) == 8 and all("self_attn" in warning for warning in warnings)


def test_warns_of_bf16_that_the_config_targets(tiny: Damaged) -> None:
    tiny.drop(f"{Q}.weight_scale")
    tiny.put(f"{Q}.weight", "BF16", [48, 48], b"\0" * 48 * 48 * 2)
    (warning,) = inspect(tiny.save()).warnings
    assert Q in warning and "BF16" in warning


def test_warns_of_a_scale_that_contradicts_the_strategy(tiny: Damaged) -> None:
    tiny.put(f"{Q}.weight_scale", "F32", [1], b"\0\0\x80\x3f")
    (warning,) = inspect(tiny.save()).warnings
    assert Q in warning and "channel" in warning and "[1]" in warning


def test_warns_of_nan_codes(tiny: Damaged) -> None:
    tiny.fill(f"{Q}.weight", b"\x7f\x00\xff")
    (warning,) = inspect(tiny.save()).warnings
    assert Q in warning and "2 NaN codes" in warning


def test_warns_of_another_dtype(tiny: Damaged) -> None:
    tiny.config["torch_dtype"] = "float16"
    (warning,) = inspect(tiny.save_config()).warnings
    assert "float16" in warning


def test_damage_is_an_error(tiny: Damaged) -> None:
    (tiny.folder / "config.json").write_text(json.dumps(tiny.config | {"vocab_size": "80"}))
    with pytest.raises(CheckpointError, match="vocab_size"):
        inspect(tiny.folder)
