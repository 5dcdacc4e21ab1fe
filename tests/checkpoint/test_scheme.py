# SPDX-License-Identifier: Apache-2.0
"""Quantization configs: spellings, matching, and what is not supported. [CKPT-QUANT-KEY] to [CKPT-MATCH]"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkpoint.damage import Damaged
from fp8ref.checkpoint import Checkpoint, LlamaReader
from fp8ref.checkpoint.scheme import Scheme, quantization
from fp8ref.checkpoint.strict_json import Section
from model.tiny import BLOCK, SCHEMES, fp8_config, write_tiny

Refuses = Callable[..., None]
Opens = Callable[[Path], object]

CHANNEL = Scheme("channel", "token")
Q = "model.layers.0.self_attn.q_proj"
UP = "model.layers.1.mlp.up_proj"
G = "config_groups.group_0"


def parse(method: dict[str, Any]) -> Any:
    return quantization(Section("config.json", {"quantization_config": method}))


@pytest.mark.parametrize("scheme", [*SCHEMES, BLOCK])
def test_every_scheme_opens(opens: Opens, tmp_path: Path, scheme: str) -> None:
    opens(write_tiny(tmp_path / "model", scheme))


def test_places_of_the_config(opens: Opens, tiny: Damaged) -> None:
    method = tiny.config.pop("quantization_config")
    for spelling in (
        {"quantization_config": method},
        {"text_config": {"quantization_config": method}},
        {"compression_config": method},
        {"compression_config": {k: v for k, v in method.items() if k != "quant_method"}},
        {"quantization_config": None, "compression_config": method},
    ):
        assert quantization(Section("config.json", spelling)).configured(Q) == CHANNEL
        tiny.config = {k: v for k, v in tiny.config.items() if "config" not in k} | spelling
        opens(tiny.save_config())


def test_keys_of_all_writers(opens: Opens, tiny: Damaged) -> None:
    """Old writers leave keys out and have others; all of these say the same."""
    method = tiny.config["quantization_config"]
    group = method["config_groups"]["group_0"]
    method |= {"format": "naive-quantized", "global_compression_ratio": 1.24, "unknown_key": 1}
    method["sparsity_config"] = {"format": "dense", "global_sparsity": 0.14, "targets": ["Linear"]}
    for key in ("version", "transform_config", "kv_cache_scheme", "quantization_status"):
        del method[key]
    del group["format"], group["output_activations"]
    for args in (group["weights"], group["input_activations"]):
        for key in ("actorder", "block_structure", "scale_dtype", "zp_dtype", "group_size"):
            del args[key]
    opens(tiny.save_config())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("weights.symmetric", None),  # null counts as absent [CKPT-VALUES]
        ("weights.dynamic", None),
        ("weights.num_bits", None),
        ("weights.observer", ["mse"]),  # keys that no reader needs refuse nothing
        ("input_activations.observer_kwargs", 3),
    ],
)
def test_keys_that_say_nothing(opens: Opens, tiny: Damaged, path: str, value: Any) -> None:
    set_path(tiny.config["quantization_config"], f"config_groups.group_0.{path}", value)
    opens(tiny.save_config())


@pytest.mark.parametrize(
    ("ignore", "ignored"),
    [
        (["lm_head"], []),
        ([Q], [Q]),
        (["re:.*q_proj"], [Q]),
        (["re:.*mlp"], [UP]),
        (["re:q_proj"], []),  # re.match begins at the start
        (["re:model.layers.0"], [Q]),
        (["Linear"], [Q, UP]),
        (["linear", "q_proj", "LlamaMLP"], []),
        (["re:.*self_attn.*", UP], [Q, UP]),
    ],
)
def test_ignore(ignore: list[str], ignored: list[str]) -> None:
    config = parse(fp8_config("channel", "token") | {"ignore": ignore})
    assert [name for name in (Q, UP) if config.configured(name) is None] == ignored


def test_targets_by_name_pattern_and_class() -> None:
    groups = {}
    for name, targets, weights in (
        ("by_class", ["Linear"], "channel"),
        ("by_pattern", ["re:.*self_attn.*"], "tensor"),
        ("again", ["re:.*q_proj"], "channel"),
        ("by_name", [UP], "tensor"),
    ):
        groups[name] = fp8_config(weights, "token")["config_groups"]["group_0"] | {"targets": targets}
    config = parse(fp8_config("channel", "token") | {"config_groups": groups})
    expected = {Q: "tensor", UP: "tensor", "model.layers.0.mlp.up_proj": "channel"}
    found = {name: config.configured(name) for name in expected}
    assert {name: scheme.weights for name, scheme in found.items() if scheme} == expected


PRESETS = {"FP8": ("tensor", "static"), "FP8_DYNAMIC": ("channel", "token"), "FP8_BLOCK": ("block", "group")}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_list_of_targets(opens: Opens, tmp_path: Path, preset: str) -> None:
    written = "_".join(PRESETS[preset])
    tiny = Damaged(tmp_path / "model", written)
    first = LlamaReader(Checkpoint(tiny.folder)).quantization
    tiny.method["config_groups"] = {preset: ["Linear"]}
    opens(tiny.save_config())
    again = LlamaReader(Checkpoint(tiny.folder)).quantization
    assert again.configured(Q) == first.configured(Q) == Scheme(*PRESETS[preset])
    tiny.method["config_groups"] = {preset: ["re:.*mlp"]}
    assert parse(tiny.method).configured(Q) is None and parse(tiny.method).configured(UP) is not None


@pytest.mark.parametrize("targets", [[3], ["Linear", None]])
def test_a_preset_of_no_names(refuses: Refuses, tiny: Damaged, targets: list[Any]) -> None:
    tiny.method["config_groups"] = {"FP8_DYNAMIC": targets}
    refuses(tiny.save_config(), "config.json", "FP8_DYNAMIC")


def test_block_structure_of_older_writers(opens: Opens, tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model", BLOCK)
    set_path(tiny.method, f"{G}.weights.block_structure", "128x128")
    opens(tiny.save_config())


BLOCKS_AND_GROUPS = [
    ("weights.block_structure", [64, 128]),
    ("weights.block_structure", [128]),
    ("weights.block_structure", "128"),
    ("weights.block_structure", None),
    ("weights.group_size", 128),
    ("weights.dynamic", True),
    ("weights.strategy", "channel"),
    ("input_activations.group_size", 64),
    ("input_activations.group_size", None),
    ("input_activations.group_size", -1),
    ("input_activations.dynamic", False),
    ("input_activations.block_structure", [128, 128]),
]


@pytest.mark.parametrize(("path", "value"), BLOCKS_AND_GROUPS)
def test_other_blocks_and_groups_are_unsupported(unsupported: Refuses, tmp_path: Path, path: str, value: Any) -> None:
    tiny = Damaged(tmp_path / "model", BLOCK)
    set_path(tiny.method, f"{G}.{path}", value)
    unsupported(tiny.save_config(), "config.json", path.partition(".")[0])


@pytest.mark.parametrize(
    ("scheme", "args"),
    [
        (BLOCK, {"strategy": "token", "group_size": None}),
        (BLOCK, {"strategy": "tensor", "group_size": None, "dynamic": False}),
        ("channel_token", {"strategy": "group", "group_size": 128}),
        ("tensor_static", {"strategy": "group", "group_size": 128, "dynamic": True}),
    ],
)
def test_blocks_go_with_groups_alone(unsupported: Refuses, tmp_path: Path, scheme: str, args: dict[str, Any]) -> None:
    tiny = Damaged(tmp_path / "model", scheme)
    tiny.method["config_groups"]["group_0"]["input_activations"] |= args
    unsupported(tiny.save_config(), "config.json", "input_activations")


def test_autofp8_with_an_fp8_cache() -> None:
    base = {"quant_method": "fp8", "activation_scheme": "static"}
    caches = [parse(base | {"kv_cache_scheme": value}).kv_cache for value in (None, "static")]
    assert caches == ["bfloat16", "float8_e4m3fn"]


def test_autofp8_spellings() -> None:
    base = {"quant_method": "fp8", "activation_scheme": "static"}
    for key in ("ignored_layers", "modules_to_not_convert"):
        config = parse(base | {key: [Q, "lm_head"]})
        assert config.configured(Q) is None and config.configured(UP) == Scheme("tensor", "static")
    assert parse(base).configured(Q) == Scheme("tensor", "static")


def set_path(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        values = values[parent]
    values[last] = value


UNSUPPORTED = [
    ("quant_method", "awq"),
    ("format", "pack-quantized"),
    ("format", "int-quantized"),
    ("format", "dense"),
    ("format", "nvfp4-pack-quantized"),
    ("quantization_status", "frozen"),
    ("kv_cache_scheme", {"num_bits": 8, "type": "float", "strategy": "attn_head"}),
    ("kv_cache_scheme", {"num_bits": 8, "type": "float", "dynamic": True}),
    ("kv_cache_scheme", {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}),
    ("kv_cache_scheme", {"num_bits": 8}),
    ("kv_cache_scheme", {"num_bits": 4, "type": "float"}),
    ("kv_cache_scheme", {"num_bits": 8, "type": "float", "symmetric": False}),
    ("sparsity_config", {"format": "sparse-24-bitmask"}),
    ("transform_config", {"config_groups": {}}),
    ("config_groups", {"NVFP4": ["Linear"]}),
    (f"{G}.format", "pack-quantized"),
    (f"{G}.weights", None),
    (f"{G}.input_activations", None),
    (f"{G}.output_activations", {"num_bits": 8}),
    (f"{G}.weights.num_bits", 4),
    (f"{G}.weights.type", "int"),
    (f"{G}.weights.symmetric", False),
    (f"{G}.weights.dynamic", True),
    (f"{G}.weights.strategy", "block"),
    (f"{G}.weights.strategy", "group"),
    (f"{G}.weights.block_structure", [128, 128]),
    (f"{G}.weights.group_size", 128),
    (f"{G}.input_activations.strategy", "group"),
    (f"{G}.input_activations.dynamic", "local"),
    (f"{G}.input_activations.dynamic", False),
    (f"{G}.input_activations.strategy", "tensor"),
    (f"{G}.targets", ["re:(?i)linear"]),
    ("ignore", [r"re:(a)\1"]),
]


@pytest.mark.parametrize(("path", "value"), UNSUPPORTED)
def test_unknown_schemes_are_unsupported(unsupported: Refuses, tiny: Damaged, path: str, value: Any) -> None:
    set_path(tiny.config["quantization_config"], path, value)
    unsupported(tiny.save_config(), "config.json", path.split(".")[-1] if path != "config_groups" else "NVFP4")


WRONG = [
    ("config_groups", None),
    ("config_groups", {}),
    ("config_groups", []),
    (G, 3),
    ("quant_method", 8),
    ("format", None),
    ("format", 8),
    ("ignore", "lm_head"),
    ("ignore", [3]),
    (f"{G}.targets", "Linear"),
    (f"{G}.weights", "fp8"),
    (f"{G}.weights.num_bits", "8"),
    (f"{G}.weights.num_bits", 8.0),
    (f"{G}.weights.type", 8),
    (f"{G}.weights.symmetric", 1),
    (f"{G}.weights.strategy", 1),
]


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_values_of_wrong_type(refuses: Refuses, tiny: Damaged, path: str, value: Any) -> None:
    set_path(tiny.config["quantization_config"], path, value)
    refuses(tiny.save_config(), "config.json", path.split(".")[-1])


@pytest.mark.parametrize(
    ("key", "value"),
    [("activation_scheme", "dynamic"), ("weight_block_size", [128, 128]), ("kv_cache_scheme", "dynamic")],
)
def test_other_autofp8_is_unsupported(unsupported: Refuses, tmp_path: Path, key: str, value: Any) -> None:
    tiny = Damaged(tmp_path / "model", "autofp8_static")
    tiny.config["quantization_config"][key] = value
    unsupported(tiny.save_config(), "config.json", key)


@pytest.mark.parametrize("value", [None, 3])
def test_autofp8_without_activation_scheme(refuses: Refuses, tmp_path: Path, value: Any) -> None:
    tiny = Damaged(tmp_path / "model", "autofp8_static")
    tiny.config["quantization_config"]["activation_scheme"] = value
    refuses(tiny.save_config(), "config.json", "activation_scheme")


@pytest.mark.parametrize("value", [[], "fp8", 3])
def test_config_that_is_no_object(refuses: Refuses, tiny: Damaged, value: Any) -> None:
    tiny.config["quantization_config"] = value
    refuses(tiny.save_config(), "quantization_config")


def test_config_that_says_nothing(refuses: Refuses, tiny: Damaged) -> None:
    tiny.config["quantization_config"] = {"activation_scheme": "static"}
    refuses(tiny.save_config(), "quant_method")
