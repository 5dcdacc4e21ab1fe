# SPDX-License-Identifier: Apache-2.0
"""config.json of Llama 4 and Mllama: defaults, spellings, and values of wrong type, range or length. [CKPT-MODEL],
[CKPT-LLAMA4], [CKPT-MLLAMA]
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkpoint.damage import Damaged
from fp8ref.checkpoint.config import llama_config
from fp8ref.checkpoint.families import DEFAULTS
from fp8ref.checkpoint.strict_json import Section
from fp8ref.errors import CheckpointError
from fp8ref.golden.llama import LayerKind, LlamaConfig, MoeConfig, Temperature
from model.tiny import write_tiny
from model.tiny_families import ARCHITECTURES, MODELS, NAMES

Refuses = Callable[..., None]
Opens = Callable[[Path], object]

TEMPERATURE = Temperature(8192, 0.1)
CROSS = LayerKind("cross", rope="none", qk_norm="weighted")


def parse(values: dict[str, Any]) -> LlamaConfig:
    return llama_config(Section("config.json", values), Section("generation", {}))


@pytest.mark.hf
@pytest.mark.parametrize(("family", "name"), [("llama", "Llama"), ("llama4", "Llama4Text"), ("mllama", "MllamaText")])
def test_defaults_are_those_of_transformers(family: str, name: str) -> None:
    config = getattr(pytest.importorskip("transformers"), f"{name}Config")()
    for key, value in DEFAULTS[family].items():
        found = config.rope_parameters[key] if key == "rope_theta" else getattr(config, key)
        assert value == (tuple(found) if isinstance(found, list) else found), key


def llama4(**values: Any) -> LlamaConfig:
    """A Llama 4 of these text keys."""
    return parse({"model_type": "llama4", "text_config": values})


def mllama(**values: Any) -> LlamaConfig:
    """A Mllama of these text keys."""
    return parse({"model_type": "mllama", "text_config": values})


def test_defaults_of_llama4() -> None:
    assert llama4() == LlamaConfig(
        vocab_size=202048,
        hidden_size=5120,
        intermediate_size=16384,
        num_hidden_layers=48,
        num_attention_heads=40,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        eos_token_ids=(2,),
        family="llama4",
        moe=MoeConfig(16, 1, 8192, range(48)),
        no_rope_layers=range(3, 48, 4),
        attention_chunk_size=8192,
        qk_norm="weightless",
        temperature=TEMPERATURE,
    )


def test_defaults_of_mllama() -> None:
    assert mllama() == LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=40,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        eos_token_ids=(128001,),
        family="mllama",
        embedding_rows=128264,
        cross_attention_layers=(3, 8, 13, 18, 23, 28, 33, 38),
    )


@pytest.mark.parametrize("text", ["llama4_text", "mllama_text_model"])
def test_a_text_model_has_its_keys_at_the_top(text: str) -> None:
    family = text.partition("_")[0]
    nested = parse({"model_type": family, "text_config": {"hidden_size": 640}})
    assert parse({"model_type": text, "hidden_size": 640}) == nested
    architecture = ARCHITECTURES[family].replace("ConditionalGeneration", "CausalLM")
    assert parse({"architectures": [architecture], "hidden_size": 640}) == nested
    by_architecture = {"architectures": [ARCHITECTURES[family]], "text_config": {"hidden_size": 640}}
    assert parse(by_architecture) == nested


def test_tied_embeddings_are_looked_up_in_both_places() -> None:
    for values in (
        {"text_config": {"tie_word_embeddings": True}},
        {"text_config": {}, "tie_word_embeddings": True},
        {"text_config": {"tie_word_embeddings": True}, "tie_word_embeddings": False},
    ):
        assert parse({"model_type": "llama4", **values}).tie_word_embeddings
    both = {"text_config": {"tie_word_embeddings": False}, "tie_word_embeddings": True}
    assert not parse({"model_type": "llama4", **both}).tie_word_embeddings


@pytest.mark.parametrize(
    ("values", "moe"),
    [
        ({"num_hidden_layers": 5, "interleave_moe_layer_step": 2}, [1, 3]),
        ({"num_hidden_layers": 5, "interleave_moe_layer_step": 6}, []),
        ({"num_hidden_layers": 5, "moe_layers": [4, 0]}, [0, 4]),
        ({"num_hidden_layers": 5, "moe_layers": []}, []),
        ({"num_hidden_layers": 5, "moe_layers": [2], "interleave_moe_layer_step": 1}, [2]),
        ({"num_hidden_layers": 5, "moe_layers": None}, [0, 1, 2, 3, 4]),
    ],
)
def test_layers_with_experts(values: dict[str, Any], moe: list[int]) -> None:
    config = llama4(**values)
    assert [i for i in range(5) if config.layer(i).mlp == "moe"] == moe


@pytest.mark.parametrize(
    ("values", "without"),
    [
        ({}, [3]),
        ({"no_rope_layers": None}, [3]),
        ({"no_rope_layers": []}, [3]),
        ({"no_rope_layers": [1, 0, 0, 1, 1]}, [1, 2]),
        ({"no_rope_layers": [1, 1, 1, 1, 1]}, []),
        ({"no_rope_layer_interval": 2}, [1, 3]),
        ({"no_rope_layer_interval": 1}, [0, 1, 2, 3, 4]),
        ({"no_rope_layers": [0, 1, 1, 1, 1], "no_rope_layer_interval": 2}, [0]),
        ({"layer_types": ["chunked_attention"] * 3 + ["full_attention", "chunked_attention"]}, [3]),
    ],
)
def test_layers_without_rope(values: dict[str, Any], without: list[int]) -> None:
    config = llama4(num_hidden_layers=5, **values)
    kinds = [config.layer(i) for i in range(5)]
    assert [i for i, kind in enumerate(kinds) if kind.rope == "none"] == without
    for kind in kinds:
        if kind.rope == "none":
            assert kind == LayerKind(rope="none", temperature=TEMPERATURE, mlp="moe")
        else:
            assert kind == LayerKind(rope="interleaved", chunk=8192, qk_norm="weightless", mlp="moe")


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"attention_chunk_size": None}, "attention_chunk_size", None),
        ({"attention_chunk_size": 16}, "attention_chunk_size", 16),
        ({"use_qk_norm": False}, "qk_norm", "none"),
        ({"use_qk_norm": None}, "qk_norm", "weightless"),
        ({"attn_temperature_tuning": 4}, "temperature", TEMPERATURE),
        ({"attn_temperature_tuning": True}, "temperature", TEMPERATURE),
        ({"attn_temperature_tuning": 0}, "temperature", None),
        ({"attn_temperature_tuning": False}, "temperature", None),
        ({"floor_scale": 8, "attn_scale": 0.5}, "temperature", Temperature(8, 0.5)),
        ({"attention_bias": True, "mlp_bias": True}, "attention_bias", True),
        ({"attention_bias": True, "mlp_bias": True}, "mlp_bias", False),
    ],
)
def test_numbers_of_llama4(values: dict[str, Any], field: str, expected: Any) -> None:
    assert getattr(llama4(**values), field) == expected


def test_layers_of_mllama() -> None:
    config = mllama(num_hidden_layers=4, cross_attention_layers=[3, 1], attention_bias=True, mlp_bias=True)
    assert [config.layer(i) for i in range(4)] == [LayerKind(), CROSS, LayerKind(), CROSS]
    assert not config.attention_bias and not config.mlp_bias and config.token_ids == config.vocab_size + 8


@pytest.mark.parametrize("model_type", ["llama4", "mllama"])
def test_layers_are_not_built_by_an_untrusted_number(model_type: str) -> None:
    """A list for each of 2^31 - 1 layers would not fit into memory."""
    config = parse({"model_type": model_type, "text_config": {"num_hidden_layers": 2**31 - 1}})
    assert config.layer(2**31 - 2).attention == "self"


@pytest.mark.parametrize("key", ["no_rope_layers", "layer_types", "moe_layers"])
def test_a_list_for_other_layers_is_refused_before_it_is_built(key: str) -> None:
    values = {"no_rope_layers": [1], "layer_types": ["chunked_attention"], "moe_layers": [2**31 - 1]}
    with pytest.raises(CheckpointError, match=f"text_config.{key} "):
        llama4(num_hidden_layers=2**31 - 1, **{key: values[key]})


@pytest.mark.parametrize(("model", "layers"), [("scout", 3), ("maverick", 4), ("mllama", 4)])
def test_more_layers_than_tensors(refuses: Refuses, tmp_path: Path, model: str, layers: int) -> None:
    tiny = Damaged(tmp_path / "model", model=model)
    tiny.text.update(num_hidden_layers=2**31 - 1, no_rope_layers=[])
    refuses(tiny.save_config(), f"model.layers.{layers}.")


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("model", MODELS[1:])
def test_every_model_opens(opens: Opens, tmp_path: Path, model: str, names: str) -> None:
    opens(write_tiny(tmp_path / "model", model=model, names=names))


@pytest.fixture
def scout(tmp_path: Path) -> Damaged:
    return Damaged(tmp_path / "model", model="scout")


@pytest.fixture
def vision(tmp_path: Path) -> Damaged:
    return Damaged(tmp_path / "model", model="mllama")


WRONG_LLAMA4 = [
    *((key, value) for key in ("intermediate_size_mlp", "intermediate_size") for value in (0, 2**31, "8", True)),
    *((key, value) for key in ("num_local_experts", "num_experts_per_tok") for value in (0, 2**20 + 1, 1.0, [1])),
    ("num_experts_per_tok", 5),  # of 4
    *(("moe_layers", value) for value in (3, [3], [-1], [1.0], [True], ["1"], {})),
    *(("interleave_moe_layer_step", value) for value in (0, -1, 1.5, "2")),
    *(("no_rope_layers", value) for value in ([1, 1], [1, 1, 1, 0], [1, 1, 2], [1, 1, True], [1, 1, None], "110", 3)),
    *(("no_rope_layer_interval", value) for value in (0, -4, 2.5)),
    *(("layer_types", value) for value in ([], ["chunked_attention"] * 2, [1, 1, 0], "full_attention")),
    *(("attention_chunk_size", value) for value in (0, -1, 2**24 + 1, 4.0, "4", True)),
    *(("use_qk_norm", value) for value in (1, 0, "true", [])),
    *(("attn_temperature_tuning", value) for value in (4.0, "4", [])),
    *((key, value) for key in ("floor_scale", "attn_scale") for value in (0, -0.1, 1e39, 1e-50, "8", True)),
    ("attention_bias", 1),
    ("tie_word_embeddings", "no"),
    ("eos_token_id", 80),
    ("vocab_size", 0),
]


@pytest.mark.parametrize(("key", "value"), WRONG_LLAMA4)
def test_llama4_of_wrong_type_or_range(refuses: Refuses, scout: Damaged, key: str, value: Any) -> None:
    scout.text[key] = value
    refuses(scout.save_config(), "config.json", f"text_config.{key}")


@pytest.mark.parametrize(
    "value",
    [
        ["chunked_attention"] * 3,
        ["full_attention"] * 3,
        ["chunked_attention", "chunked_attention", "sliding_attention"],
    ],
)
def test_layer_types_that_contradict(unsupported: Refuses, scout: Damaged, value: list[str]) -> None:
    scout.text["layer_types"] = value
    unsupported(scout.save_config(), "config.json", "text_config.layer_types")


@pytest.mark.parametrize("value", [4, [4], [-1], [1, 1], [1.0], [True], "1", {"1": 3}])
def test_cross_attention_layers_of_wrong_type_or_range(refuses: Refuses, vision: Damaged, value: Any) -> None:
    vision.text["cross_attention_layers"] = value
    refuses(vision.save_config(), "config.json", "text_config.cross_attention_layers")


def test_default_cross_attention_layers_must_exist(refuses: Refuses, vision: Damaged) -> None:
    del vision.text["cross_attention_layers"]
    refuses(vision.save_config(), "config.json", "text_config.cross_attention_layers")


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("text", "hidden_act", "gelu"),
        ("text", "hidden_activation", "gelu"),
        ("text", "model_type", "llama"),
        ("text", "tie_word_embeddings", True),
        ("config", "tie_word_embeddings", True),
        ("text", "rope_scaling", {"rope_type": "yarn"}),
        ("config", "model_type", "mllama_vision_model"),
    ],
)
def test_other_mllamas_are_unsupported(unsupported: Refuses, vision: Damaged, place: str, key: str, value: Any) -> None:
    vision.text.pop("tie_word_embeddings")
    getattr(vision, place)[key] = value
    unsupported(vision.save_config(), "config.json", key)


@pytest.mark.parametrize("value", [None, [], 3, "text"])
def test_text_config_must_be_an_object(refuses: Refuses, scout: Damaged, value: Any) -> None:
    scout.config["text_config"] = value
    refuses(scout.save_config(), "config.json", "text_config")


def test_text_config_of_another_model(unsupported: Refuses, scout: Damaged) -> None:
    scout.text["model_type"] = "mllama_text_model"
    unsupported(scout.save_config(), "config.json", "text_config.model_type")
