# SPDX-License-Identifier: Apache-2.0
"""The five checkpoints of the cards, with every key of their config.json and every name of their ignore lists.

Only numbers are smaller: of layers, experts, sizes and token ids. The names in ``ignore`` are those of the full models.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fp8ref.checkpoint import write_checkpoint
from model.tiny import bf16, bf16_tensors, quantized
from model.tiny_families import spelled

Values = dict[str, Any]

QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
GATED = ("gate_proj", "up_proj", "down_proj")
SIZES: Values = {"vocab_size": 80, "hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 2}
EOS = [77, 78, 79]
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def _args(strategy: str, dynamic: bool, observer: str | None) -> Values:
    """As compressed-tensors wrote them in 2024 and 2025."""
    return {
        "actorder": None,
        "block_structure": None,
        "dynamic": dynamic,
        "group_size": None,
        "num_bits": 8,
        "observer": observer,
        "observer_kwargs": {},
        "strategy": strategy,
        "symmetric": True,
        "type": "float",
    }


def _dynamic(observer: str, ignore: list[str], **keys: Any) -> Values:
    """FP8_DYNAMIC."""
    group = {
        "input_activations": _args("token", True, None),
        "output_activations": None,
        "targets": ["Linear"],
        "weights": _args("channel", False, observer),
    }
    method = {
        "config_groups": {"group_0": group},
        "format": "float-quantized",
        "global_compression_ratio": None,
        "ignore": ignore,
        "kv_cache_scheme": None,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
    }
    return method | keys


def _llama(**keys: Any) -> Values:
    return SIZES | {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 76,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "intermediate_size": 72,
        "mlp_bias": False,
        "model_type": "llama",
        "num_hidden_layers": 2,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        **keys,
    }


def llama_3_8b() -> Values:
    """neuralmagic/Meta-Llama-3-8B-Instruct-FP8: AutoFP8."""
    method = {"activation_scheme": "static", "ignored_layers": ["lm_head"], "quant_method": "fp8"}
    return _llama(
        eos_token_id=79,
        max_position_embeddings=8192,
        rope_scaling=None,
        transformers_version="4.40.0.dev0",
        quantization_config=method,
    )


def llama_31_8b() -> Values:
    """JongYeop/Llama-3.1-8B-Instruct-FP8-W8A8-Dynamic-Per-Token: llm-compressor."""
    return _llama(
        eos_token_id=EOS,
        head_dim=8,
        max_position_embeddings=131072,
        rope_scaling=LLAMA3 | {"factor": 8.0, "rope_type": "llama3"},
        transformers_version="4.47.0",
        quantization_config=_dynamic("minmax", ["lm_head"]),
    )


def _vision(path: str, layers: int) -> list[str]:
    """Linear layers of a vision tower."""
    names = [*(f"self_attn.{name}" for name in QKVO), "mlp.fc1", "mlp.fc2"]
    return [f"vision_model.{path}.{layer}.{name}" for layer in range(layers) for name in names]


def mllama_ignore() -> list[str]:
    """242 names."""
    towers = _vision("transformer.layers", 32) + _vision("global_transformer.layers", 8)
    return [*towers, "multi_modal_projector", "language_model.lm_head"]


def llama_32_11b_vision() -> Values:
    """neuralmagic/Llama-3.2-11B-Vision-Instruct-FP8-dynamic: an early llm-compressor (``compression_config``)."""
    text = SIZES | {
        "_name_or_path": "",
        "add_cross_attention": False,
        "architectures": None,
        "bos_token_id": 76,
        "cross_attention_layers": [3],
        "dropout": 0,
        "eos_token_id": EOS,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "intermediate_size": 72,
        "max_position_embeddings": 131072,
        "model_type": "mllama_text_model",
        "num_hidden_layers": 5,
        "pad_token_id": 75,
        "rms_norm_eps": 1e-05,
        "rope_scaling": LLAMA3 | {"factor": 8.0, "rope_type": "llama3"},
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }
    sparsity = {"format": "dense", "global_sparsity": 0.14, "ignore": [], "targets": []}
    sparsity |= {"registry_requires_subclass": False, "sparsity_structure": "unstructured"}
    return {
        "architectures": ["MllamaForConditionalGeneration"],
        "compression_config": _dynamic("minmax", mllama_ignore(), sparsity_config=sparsity),
        "image_token_index": 80,
        "model_type": "mllama",
        "text_config": text,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.45.0",
        "vision_config": {"hidden_size": 1280, "model_type": "mllama_vision_model", "num_hidden_layers": 32},
    }


def _llama4(**keys: Any) -> Values:
    """config.json of a Llama 4, but for its quantization."""
    text = SIZES | {
        "_attn_implementation_autoset": True,
        "attention_bias": False,
        "attention_chunk_size": 8192,
        "attention_dropout": 0.0,
        "attn_scale": 0.1,
        "attn_temperature_tuning": 4,
        "bos_token_id": 76,
        "eos_token_id": EOS,
        "floor_scale": 8192,
        "for_llm_compressor": False,
        "head_dim": 8,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "interleave_moe_layer_step": 1,
        "intermediate_size": 32,
        "intermediate_size_mlp": 40,
        "max_position_embeddings": 10485760,
        "model_type": "llama4_text",
        "no_rope_layers": [],
        "num_experts_per_tok": 1,
        "num_hidden_layers": 4,
        "num_local_experts": 4,
        "output_router_logits": False,
        "pad_token_id": 75,
        "rms_norm_eps": 1e-05,
        "rope_scaling": LLAMA3 | {"factor": 16.0, "high_freq_factor": 1.0, "rope_type": "llama3"},
        "rope_theta": 500000.0,
        "router_aux_loss_coef": 0.001,
        "router_jitter_noise": 0.0,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_qk_norm": True,
        **keys,
    }
    return {
        "architectures": ["Llama4ForConditionalGeneration"],
        "boi_token_index": 70,
        "eoi_token_index": 71,
        "image_token_index": 72,
        "model_type": "llama4",
        "text_config": text,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.52.0.dev0",
        "vision_config": {"hidden_size": 1408, "model_type": "llama4_vision_model", "num_hidden_layers": 34},
    }


def _llama4_ignore(routers: range, dense: range, shared: range) -> list[str]:
    """What a Llama 4 leaves alone: the vision side, lm_head, attention, and the layers given."""
    ends = ("patch_embedding.linear", "vision_adapter.mlp.fc1", "vision_adapter.mlp.fc2")
    names = [*_vision("model.layers", 34), *(f"vision_model.{end}" for end in ends), "multi_modal_projector.linear_1"]
    layer = "language_model.model.layers"
    names += [f"{layer}.{i}.self_attn.{name}" for i in range(48) for name in QKVO]
    names += [f"{layer}.{i}.feed_forward.router" for i in routers]
    names += [f"{layer}.{i}.feed_forward.{name}" for i in dense for name in GATED]
    names += [f"{layer}.{i}.feed_forward.shared_expert.{name}" for i in shared for name in GATED]
    return [*names, "language_model.lm_head"]


def scout_ignore() -> list[str]:
    """449 names."""
    return _llama4_ignore(range(48), range(0), range(0))


def scout() -> Values:
    """RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic: llm-compressor, observer mse."""
    later = {"sparsity_config": {}, "transform_config": {}, "version": "0.9.3"}
    return _llama4() | {"quantization_config": _dynamic("mse", scout_ignore(), **later)}


def maverick_ignore() -> list[str]:
    """569 names: only the routed experts are FP8."""
    return _llama4_ignore(range(1, 48, 2), range(0, 48, 2), range(1, 48, 2))


def maverick() -> Values:
    """meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8: Meta's converter."""
    keys = {"interleave_moe_layer_step": 2, "max_position_embeddings": 1048576, "num_local_experts": 8}
    keys |= {"rope_scaling": None, "use_qk_norm": False, "for_llm_compressor": True}
    return _llama4(**keys) | {"quantization_config": _dynamic("minmax", maverick_ignore())}


CARDS: dict[str, Callable[[], Values]] = {
    "llama_3_8b": llama_3_8b,
    "llama_31_8b": llama_31_8b,
    "llama_32_11b_vision": llama_32_11b_vision,
    "scout": scout,
    "maverick": maverick,
}
SCHEMES = {"llama_3_8b": "autofp8_static", "scout": "mse_token"}


def method_of(config: Values) -> Values:
    """The quantization config."""
    found: Values = config.get("quantization_config") or config["compression_config"]
    return found


def write_card(folder: Path, card: str) -> Path:
    """Write the small checkpoint: FP8 is what the ignore list does not name."""
    config = CARDS[card]()
    text = config.get("text_config", config)
    names = "old" if "text_config" in config else "plain"
    method = method_of(config)
    ignored = {*method.get("ignore", ()), *method.get("ignored_layers", ())}
    tensors = bf16_tensors(text)
    modules = (name.removesuffix(".weight") for name in tensors)
    alone = tuple(module for module in modules if spelled(module, names) in ignored)
    _, tensors = quantized(text, tensors, SCHEMES.get(card, "channel_token"), alone)
    whole = {spelled(name, names): tensor for name, tensor in tensors.items()}
    if names == "old":
        whole |= {f"{name}.weight": bf16(np.ones((4, 4))) for name in ignored if not name.startswith("language_model")}
    write_checkpoint(folder, config, whole)
    return folder
