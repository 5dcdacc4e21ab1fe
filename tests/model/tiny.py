# SPDX-License-Identifier: Apache-2.0
"""Tiny checkpoints with random weights: each model, scheme and spelling of names that fp8ref reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from fp8ref.checkpoint import write_checkpoint
from fp8ref.checkpoint.quantize import quantization_config
from fp8ref.golden.quantize import quantize

from .tiny_families import CONFIGS, LEFT_ALONE, LLAMA, VISION, moe_layers, multimodal, projections, spelled

Tensors = dict[str, Any]

# "mixed" leaves two projections of the Llama in BF16.
SCHEMES = ("bf16", "channel_token", "tensor_static", "autofp8_static", "channel_static", "tensor_token", "mixed")
BLOCK = "block_group"
BF16_EACH = "bf16_each"  # of a Llama 4: experts one by one, where "bf16" has them fused

CONFIG: dict[str, Any] = LLAMA

IGNORED = ("model.layers.0.self_attn.o_proj", "model.layers.1.mlp.up_proj")  # of the scheme "mixed"

RULES = {
    "channel": "compressed_tensors.channel",
    "tensor": "compressed_tensors.tensor",
    "block": "compressed_tensors.block_128x128",
    "mse": "llm_compressor.mse_channel",
    "autofp8": "autofp8.per_tensor",
}
STRATEGIES = {
    "token": {},
    "static": {"strategy": "tensor", "dynamic": False, "observer": "minmax"},
    "group": {"strategy": "group", "group_size": 128},
}


def bf16(values: Any) -> Any:
    """bfloat16 of float32 values."""
    return np.asarray(values, np.float32).astype(ml_dtypes.bfloat16)


def bf16_tensors(config: dict[str, Any], seed: int = 0) -> Tensors:
    """Random bf16 weights under their plain names; activations keep a size near 1 through the layers."""
    random = np.random.default_rng(seed)
    h, vocab = config["hidden_size"], config["vocab_size"]
    cross = config.get("cross_attention_layers", ())

    def matrix(rows: int, columns: int) -> Any:
        return bf16(random.standard_normal((rows, columns)) / np.sqrt(columns))

    def norm(size: int = h) -> Any:
        return bf16(random.uniform(0.5, 1.5, size))

    rows = vocab + 8 if "cross_attention_layers" in config else vocab
    tensors = {"model.embed_tokens.weight": bf16(random.standard_normal((rows, h)))}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for path, shape in projections(config, layer).items():
            tensors[f"{prefix}{path}.weight"] = matrix(*shape)
            half = "attention_bias" if path.startswith("self_attn") else "mlp_bias"
            if config.get(half):
                tensors[f"{prefix}{path}.bias"] = bf16(random.standard_normal(shape[0]) / 4)
        tensors[f"{prefix}input_layernorm.weight"] = norm()
        tensors[f"{prefix}post_attention_layernorm.weight"] = norm()
        if layer in cross:
            for name in ("q_norm", "k_norm"):
                tensors[f"{prefix}cross_attn.{name}.weight"] = norm(h // config["num_attention_heads"])
            for name in ("attn_gate", "mlp_gate"):
                tensors[f"{prefix}cross_attn_{name}"] = bf16(random.uniform(0.5, 1.0, 1))
        if layer in moe_layers(config):
            tensors[f"{prefix}feed_forward.router.weight"] = matrix(config["num_local_experts"], h)
    tensors["model.norm.weight"] = norm()
    if not config.get("tie_word_embeddings"):
        tensors["lm_head.weight"] = matrix(vocab, h)
    return tensors


def fused(config: dict[str, Any], tensors: Tensors) -> Tensors:
    """The same with the experts of a layer in two tensors, multiplied as x @ W."""
    out = {name: tensor for name, tensor in tensors.items() if ".experts." not in name}
    for layer in moe_layers(config):
        path = f"model.layers.{layer}.feed_forward.experts"
        parts = {
            name: np.stack([tensors[f"{path}.{e}.{name}.weight"].T for e in range(config["num_local_experts"])])
            for name in ("gate_proj", "up_proj", "down_proj")
        }
        out[f"{path}.gate_up_proj"] = np.concatenate([parts["gate_proj"], parts["up_proj"]], axis=2)
        out[f"{path}.down_proj"] = parts["down_proj"]
    return out


def fp8_config(weights: str, activations: str, ignore: tuple[str, ...] = ()) -> dict[str, Any]:
    """A compressed-tensors config; ``activations`` is token, static or group."""
    config = quantization_config()
    group = config["config_groups"]["group_0"]
    group["weights"] |= {"strategy": weights, "block_structure": [128, 128] if weights == "block" else None}
    group["input_activations"] |= STRATEGIES[activations]
    config["ignore"] = ["lm_head", *ignore]
    return config


def with_fp8_cache(config: dict[str, Any], tensors: Tensors, method: dict[str, Any]) -> None:
    """The KV cache of each layer with self-attention in FP8, in place."""
    tensor = quantization_config()["config_groups"]["group_0"]["weights"] | {"strategy": "tensor", "observer": None}
    method["kv_cache_scheme"] = "static" if method["quant_method"] == "fp8" else tensor
    for layer in range(config["num_hidden_layers"]):
        if layer not in config.get("cross_attention_layers", ()):
            for name, scale in (("k_scale", 1 / 128), ("v_scale", 1 / 96)):
                tensors[f"model.layers.{layer}.self_attn.{name}"] = bf16([scale])


def quantized(
    config: dict[str, Any], tensors: Tensors, scheme: str, left_alone: tuple[str, ...] = ()
) -> tuple[dict[str, Any], Tensors]:
    """The quantization config and the tensors of a scheme, from tensors of bf16.

    Modules are left alone whose name contains one of ``left_alone``.
    """
    weights, _, activations = scheme.replace("mixed", "channel_token").partition("_")
    left_alone += IGNORED if scheme == "mixed" else ()
    modules = [name.removesuffix(".weight") for name in tensors if name.endswith("_proj.weight")]
    ignore = tuple(module for module in modules if any(part in module for part in left_alone))
    method = fp8_config(weights, activations, ignore)
    if weights == "autofp8":
        method = {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head", *ignore]}
    out = dict(tensors)
    for module in modules:
        if module in ignore:
            continue
        codes, scale = quantize(tensors[f"{module}.weight"], RULES[weights])
        out[f"{module}.weight"] = codes
        # AutoFP8 stores float32 of shape []; compressed-tensors bf16 of shape [1], [out, 1] or that of the blocks.
        plain = weights == "autofp8"
        out[f"{module}.weight_scale"] = scale if plain else bf16(scale.reshape(-1, *scale.shape[1:]))
        if activations == "static":
            # Each its own, so that nobody can take one for the other: experts too, and gate and up.
            given = 1 / (80 + 8 * (sum(map(ord, module)) % 5))
            out[f"{module}.input_scale"] = np.float32(given) if plain else bf16([given])
    return method, out


def write_tiny(
    folder: Path,
    scheme: str = "channel_token",
    seed: int = 0,
    model: str = "llama",
    names: str | None = None,
    kv_cache: str = "bfloat16",
    **changes: Any,
) -> Path:
    """Write a tiny checkpoint.

    Args:
        folder: to be made.
        scheme: one of ``SCHEMES``, ``BLOCK`` or ``BF16_EACH``; what the model's card leaves in BF16 stays so.
        seed: of the weights.
        model: of ``tiny_families.MODELS``.
        names: ``plain``: a text model; ``old``, ``new``: a multimodal one, before and after transformers 4.52. The
            default is ``plain`` for the Llama and ``old`` for the others.
        kv_cache: ``float8_e4m3fn``: an FP8 cache with scales.
        changes: keys of the text model; None removes one.
    """
    names = names or ("plain" if model == "llama" else "old")
    text = {key: value for key, value in {**CONFIGS[model], **changes}.items() if value is not None}
    tensors, method = bf16_tensors(text, seed), None
    if scheme == "bf16":
        tensors = fused(text, tensors)
    elif scheme != BF16_EACH:
        method, tensors = quantized(text, tensors, scheme, LEFT_ALONE[model])
    if kv_cache != "bfloat16":
        assert method is not None
        with_fp8_cache(text, tensors, method)
    config = text
    if names != "plain":
        config = multimodal(text)
        tensors |= {name: bf16(np.zeros((4, 4))) for name in VISION[config["model_type"]]}
    if method is not None:
        for key in ("ignore", "ignored_layers"):
            if key in method:
                method[key] = [spelled(name, names) for name in method[key]]
        config = config | {"quantization_config": method}
    write_checkpoint(folder, config, {spelled(name, names): tensor for name, tensor in tensors.items()})
    return folder
