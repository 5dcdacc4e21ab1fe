# SPDX-License-Identifier: Apache-2.0
"""Numbers and shapes of the tiny models: one Llama, two Llama 4 as Scout and Maverick are, one Mllama."""

from __future__ import annotations

from typing import Any

Shapes = dict[str, tuple[int, ...]]

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 80,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "eos_token_id": 79,
}

_COMMON = {key: value for key, value in LLAMA.items() if key not in ("architectures", "model_type", "torch_dtype")}

# Chunks and floor_scale are shorter than a prompt; layer 2 has no RoPE.
SCOUT: dict[str, Any] = _COMMON | {
    "model_type": "llama4_text",
    "intermediate_size": 32,
    "intermediate_size_mlp": 40,
    "num_hidden_layers": 3,
    "num_local_experts": 4,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1,
    "no_rope_layers": [1, 1, 0],
    "attention_chunk_size": 4,
    "use_qk_norm": True,
    "attn_temperature_tuning": 4,
    "floor_scale": 4,
    "attn_scale": 0.5,
    "for_llm_compressor": False,
    "dtype": "bfloat16",
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 16.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 1.0,
        "original_max_position_embeddings": 16,
    },
}

# Every second layer is dense.
MAVERICK: dict[str, Any] = SCOUT | {
    "num_hidden_layers": 4,
    "num_local_experts": 8,
    "interleave_moe_layer_step": 2,
    "no_rope_layers": [],
    "use_qk_norm": False,
    "rope_scaling": None,
}

MLLAMA: dict[str, Any] = _COMMON | {
    "model_type": "mllama_text_model",
    "num_hidden_layers": 4,
    "head_dim": None,
    "cross_attention_layers": [1, 3],
    "dtype": "bfloat16",
    "rope_scaling": SCOUT["rope_scaling"] | {"factor": 8.0, "high_freq_factor": 4.0},
}

CONFIGS = {"llama": LLAMA, "scout": SCOUT, "maverick": MAVERICK, "mllama": MLLAMA}
MODELS = tuple(CONFIGS)

# Patterns of what the cards leave in BF16, beside lm_head.
LEFT_ALONE = {
    "llama": (),
    "scout": ("self_attn.",),
    "maverick": ("self_attn.", "feed_forward.gate_", "feed_forward.up_", "feed_forward.down_", "shared_expert."),
    "mllama": (),
}

# What the plain names begin with, in the spellings of the files.
NAMES = {
    "plain": {},
    "old": {"model.": "language_model.model.", "lm_head": "language_model.lm_head"},
    "new": {"model.": "model.language_model."},
}

# What a multimodal file holds besides; none of it is read.
VISION = {
    "llama4": ("vision_model.model.layers.0.self_attn.q_proj.weight", "multi_modal_projector.linear_1.weight"),
    "mllama": ("vision_model.transformer.layers.0.mlp.fc1.weight", "multi_modal_projector.weight"),
}
ARCHITECTURES = {"llama4": "Llama4ForConditionalGeneration", "mllama": "MllamaForConditionalGeneration"}


def multimodal(text: dict[str, Any]) -> dict[str, Any]:
    """config.json around the keys of a text model."""
    family = text["model_type"].partition("_")[0]
    return {
        "architectures": [ARCHITECTURES[family]],
        "model_type": family,
        "text_config": text,
        "vision_config": {"model_type": f"{family}_vision_model", "hidden_size": 16},
        "torch_dtype": "bfloat16",
    }


def spelled(name: str, names: str) -> str:
    """A plain name as a file with these names has it."""
    for first, other in NAMES[names].items():
        if name.startswith(first):
            return other + name.removeprefix(first)
    return name


def moe_layers(text: dict[str, Any]) -> list[int]:
    """The layers with experts."""
    if "num_local_experts" not in text:
        return []
    step = text["interleave_moe_layer_step"]
    listed: list[int] | None = text.get("moe_layers")
    return list(range(step - 1, text["num_hidden_layers"], step)) if listed is None else listed


def gated(path: str, hidden: int, wide: int) -> Shapes:
    """The projections of a gated MLP, (out, in)."""
    names = {"gate_proj": (wide, hidden), "up_proj": (wide, hidden), "down_proj": (hidden, wide)}
    return {f"{path}.{name}": shape for name, shape in names.items()}


def projections(text: dict[str, Any], layer: int) -> Shapes:
    """The projections of a layer below ``model.layers.{i}.``, experts one by one, (out, in)."""
    h, heads = text["hidden_size"], text["num_attention_heads"]
    d = text.get("head_dim") or h // heads
    q, kv = heads * d, text["num_key_value_heads"] * d
    block = "cross_attn" if layer in text.get("cross_attention_layers", ()) else "self_attn"
    names = {"q_proj": (q, h), "k_proj": (kv, h), "v_proj": (kv, h), "o_proj": (h, q)}
    shapes: Shapes = {f"{block}.{name}": shape for name, shape in names.items()}
    if layer in moe_layers(text):
        experts = [f"experts.{e}" for e in range(text["num_local_experts"])]
        for part in ("shared_expert", *experts):
            shapes |= gated(f"feed_forward.{part}", h, text["intermediate_size"])
    elif "intermediate_size_mlp" in text:
        shapes |= gated("feed_forward", h, text["intermediate_size_mlp"])
    else:
        shapes |= gated("mlp", h, text["intermediate_size"])
    return shapes
