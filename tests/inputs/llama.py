# SPDX-License-Identifier: Apache-2.0
"""Tiny Llama models: random tensors under the names of a checkpoint, for the golden forward and for the witness's."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from bits import BF16, E4M3, pattern
from fp8ref.golden import llama
from fp8ref.golden.quantize import quantize

from .case import Case

LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
# Three forwards, each with a longer cache: tokens, and how many of them get logits.
PROMPT = (([3, 17, 0, 39], 4), ([5], 0), ([8, 8], 1))


@dataclass(eq=False)
class Model:
    """A configuration and numpy tensors."""

    name: str
    config: dict[str, Any]
    accumulate: str = "exact"
    tensors: dict[str, np.ndarray] = field(default_factory=dict)

    def patterns(self) -> dict[str, Any]:
        """The tensors as the witness takes them: lists of bit patterns, a list or one int for scales."""
        found: dict[str, Any] = {}
        for name, tensor in self.tensors.items():
            bits = pattern(tensor)
            if name.endswith("weight_scale"):
                bits = bits.ravel()
            found[name] = bits.tolist()
        return found

    def golden(self) -> tuple[llama.LlamaConfig, llama.LlamaWeights]:
        """The arguments of the golden forward."""
        scaling = self.config["rope_scaling"]
        numbers = {**self.config, "rope_scaling": None if scaling is None else llama.RopeScaling(**scaling)}
        layers = tuple(self._layer(i) for i in range(self.config["num_hidden_layers"]))
        embed = self.tensors["model.embed_tokens.weight"]
        head = embed if self.config["tie_word_embeddings"] else self.tensors["lm_head.weight"]
        weights = llama.LlamaWeights(embed, layers, self.tensors["model.norm.weight"], llama.Bf16Linear(head))
        return llama.LlamaConfig(**numbers), weights

    def _layer(self, index: int) -> llama.LayerWeights:
        prefix = f"model.layers.{index}."
        parts: dict[str, Any] = {n: self._projection(f"{prefix}self_attn.{n}") for n in ATTENTION}
        parts["mlp"] = llama.Mlp(**{n: self._projection(f"{prefix}mlp.{n}") for n in MLP})
        norms = ("input_layernorm", "post_attention_layernorm")
        return llama.LayerWeights(**parts, **{n: self.tensors[f"{prefix}{n}.weight"] for n in norms})

    def _projection(self, name: str) -> llama.Linear:
        weight, bias = self.tensors[name + ".weight"], self.tensors.get(name + ".bias")
        if name + ".weight_scale" not in self.tensors:
            return llama.Bf16Linear(weight, bias)
        static = self.tensors.get(name + ".input_scale")
        scale = self.tensors[name + ".weight_scale"]
        return llama.Fp8Linear(weight, scale, static, bias, "token" if static is None else "static")


def _config(**changes: Any) -> dict[str, Any]:
    numbers = {
        "vocab_size": 40,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
    }
    return numbers | changes


def _fill(model: Model, rule: str | None, static: bool, bias: bool) -> Model:
    """Random bf16 weights; with a rule, quantized projections; with `static`, input scales that clip a little."""
    rng = np.random.default_rng(len(model.name))
    config, tensors = model.config, model.tensors

    def normal(*shape: int, factor: float = 1.0, shift: float = 0.0) -> np.ndarray:
        return (rng.standard_normal(shape) * factor + shift).astype(np.float32).astype(BF16)

    hidden, inner, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    wide, narrow = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    shapes = {"q_proj": (wide, hidden), "k_proj": (narrow, hidden), "v_proj": (narrow, hidden)}
    shapes |= {"o_proj": (hidden, wide), "gate_proj": (inner, hidden), "up_proj": (inner, hidden)}
    shapes["down_proj"] = (hidden, inner)
    tensors["model.embed_tokens.weight"] = normal(config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{norm}.weight"] = normal(hidden, factor=0.2, shift=1.0)
        for name, shape in shapes.items():
            module = f"{prefix}{'self_attn' if name in ATTENTION else 'mlp'}.{name}"
            weight = normal(*shape, factor=shape[1] ** -0.5)
            if bias:
                tensors[module + ".bias"] = normal(shape[0], factor=0.3)
            if rule is None:
                tensors[module + ".weight"] = weight
                continue
            codes, scale = quantize(weight, rule)
            tensors[module + ".weight"], tensors[module + ".weight_scale"] = codes.astype(E4M3), scale
            if static:
                tensors[module + ".input_scale"] = np.float32(rng.uniform(2, 3) / 448)
    tensors["model.norm.weight"] = normal(hidden, factor=0.2, shift=1.0)
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = normal(config["vocab_size"], hidden, factor=hidden**-0.5)
    return model


@cache
def models() -> list[Model]:
    """One model for each kind of projection and activation."""
    tied = _config(tie_word_embeddings=True, rope_scaling=LLAMA3, rope_theta=5e5)
    grouped = _config(num_attention_heads=4, num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-6)
    return [
        _fill(Model("bf16", _config()), None, static=False, bias=False),
        _fill(Model("bf16 mode sm80", _config(), "sm80"), None, static=False, bias=True),
        _fill(Model("dynamic mode sm90", tied, "sm90"), "compressed_tensors.channel", static=False, bias=False),
        _fill(Model("static mode sm89", grouped, "sm89"), "compressed_tensors.tensor", static=True, bias=True),
        _fill(Model("dynamic", tied), "compressed_tensors.channel", static=False, bias=False),
        _fill(Model("dynamic sm90", tied, "sm90_wgmma"), "compressed_tensors.channel", static=False, bias=False),
        _fill(Model("static, biased", grouped), "autofp8.per_tensor", static=True, bias=True),
        _fill(Model("static sm90", grouped, "sm90_wgmma"), "compressed_tensors.tensor", static=True, bias=False),
    ]


@cache
def cases() -> list[Case]:
    """A run of each model."""
    return [Case(model.name, "forward", model=model, prompt=PROMPT) for model in models()]
