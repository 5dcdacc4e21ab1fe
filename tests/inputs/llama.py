# SPDX-License-Identifier: Apache-2.0
"""Tiny Llama models for the golden forward and for the witness's: Llama 3 here, the others in llama_families.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from bits import pattern
from fp8ref.golden import llama

from .case import Case
from .llama_tensors import ATTENTION, GATES, MLP, Filler, Scheme, block

LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
# Three forwards, each with a longer cache: tokens, how many of them get logits, and vision states.
PROMPT = (([3, 17, 0, 39], 4, None), ([5], 0, None), ([8, 8], 1, None))
PARTS = {"rope_scaling": llama.RopeScaling, "moe": llama.MoeConfig, "temperature": llama.Temperature}
OURS = ("kv_scales",)  # keys of a configuration that only these inputs know


@dataclass(eq=False)
class Model:
    """A configuration and numpy tensors. Those whose names end as in ``exponents`` are so many powers of two larger."""

    name: str
    config: dict[str, Any]
    accumulate: str = "exact"
    scheme: Scheme = field(default_factory=Scheme)
    exponents: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tensors = Filler(self.name, self.config, self.scheme).fill()
        for name, tensor in self.tensors.items():
            for end, power in self.exponents.items():
                if name.endswith(end):
                    self.tensors[name] = np.ldexp(tensor.astype(np.float32), power).astype(tensor.dtype)

    def patterns(self) -> dict[str, Any]:
        """The tensors as the witness takes them: lists of bit patterns, a list or one int for scales."""
        found: dict[str, Any] = {}
        for name, tensor in self.tensors.items():
            bits = pattern(tensor)
            if name.endswith("weight_scale") and self.scheme.activations != "group":
                bits = bits.ravel()
            found[name] = bits.tolist()
        return found

    def golden(self) -> tuple[llama.LlamaConfig, llama.LlamaWeights]:
        """The arguments of the golden forward."""
        numbers = {key: value for key, value in self.config.items() if key not in OURS}
        for key, part in PARTS.items():
            numbers[key] = None if numbers.get(key) is None else part(**numbers[key])
        layers = tuple(self._layer(i) for i in range(self.config["num_hidden_layers"]))
        embed = self.tensors["model.embed_tokens.weight"]
        head = embed if self.config["tie_word_embeddings"] else self.tensors["lm_head.weight"]
        weights = llama.LlamaWeights(embed, layers, self.tensors["model.norm.weight"], llama.Bf16Linear(head))
        return llama.LlamaConfig(**numbers), weights

    def _layer(self, index: int) -> llama.LayerWeights:
        prefix, tensors = f"model.layers.{index}.", self.tensors
        parts: dict[str, Any] = {
            name: self._projection(f"{prefix}{block(self.config, index, name)}.{name}") for name in ATTENTION
        }
        parts["mlp"] = self._mlp(f"{prefix}{block(self.config, index, 'gate_proj')}.")
        for norm in ("input_layernorm", "post_attention_layernorm"):
            parts[norm] = tensors[f"{prefix}{norm}.weight"]
        if f"{prefix}cross_attn_attn_gate" in tensors:
            norms = (tensors[f"{prefix}cross_attn.{norm}.weight"] for norm in ("q_norm", "k_norm"))
            parts["cross"] = llama.Cross(*norms, *(tensors[f"{prefix}cross_attn_{gate}"] for gate in GATES))
        scales = {name: tensors.get(f"{prefix}self_attn.{name}") for name in ("k_scale", "v_scale")}
        return llama.LayerWeights(**parts, **scales)

    def _mlp(self, prefix: str) -> llama.Mlp | llama.Moe:
        if f"{prefix}router.weight" not in self.tensors:
            return llama.Mlp(**{n: self._projection(prefix + n) for n in MLP})
        count = self.config["moe"]["num_local_experts"]
        experts, shared = (
            (self._mlp(f"{prefix}experts.{e}.") for e in range(count)),
            self._mlp(f"{prefix}shared_expert."),
        )
        return llama.Moe(llama.Bf16Linear(self.tensors[f"{prefix}router.weight"]), tuple(experts), shared)

    def _projection(self, name: str) -> llama.Linear:
        weight, bias = self.tensors[name + ".weight"], self.tensors.get(name + ".bias")
        if name + ".weight_scale" not in self.tensors:
            return llama.Bf16Linear(weight, bias)
        static, scale = self.tensors.get(name + ".input_scale"), self.tensors[name + ".weight_scale"]
        return llama.Fp8Linear(weight, scale, static, bias, self.scheme.activations)


def numbers(**changes: Any) -> dict[str, Any]:
    """A configuration of two layers; K of more than one step of a tensor core, with a tail."""
    return {
        "vocab_size": 40,
        "hidden_size": 40,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        **changes,
    }


def _cancelling(model: Model) -> Model:
    """The sums of q_proj are zero but for its bias: the first norm gives each number twice, with weights w and -w.

    What a tensor core drops of products of different size is then all that it shows. Where values are near the largest
    number too, their sums overflow in its attention.
    """
    tensors, q = model.tensors, "model.layers.0.self_attn.q_proj.weight"
    for name in ("model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"):
        half = tensors[name].shape[-1] // 2
        tensors[name][..., half:] = tensors[name][..., :half]
    wide = tensors[q][:, :half].astype(np.float32)
    wide = np.ldexp(wide, np.arange(wide.size).reshape(wide.shape) % 20).astype(tensors[q].dtype)
    tensors[q] = np.concatenate([wide, -wide], axis=1)
    return model


@cache
def models() -> list[Model]:
    """One Llama 3 for each kind of projection and activation."""
    tied = numbers(tie_word_embeddings=True, rope_scaling=LLAMA3, rope_theta=5e5)
    grouped = numbers(num_attention_heads=4, num_key_value_heads=2, head_dim=8, rms_norm_eps=1e-6)
    small = numbers(hidden_size=32, intermediate_size=40, head_dim=8, num_hidden_layers=1)
    dynamic = Scheme("compressed_tensors.channel")
    static = Scheme("compressed_tensors.tensor", "static")
    biased = Scheme("compressed_tensors.tensor", "static", bias=True)
    return [
        Model("bf16", numbers()),
        Model("bf16 mode sm80", numbers(), "sm80", Scheme(bias=True)),
        Model("dynamic mode sm90", tied, "sm90", dynamic),
        Model("static mode sm89", grouped, "sm89", biased),
        Model("dynamic", tied, "exact", dynamic),
        Model("dynamic sm90", tied, "sm90_wgmma", dynamic),
        Model("static, biased", grouped, "exact", Scheme("autofp8.per_tensor", "static", bias=True)),
        Model("static sm90", grouped, "sm90_wgmma", static),
        _cancelling(
            Model("hard mode sm90", small, "sm90", Scheme(bias=True), {"v_proj.bias": 128, "o_proj.weight": -126})
        ),
    ]


@cache
def cases() -> list[Case]:
    """A run of each model."""
    return [Case(model.name, "forward", model=model, prompt=PROMPT) for model in models()]
