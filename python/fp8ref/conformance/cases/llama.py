# SPDX-License-Identifier: Apache-2.0
"""Tiny Llamas in every scheme that a checkpoint can have, run whole, in chunks of 7 and token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ._case import ModelCase
from ._llama_checkpoint import LLAMA3, norms, projection, quantization
from ._llama_families import family_cases
from ._stream import BFLOAT16, FLOAT32, Array, Stream

# Sizes that divide badly: K of 48 and 88 leave tails behind blocks of 32, and three query heads share a key head.
SIZES = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 88,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
SCHEMES = ("bf16", "channel_token", "tensor_static", "autofp8_static")
TOKENS = 23


def _config(scheme: str, sizes: Mapping[str, int], **more: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "eos_token_id": 2,
        **sizes,
        **more,
    }
    if scheme != "bf16":
        config["quantization_config"] = quantization(scheme)
    return config


def _tensors(s: Stream, scheme: str, config: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """All tensors under the names of Hugging Face."""
    hidden, inner, d = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    yield "model.embed_tokens.weight", s.normal((config["vocab_size"], hidden))
    yield "model.norm.weight", s.normal((hidden,))
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", s.normal((config["vocab_size"], hidden), exponent=-3)
    shapes = {
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        yield from norms(s, prefix, hidden)
        for name, (out, columns) in shapes.items():
            yield from projection(s, scheme, prefix + name, out, columns)
            if config.get("attention_bias" if name.startswith("self_attn") else "mlp_bias"):
                yield f"{prefix}{name}.bias", s.normal((out,), exponent=-2)


def _case(name: str, scheme: str, config: Mapping[str, Any], cut: int, accumulate: str) -> ModelCase:
    s = Stream(f"llama/{name.split('/')[0]}")  # one model for all its cuts and accumulators
    tensors = dict(_tensors(s, scheme, config))
    tokens = tuple(s.integers((TOKENS,), 0, config["vocab_size"]).tolist())
    return ModelCase(f"{name}/{accumulate}/cut_{cut}", config, tensors, tokens, cut, accumulate)


def _hard(s: Stream, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Weights with which a tensor core shows in bfloat16: columns whose products cancel, values whose sums overflow.

    The first norm gives each number twice, and q_proj has the two with opposite signs.
    """
    hard = {name: tensor.copy() for name, tensor in tensors.items()}
    for name in ("model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"):
        half = hard[name].shape[-1] // 2
        hard[name][..., half:] = hard[name][..., :half]
    q = "model.layers.0.self_attn.q_proj.weight"
    wide = s.spread((len(hard[q]), hard[q].shape[1] // 2), 0, 20)
    hard[q] = np.concatenate([wide, -wide], axis=1)
    for name in hard:
        power = 125 if name.endswith("v_proj.weight") else -125 if name.endswith("o_proj.weight") else 0
        hard[name] = np.ldexp(hard[name].astype(FLOAT32), power).astype(BFLOAT16)
    return hard


def cases(level: str) -> Iterator[ModelCase]:
    """Each scheme; llama3 RoPE, a head of its own, and biases; then other families; cuts change no bit [LLAMA-CUT]."""
    for scheme in SCHEMES:
        config = _config(scheme, SIZES)
        yield _case(scheme, scheme, config, TOKENS, "exact")
        yield _case(scheme, scheme, config, 7, "sm90_wgmma")
        yield _case(scheme, scheme, config, 7, "sm90")
    yield _case("bf16", "bf16", _config("bf16", SIZES), 7, "sm80")
    for accumulate in ("exact", "sm90"):
        easy = _case("hard", "bf16", _config("bf16", SIZES), 7, accumulate)
        yield replace(easy, tensors=_hard(Stream("llama/hard"), easy.tensors))
    yield _case("channel_token", "channel_token", _config("channel_token", SIZES), 7, "sm89")
    variants: dict[str, dict[str, Any]] = {
        "llama3_rope": {"rope_scaling": LLAMA3, "rope_theta": 500000.0},
        "own_head": {"tie_word_embeddings": False},
        "biases": {"attention_bias": True, "mlp_bias": True},
    }
    for name, more in variants.items():
        yield _case(name, "channel_token", _config("channel_token", SIZES, **more), 7, "exact")
    yield _case("channel_token", "channel_token", _config("channel_token", SIZES), 1, "exact")
    yield from family_cases()
    if level == "full":
        sizes = {**SIZES, "vocab_size": 1000, "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4}
        sizes |= {"num_attention_heads": 8, "head_dim": 32}
        for scheme in SCHEMES:
            for accumulate in ("exact", "sm90_wgmma", "sm90"):
                yield _case(f"larger_{scheme}", scheme, _config(scheme, sizes), 11, accumulate)
