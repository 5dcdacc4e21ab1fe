# SPDX-License-Identifier: Apache-2.0
"""The report of ``inspect``: the table, the counts, and every warning of [CKPT-WARN]."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from checkpoint.damage import SINGLE, Damaged, Q, shard
from fp8ref.checkpoint import inspect
from fp8ref.checkpoint.ranges import SCANS
from fp8ref.cli.common import Scan
from fp8ref.errors import CheckpointError, OpError
from model.tiny import BLOCK, IGNORED, SCHEMES, fp8_config, write_tiny

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


def test_warns_of_suspicious_scales(tiny: Damaged) -> None:
    """Row 3 is a hundred times smaller than its scale says; row 5 is zero by its scale alone."""
    scales = np.frombuffer(tiny.bytes_of(f"{Q}.weight_scale"), np.uint16).copy()
    scales[5] = 0
    tiny.fill(f"{Q}.weight_scale", scales.tobytes())
    codes = np.frombuffer(tiny.bytes_of(f"{Q}.weight"), np.uint8).copy()
    codes[3 * 48 : 4 * 48] &= 0x8F
    tiny.fill(f"{Q}.weight", codes.tobytes())
    report = inspect(tiny.save())
    (warning,) = report.warnings
    assert Q in warning and "2 scales are suspicious" in warning
    assert (report.layers[0].ranges.suspicious, report.layers[1].ranges.suspicious) == (2, 0)
    (headers,) = inspect(tiny.folder, scan="headers").modules[:1]
    assert headers.ranges.suspicious == 0 and headers.ranges.scale_min == 0


def test_warns_of_bf16_that_is_not_finite(tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model", "bf16")
    tiny.fill(f"{Q}.weight", b"\x80\x7f\x00\x00\xc1\xff")
    (warning,) = inspect(tiny.save()).warnings
    assert Q in warning and "2 values that are NaN or infinite" in warning


def test_warnings_of_experts_are_one_line(tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model", model="maverick")
    path = "language_model.model.layers.3.feed_forward.experts"
    tiny.fill(f"{path}.2.up_proj.weight", b"\x7f")
    tiny.fill(f"{path}.6.up_proj.weight", b"\x7f\xff")
    (warning,) = inspect(tiny.save()).warnings
    assert "layers.3.feed_forward.experts.*.up_proj" in warning
    assert "3 NaN codes" in warning and "of 2 of 8" in warning
    tiny.method["ignore"] += [f"{path}.{e}.down_proj" for e in range(3)]
    found = inspect(tiny.save_config()).warnings
    assert len(found) == 2 and any("leaves it alone" in line and "of 3 of 8" in line for line in found)


def test_fused_experts_are_no_target(tmp_path: Path) -> None:
    """A config that targets all linear layers says nothing of them."""
    method = fp8_config("channel", "token", ("re:.*self_attn", "re:.*shared_expert"))
    tiny = Damaged(tmp_path / "model", "bf16", model="scout")
    tiny.config["quantization_config"] = method
    report = inspect(tiny.save_config())
    assert report.warnings == () and report.layers[0].experts_layout == "fused"
    rows = [module for module in report.modules if "experts" in module.name and "shared" not in module.name]
    assert len(rows) == 3 * 3 and all(row.count == 4 and row.ranges.amax for row in rows)
    assert sum(report.schemes.values()) == 3 * (4 + 3 + 3 * 4)


FP8 = "float8_e4m3fn"
SELF = "model.layers.1.self_attn"


def test_fp8_cache(tmp_path: Path) -> None:
    report = inspect(write_tiny(tmp_path / "model", model="mllama", kv_cache=FP8))
    scales = (0.0078125, 0.01043701171875)
    assert [layer.kv_scales for layer in report.layers] == [scales, None, scales, None]
    assert report.kv_cache == FP8 and report.warnings == ()


def test_warns_of_an_fp8_cache_without_scales(tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model", kv_cache=FP8)
    for name in ("k_scale", "v_scale"):
        tiny.drop(f"{SELF}.{name}")
    report = inspect(tiny.save())
    (warning,) = report.warnings
    assert "1 of 2 layers have no scales" in warning and report.layers[1].kv_scales == (1, 1)


def test_warns_of_scales_without_an_fp8_cache(tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model", kv_cache=FP8)
    tiny.method["kv_cache_scheme"] = None
    report = inspect(tiny.save_config())
    (warning,) = report.warnings
    assert "2 layers have KV scales" in warning and report.layers[0].kv_scales is None


def test_parts(tmp_path: Path) -> None:
    """All bytes are somewhere, and each part is as large as the config says."""
    report = inspect(write_tiny(tmp_path / "model", model="maverick"))
    parts = {(part.name, part.dtype): part for part in report.parts}
    assert parts["experts", "F8_E4M3"].elements == 2 * 8 * 3 * 32 * 48
    assert parts["shared_expert", "BF16"].elements == 2 * 3 * 32 * 48
    assert parts["mlp", "BF16"].elements == 2 * 3 * 40 * 48
    assert parts["router", "BF16"].elements == 2 * 8 * 48
    assert parts["scales", "BF16"].elements == 2 * 8 * (32 + 32 + 48)
    assert parts["norms", "BF16"].elements == 9 * 48
    assert parts["vision", "BF16"].tensors == 2
    assert parts["embeddings", "BF16"] == dataclasses.replace(parts["lm_head", "BF16"], name="embeddings")
    left_out = parts["scales", "BF16"].elements + parts["vision", "BF16"].elements
    assert report.parameters == sum(part.elements for part in report.parts) - left_out
    assert report.nbytes == sum(part.nbytes for part in report.parts)


def test_block_scheme(tmp_path: Path) -> None:
    report = inspect(write_tiny(tmp_path / "model", BLOCK, hidden_size=264, intermediate_size=130))
    assert report.schemes == {"fp8 block weights, group activations": 14} and report.warnings == ()
    rows = {(m.weight_rule, m.activation_rule) for m in report.modules}
    assert rows == {("compressed_tensors.block_128x128", "vllm.group_128")}
    assert report.modules[-1].weight_scale == "BF16 [3, 2]"


def test_unknown_scan(tiny: Damaged) -> None:
    with pytest.raises(OpError, match="scan='everything'"):
        inspect(tiny.folder, scan="everything")
    assert list(Scan) == list(SCANS)


def test_damage_is_an_error(tiny: Damaged) -> None:
    (tiny.folder / "config.json").write_text(json.dumps(tiny.config | {"vocab_size": "80"}))
    with pytest.raises(CheckpointError, match="vocab_size"):
        inspect(tiny.folder)
