# SPDX-License-Identifier: Apache-2.0
"""Random tensors of tiny Llamas, under the names of [CKPT-NAMES]."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bits import BF16, E4M3
from fp8ref.golden.quantize import quantize

Config = dict[str, Any]
Tensors = dict[str, np.ndarray]
Shape = tuple[int, int]

ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
GATES = ("attn_gate", "mlp_gate")


@dataclass(frozen=True)
class Scheme:
    """How projections are quantized.

    Attributes:
        rule: that of the weights, None for bf16.
        activations: ``token``, ``static`` (input scales that clip a little) or ``group``.
        only: what a quantized projection's name contains; "" is every one.
        bias: whether q, k, v, o, gate, up and down have one.
    """

    rule: str | None = None
    activations: str = "token"
    only: str = ""
    bias: bool = False


def block(config: Config, layer: int, name: str) -> str:
    """The module that holds a projection of a layer, as the family names it."""
    if name in ATTENTION:
        return "cross_attn" if layer in config.get("cross_attention_layers", ()) else "self_attn"
    return "feed_forward" if config.get("family") == "llama4" else "mlp"


def projections(config: Config, layer: int) -> Iterator[tuple[str, Shape]]:
    """Paths below ``model.layers.{layer}.`` and shapes (out, in)."""
    hidden, dim = config["hidden_size"], config["head_dim"]
    wide, narrow = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    for name, shape in zip(
        ATTENTION, ((wide, hidden), (narrow, hidden), (narrow, hidden), (hidden, wide)), strict=True
    ):
        yield f"{block(config, layer, name)}.{name}", shape
    for where, inner in _mlps(config, layer):
        for name in MLP:
            yield f"{where}.{name}", (hidden, inner) if name == "down_proj" else (inner, hidden)


def _mlps(config: Config, layer: int) -> Iterator[tuple[str, int]]:
    """Where the MLPs of a layer are, and their widths."""
    moe, top = config.get("moe"), block(config, layer, "gate_proj")
    if moe is None or layer not in moe["layers"]:
        yield top, config["intermediate_size"]
        return
    for part in ("shared_expert", *(f"experts.{e}" for e in range(moe["num_local_experts"]))):
        yield f"{top}.{part}", moe["intermediate_size"]


class Filler:
    """Draws numbers, always the same for a name of the same length."""

    def __init__(self, name: str, config: Config, scheme: Scheme) -> None:
        self.config, self.scheme = config, scheme
        self._random = np.random.default_rng(len(name))
        self.tensors: Tensors = {}

    def normal(self, *shape: int, factor: float = 1.0, shift: float = 0.0) -> np.ndarray:
        return (self._random.standard_normal(shape) * factor + shift).astype(np.float32).astype(BF16)

    def scale(self, low: float, high: float) -> np.ndarray:
        return np.float32(self._random.uniform(low, high) / 448)

    def fill(self) -> Tensors:
        """All tensors of the model."""
        config, hidden = self.config, self.config["hidden_size"]
        rows = config.get("embedding_rows") or config["vocab_size"]
        self.tensors["model.embed_tokens.weight"] = self.normal(rows, hidden)
        for layer in range(config["num_hidden_layers"]):
            self._layer(layer)
        self.tensors["model.norm.weight"] = self.normal(hidden, factor=0.2, shift=1.0)
        if not config["tie_word_embeddings"]:
            self.tensors["lm_head.weight"] = self.normal(config["vocab_size"], hidden, factor=hidden**-0.5)
        return self.tensors

    def _layer(self, layer: int) -> None:
        config, prefix = self.config, f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            self.tensors[f"{prefix}{norm}.weight"] = self.normal(config["hidden_size"], factor=0.2, shift=1.0)
        for path, shape in projections(config, layer):
            self._projection(prefix + path, shape)
        moe = config.get("moe")
        if moe is not None and layer in moe["layers"]:
            router = self.normal(
                moe["num_local_experts"], config["hidden_size"], factor=2 * config["hidden_size"] ** -0.5
            )
            self.tensors[f"{prefix}feed_forward.router.weight"] = router
        if layer in config.get("cross_attention_layers", ()):
            for norm in ("q_norm", "k_norm"):
                self.tensors[f"{prefix}cross_attn.{norm}.weight"] = self.normal(
                    config["head_dim"], factor=0.2, shift=1.0
                )
            for gate in GATES:
                self.tensors[f"{prefix}cross_attn_{gate}"] = self.normal(1, factor=0.3, shift=0.8)
        elif config.get("kv_scales"):
            for name in ("k_scale", "v_scale"):
                self.tensors[f"{prefix}self_attn.{name}"] = self.scale(1.5, 2.5)

    def _projection(self, module: str, shape: Shape) -> None:
        scheme = self.scheme
        weight = self.normal(*shape, factor=shape[1] ** -0.5)
        if scheme.bias:
            self.tensors[module + ".bias"] = self.normal(shape[0], factor=0.3)
        if scheme.rule is None or scheme.only not in module:
            self.tensors[module + ".weight"] = weight
            return
        codes, scale = quantize(weight, scheme.rule)
        self.tensors[module + ".weight"], self.tensors[module + ".weight_scale"] = codes.astype(E4M3), scale
        if scheme.activations == "static":
            self.tensors[module + ".input_scale"] = self.scale(2, 3)
