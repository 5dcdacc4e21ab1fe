# SPDX-License-Identifier: Apache-2.0
"""config.json in its old and new spellings, and values of wrong type or range. [CKPT-VALUES] to [CKPT-EOS]"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkpoint.damage import Damaged
from fp8ref.checkpoint import Checkpoint
from fp8ref.checkpoint.config import llama_config
from fp8ref.checkpoint.strict_json import Section
from fp8ref.golden.llama import LlamaConfig, RopeScaling

Refuses = Callable[..., None]

LLAMA3 = {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
SCALING = RopeScaling(**LLAMA3)  # type: ignore[arg-type]


def parse(values: dict[str, Any], generation: dict[str, Any] | None = None) -> LlamaConfig:
    """The config of ``values`` with the model type added."""
    return llama_config(
        Section("config.json", {"model_type": "llama", **values}), Section("generation", generation or {})
    )


def test_defaults() -> None:
    assert parse({}) == LlamaConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        head_dim=128,
        max_position_embeddings=2048,
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        eos_token_ids=(2,),
    )


@pytest.mark.parametrize(
    "values",
    [
        {"rope_theta": 500000.0, "rope_scaling": LLAMA3 | {"rope_type": "llama3"}},
        {"rope_theta": 500000, "rope_scaling": LLAMA3 | {"type": "llama3"}},
        {"rope_parameters": LLAMA3 | {"rope_type": "llama3", "rope_theta": 500000.0}},
        {"rope_parameters": LLAMA3 | {"rope_type": "llama3"}, "rope_theta": 500000.0},
        {"rope_parameters": LLAMA3 | {"rope_type": "llama3", "type": "x", "rope_theta": 5e5}, "rope_theta": 1.0},
        {"rope_parameters": None, "rope_theta": 5e5, "rope_scaling": LLAMA3 | {"rope_type": "llama3"}},
    ],
)
def test_spellings_of_rope(values: dict[str, Any]) -> None:
    config = parse(values)
    assert (config.rope_theta, config.rope_scaling) == (500000.0, SCALING)


@pytest.mark.parametrize(
    "values",
    [{}, {"rope_scaling": None}, {"rope_scaling": {"type": "default"}}, {"rope_parameters": {"rope_type": "default"}}],
)
def test_rope_without_scaling(values: dict[str, Any]) -> None:
    assert parse(values).rope_scaling is None


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        ({"eos_token_id": 7}, {}, (7,)),
        ({"eos_token_id": [7, 8]}, {}, (7, 8)),
        ({"eos_token_id": 7}, {"eos_token_id": [8, 9]}, (8, 9)),
        ({"eos_token_id": 7}, {"eos_token_id": None}, (7,)),
        ({"eos_token_id": None}, {}, ()),
        ({}, {"eos_token_id": 5}, (5,)),
        ({}, {}, (2,)),
        ({"vocab_size": 2}, {}, ()),
    ],
)
def test_spellings_of_eos(config: dict[str, Any], generation: dict[str, Any], expected: tuple[int, ...]) -> None:
    assert parse(config, generation).eos_token_ids == expected


@pytest.mark.parametrize("key", ["torch_dtype", "dtype"])
def test_spellings_of_dtype(opens: Callable[[Path], object], tiny: Damaged, key: str) -> None:
    tiny.config.pop("torch_dtype")
    tiny.config[key] = "bfloat16"
    opens(tiny.save_config())


def test_architectures_stand_in_for_the_model_type(opens: Callable[[Path], object], tiny: Damaged) -> None:
    del tiny.config["model_type"]
    opens(tiny.save_config())


def test_head_dim_from_hidden_size(tiny: Damaged) -> None:
    tiny.config["head_dim"] = None
    config = Checkpoint(tiny.save_config())
    assert llama_config(config.config, config.generation_config).head_dim == 8


INTEGERS = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"]
INTEGERS += ["num_key_value_heads", "max_position_embeddings"]


@pytest.mark.parametrize("key", INTEGERS)
@pytest.mark.parametrize("value", [0, -1, 2**31, 2**64, 1.0, 1.5, "4", True, [4], {}])
def test_sizes_of_wrong_type_or_range(refuses: Refuses, tiny: Damaged, key: str, value: Any) -> None:
    tiny.config[key] = value
    refuses(tiny.save_config(), "config.json", key)


@pytest.mark.parametrize("key", ["rms_norm_eps", "rope_theta"])
@pytest.mark.parametrize("value", [0, -1e-5, 1e-50, 1e39, "1e-5", True, [1.0]])
def test_numbers_of_wrong_type_or_range(refuses: Refuses, tiny: Damaged, key: str, value: Any) -> None:
    tiny.config[key] = value
    refuses(tiny.save_config(), "config.json", key)


def test_a_number_beyond_float64(refuses: Refuses, tiny: Damaged) -> None:
    text = (tiny.folder / "config.json").read_text().replace('"rope_theta": 10000.0', '"rope_theta": 1e999')
    (tiny.folder / "config.json").write_text(text)
    refuses(tiny.folder, "config.json")


@pytest.mark.parametrize("key", ["tie_word_embeddings", "attention_bias", "mlp_bias"])
@pytest.mark.parametrize("value", [0, 1, "true", []])
def test_switches_of_wrong_type(refuses: Refuses, tiny: Damaged, key: str, value: Any) -> None:
    tiny.config[key] = value
    refuses(tiny.save_config(), "config.json", key)


@pytest.mark.parametrize("value", [-1, 80, 1.0, "2", True, [2, 80], [None], [[2]], {}])
def test_eos_of_wrong_type_or_range(refuses: Refuses, tiny: Damaged, value: Any) -> None:
    tiny.config["eos_token_id"] = value
    refuses(tiny.save_config(), "config.json", "eos_token_id")


def test_eos_of_generation_config_is_checked(refuses: Refuses, tiny: Damaged) -> None:
    (tiny.folder / "generation_config.json").write_text('{"eos_token_id": 80}')
    refuses(tiny.folder, "generation_config.json", "eos_token_id")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("factor", 0),
        ("factor", None),
        ("low_freq_factor", 5.0),
        ("high_freq_factor", -1.0),
        ("original_max_position_embeddings", 0),
        ("original_max_position_embeddings", 1.5),
        ("rope_type", 3),
    ],
)
def test_rope_scaling_of_wrong_type_or_range(refuses: Refuses, tiny: Damaged, key: str, value: Any) -> None:
    tiny.config["rope_scaling"] = LLAMA3 | {"rope_type": "llama3"} | {key: value}
    refuses(tiny.save_config(), "config.json", f"rope_scaling.{key}")


def test_numbers_that_do_not_fit_together(refuses: Refuses, tiny: Damaged) -> None:
    tiny.config["num_key_value_heads"] = 4
    refuses(tiny.save_config(), "num_key_value_heads")


def test_head_dim_is_even(refuses: Refuses, tiny: Damaged) -> None:
    tiny.config["head_dim"] = 7
    refuses(tiny.save_config(), "head_dim")


@pytest.mark.parametrize("value", [[], "yarn", 3, True])
def test_objects_of_wrong_type(refuses: Refuses, tiny: Damaged, value: Any) -> None:
    tiny.config["rope_scaling"] = value
    refuses(tiny.save_config(), "config.json", "rope_scaling")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "qwen2"),
        ("model_type", "llama4_vision_model"),
        ("hidden_act", "gelu"),
        ("max_position_embeddings", 2**24 + 1),
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("rope_scaling", {"rope_type": "yarn", "factor": 2.0}),
        ("partial_rotary_factor", 0.5),
    ],
)
def test_other_models_are_unsupported(unsupported: Refuses, tiny: Damaged, key: str, value: Any) -> None:
    tiny.config[key] = value
    unsupported(tiny.save_config(), "config.json", key)


def test_other_architectures_are_unsupported(unsupported: Refuses, tiny: Damaged) -> None:
    del tiny.config["model_type"]
    tiny.config["architectures"] = ["Qwen2ForCausalLM"]
    unsupported(tiny.save_config(), "architectures")
