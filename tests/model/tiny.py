# SPDX-License-Identifier: Apache-2.0
"""Tiny Llama checkpoints with random weights, one for each scheme that fp8ref reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from fp8ref.checkpoint import write_checkpoint
from fp8ref.checkpoint.quantize import quantization_config
from fp8ref.golden.quantize import quantize

Tensors = dict[str, Any]

SCHEMES = ("bf16", "channel_token", "tensor_static", "autofp8_static", "channel_static", "tensor_token", "mixed")

CONFIG: dict[str, Any] = {
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

IGNORED = ("model.layers.0.self_attn.o_proj", "model.layers.1.mlp.up_proj")  # of the scheme "mixed"


def bf16(values: Any) -> Any:
    """bfloat16 of float32 values."""
    return np.asarray(values, np.float32).astype(ml_dtypes.bfloat16)


def bf16_tensors(config: dict[str, Any], seed: int = 0) -> Tensors:
    """Random bf16 weights under Hugging Face's names; activations keep a size near 1 through the layers."""
    random = np.random.default_rng(seed)
    h, wide, d = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    shapes = {"self_attn.q_proj": (q, h), "self_attn.k_proj": (kv, h), "self_attn.v_proj": (kv, h)}
    shapes |= {"self_attn.o_proj": (h, q), "mlp.gate_proj": (wide, h), "mlp.up_proj": (wide, h)}
    shapes |= {"mlp.down_proj": (h, wide)}

    def matrix(rows: int, columns: int) -> Any:
        return bf16(random.standard_normal((rows, columns)) / np.sqrt(columns))

    def norm() -> Any:
        return bf16(random.uniform(0.5, 1.5, h))

    tensors = {"model.embed_tokens.weight": bf16(random.standard_normal((config["vocab_size"], h)))}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for path, shape in shapes.items():
            tensors[f"{prefix}{path}.weight"] = matrix(*shape)
            half = "attention_bias" if path.startswith("self_attn") else "mlp_bias"
            if config.get(half):
                tensors[f"{prefix}{path}.bias"] = bf16(random.standard_normal(shape[0]) / 4)
        tensors[f"{prefix}input_layernorm.weight"] = norm()
        tensors[f"{prefix}post_attention_layernorm.weight"] = norm()
    tensors["model.norm.weight"] = norm()
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = matrix(config["vocab_size"], h)
    return tensors


def fp8_config(weights: str, activations: str, ignore: tuple[str, ...] = ()) -> dict[str, Any]:
    """A compressed-tensors config; ``activations`` is token or static."""
    config = quantization_config()
    group = config["config_groups"]["group_0"]
    group["weights"]["strategy"] = weights
    if activations == "static":
        group["input_activations"] |= {"strategy": "tensor", "dynamic": False, "observer": "minmax"}
    config["ignore"] = ["lm_head", *ignore]
    return config


def quantized(config: dict[str, Any], tensors: Tensors, scheme: str) -> tuple[dict[str, Any], Tensors]:
    """config.json and tensors of a scheme, from those of bf16."""
    if scheme == "bf16":
        return config, tensors
    weights, _, activations = scheme.replace("mixed", "channel_token").partition("_")
    ignore = IGNORED if scheme == "mixed" else ()
    method = fp8_config(weights, activations, ignore)
    if weights == "autofp8":
        method = {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}
    out: Tensors = {}
    for name, tensor in tensors.items():
        module = name.removesuffix(".weight")
        out[name] = tensor
        if not module.endswith("_proj") or module in ignore or not name.endswith(".weight"):
            continue
        rules = {"autofp8": "autofp8.per_tensor"}
        codes, scale = quantize(tensor, rules.get(weights, f"compressed_tensors.{weights}"))
        out[name] = codes
        # AutoFP8 stores float32 of shape []; compressed-tensors bf16 of shape [1] or [out, 1].
        plain = weights == "autofp8"
        out[f"{module}.weight_scale"] = scale if plain else bf16(scale.reshape(-1, *scale.shape[1:]))
        if activations == "static":
            out[f"{module}.input_scale"] = np.float32(1 / 96) if plain else bf16([1 / 96])
    return {**config, "quantization_config": method}, out


def write_tiny(folder: Path, scheme: str = "channel_token", seed: int = 0, **changes: Any) -> Path:
    """Write a tiny checkpoint; ``changes`` go into config.json (None removes a key)."""
    config = {key: value for key, value in {**CONFIG, **changes}.items() if value is not None}
    write_checkpoint(folder, *quantized(config, bf16_tensors(config, seed), scheme))
    return folder
