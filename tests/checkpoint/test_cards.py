# SPDX-License-Identifier: Apache-2.0
"""``inspect`` names the scheme of each of the five checkpoints, by configs with all their keys."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkpoint.cards import CARDS, maverick_ignore, method_of, mllama_ignore, scout_ignore, write_card
from fp8ref.checkpoint import Report, inspect
from fp8ref.cli.common import Scan
from fp8ref.cli.inspect import inspect as command
from model.tiny_families import moe_layers

CHANNEL = "fp8 channel weights, token activations"
DYNAMIC = "weights by compressed_tensors.channel, activations by vllm.per_token"

# What is printed: a line of the summary each, and rows of the tables.
PRINTED = {
    "llama_3_8b": (
        "family llama",
        "quantization fp8",
        "schemes 14 x fp8 tensor weights, static activations, weights by autofp8.per_tensor, "
        "activations by vllm.per_tensor_static groups",
        "groups all: fp8 tensor weights, static activations; targets all linear layers",
        "ignored lm_head KV cache bfloat16",
        "mlp.up_proj 72x48 F8_E4M3 F32 [] per_tensor_static 2",
    ),
    "llama_31_8b": (
        "family llama",
        "quantization compressed-tensors",
        f"schemes 14 x {CHANNEL}, {DYNAMIC} groups",
        f"groups group_0: {CHANNEL} (observer minmax); targets Linear ignored lm_head KV cache bfloat16",
        "mlp.up_proj 72x48 F8_E4M3 BF16 [72, 1] per_token 2",
    ),
    "llama_32_11b_vision": (
        "family mllama",
        "quantization compressed-tensors",
        f"schemes 35 x {CHANNEL}, {DYNAMIC} groups",
        "(242 in all) KV cache bfloat16",
        "cross_attn.q_proj 48x48 F8_E4M3 BF16 [48, 1] per_token 1",
        "vision (not read) BF16 241",
    ),
    "scout": (
        "family llama4",
        "experts 1 of 4 for a token, intermediate 32, and a shared one",
        "quantization compressed-tensors",
        f"schemes 16 x bf16 60 x {CHANNEL}, weights by llm_compressor.mse_channel, activations by vllm.per_token",
        f"groups group_0: {CHANNEL} (observer mse); targets Linear",
        "(449 in all) KV cache bfloat16",
        "self_attn.q_proj 48x48 BF16 none bf16 4",
        "experts.gate_proj 32x48 F8_E4M3 BF16 [32, 1] per_token 16",
    ),
    "maverick": (
        "family llama4",
        "experts 1 of 8 for a token, intermediate 32, and a shared one",
        "quantization compressed-tensors",
        f"schemes 28 x bf16 48 x {CHANNEL}, {DYNAMIC} groups",
        "(569 in all) KV cache bfloat16",
        "experts.down_proj 48x32 F8_E4M3 BF16 [48, 1] per_token 16",
        "experts F8_E4M3 48",
    ),
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("cards")
    return lambda card: root / card if (root / card).exists() else write_card(root / card, card)


@pytest.mark.parametrize("card", CARDS)
def test_what_is_printed(
    folder_of: Callable[[str], Path], card: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fp8ref.cli.inspect.out._width", 120)
    command(folder_of(card), Scan.VALUES)
    printed = capsys.readouterr()
    text = re.sub(r"[\s│┃]+", " ", printed.out)
    for line in PRINTED[card]:
        assert line in text
    assert printed.err == ""  # no warnings


@pytest.mark.parametrize("card", CARDS)
def test_json_says_the_same(folder_of: Callable[[str], Path], card: str, capsys: pytest.CaptureFixture[str]) -> None:
    command(folder_of(card), Scan.HEADERS, True)
    document = json.loads(capsys.readouterr().out)
    report = inspect(folder_of(card), scan="headers")
    assert document["schemes"] == report.schemes and document["warnings"] == []
    assert [layer["schemes"] for layer in document["layers"]] == [layer.schemes for layer in report.layers]
    assert document["model"]["family"] == report.model.family
    if report.model.moe is not None:
        text = CARDS[card]()["text_config"]
        assert document["model"]["moe"]["layers"] == moe_layers(text)


def test_lengths_of_the_ignore_lists() -> None:
    assert [len(names()) for names in (mllama_ignore, scout_ignore, maverick_ignore)] == [242, 449, 569]


def test_layers_of_scout(folder_of: Callable[[str], Path]) -> None:
    report = inspect(folder_of("scout"))
    for layer in report.layers:
        nope = layer.index == 3
        assert (layer.rope, layer.chunk) == (("none", None) if nope else ("interleaved", 8192))
        assert (layer.qk_norm, layer.temperature) == (("none", 0.1) if nope else ("weightless", None))
        assert (layer.mlp, layer.experts, layer.experts_layout) == ("moe", 4, "one_by_one")
        assert layer.schemes == {"attention": "bf16", "shared_expert": CHANNEL, "experts": CHANNEL}
        assert layer.ranges.largest_code == 448 and layer.ranges.suspicious == layer.ranges.odd == 0
    (row,) = (m for m in report.modules if m.name == "model.layers.2.feed_forward.experts.*.up_proj")
    assert (row.count, row.shape, row.weight_rule) == (4, (32, 48), "llm_compressor.mse_channel")


def test_layers_of_maverick(folder_of: Callable[[str], Path]) -> None:
    for layer in inspect(folder_of("maverick")).layers:
        if layer.index % 2:
            assert layer.schemes == {"attention": "bf16", "shared_expert": "bf16", "experts": CHANNEL}
        else:
            assert layer.schemes == {"attention": "bf16", "mlp": "bf16"} and layer.ranges.scale_max is None


def test_layers_of_mllama(folder_of: Callable[[str], Path]) -> None:
    layers = inspect(folder_of("llama_32_11b_vision")).layers
    assert [layer.attention for layer in layers] == ["self", "self", "self", "cross", "self"]
    assert all(layer.schemes == {"attention": CHANNEL, "mlp": CHANNEL} for layer in layers)


def changed(source: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Report:
    """The report of a checkpoint whose quantization config was changed."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    change(method_of(config))
    (folder / "config.json").write_text(json.dumps(config))
    return inspect(folder)


@pytest.mark.parametrize("card", ["scout", "maverick"])
def test_what_the_ignore_list_is_for(folder_of: Callable[[str], Path], tmp_path: Path, card: str) -> None:
    """Without the names of attention the config asks for what the tensors are not."""

    def forget(method: dict[str, Any]) -> None:
        method["ignore"] = [name for name in method["ignore"] if "self_attn" not in name or "vision" in name]

    report = changed(folder_of(card), tmp_path / "model", forget)
    assert len(report.warnings) == 4 * 4
    assert all("self_attn" in warning and "asks for FP8" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("observer", "rule"),
    [
        (None, "compressed_tensors.channel"),
        ("memoryless_minmax", "compressed_tensors.channel"),
        ("memoryless_mse", "llm_compressor.mse_channel"),
        ("imatrix_mse", None),
    ],
)
def test_the_observer_names_the_rule(
    folder_of: Callable[[str], Path], tmp_path: Path, observer: str | None, rule: str | None
) -> None:
    def observe(method: dict[str, Any]) -> None:
        method["config_groups"]["group_0"]["weights"]["observer"] = observer

    report = changed(folder_of("llama_31_8b"), tmp_path / "model", observe)
    assert {module.weight_rule for module in report.modules} == {rule}
