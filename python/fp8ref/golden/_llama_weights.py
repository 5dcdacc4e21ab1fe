# SPDX-License-Identifier: Apache-2.0
"""The weights of a Llama, as the golden forward takes them. spec/llama.md"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import linear, scaled_mm
from ._args import Array

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Bf16Linear:
    """An unquantized projection: ``weight`` (out, in) bfloat16, or a ``linear.operand`` of it. [LLAMA-LINEAR]"""

    weight: Any
    bias: Array | None = None


@dataclass(frozen=True)
class Fp8Linear:
    """An FP8 projection. [LLAMA-LINEAR]

    ``weight`` is (out, in) codes, or what ``scaled_mm.operand`` made of them; ``weight_scale`` is float32, (), (out, 1)
    or, for blocks of 128, (ceil(out / 128), ceil(in / 128)), then with activations in groups of 128. ``input_scale``
    is a float32 scalar for static activations, and None where each token, or group, is scaled by itself.
    """

    weight: Any
    weight_scale: Float32
    input_scale: Float32 | None = None
    bias: Array | None = None
    activations: str = "token"  # "token", "static" or "group"


Linear = Bf16Linear | Fp8Linear


@dataclass(frozen=True)
class Mlp:
    """A gated MLP: a dense layer's, one expert's, or the shared expert's."""

    gate_proj: Linear
    up_proj: Linear
    down_proj: Linear


@dataclass(frozen=True)
class Moe:
    """A mixture of experts. ``experts[e]`` is read when a token first needs it: a checkpoint may exceed memory.

    All experts of a layer are alike: BF16, or FP8 with the same kind of activations. [CKPT-EXPERTS]
    """

    router: Bf16Linear  # (experts, hidden_size)
    experts: Sequence[Mlp]
    shared_expert: Mlp


@dataclass(frozen=True)
class Cross:
    """What a cross-attention layer has besides its projections, all bfloat16. [LLAMA-CROSS]"""

    q_norm: Array  # (head_dim,)
    k_norm: Array  # (head_dim,)
    attn_gate: Array  # (1,)
    mlp_gate: Array  # (1,)


@dataclass(frozen=True)
class LayerWeights:
    """One decoder layer; norms are bfloat16 (hidden_size,), KV scales float32 scalars. [LLAMA-KV]"""

    input_layernorm: Array
    q_proj: Linear
    k_proj: Linear
    v_proj: Linear
    o_proj: Linear
    post_attention_layernorm: Array
    mlp: Mlp | Moe
    cross: Cross | None = None
    k_scale: Float32 | None = None
    v_scale: Float32 | None = None


@dataclass(frozen=True)
class LlamaWeights:
    """All weights. With tied embeddings ``lm_head`` holds the embedding table."""

    embed_tokens: Array  # (embedding_rows, hidden_size) bfloat16
    layers: Sequence[LayerWeights]
    norm: Array  # (hidden_size,) bfloat16
    lm_head: Bf16Linear


def _kept(projection: Any) -> Any:
    if isinstance(projection, Bf16Linear):
        return replace(projection, weight=linear.operand(projection.weight))
    return replace(projection, weight=scaled_mm.operand(projection.weight))


def _prepared(part: Any) -> Any:
    """A part of a layer with its projections decoded; experts stay as they are, most of them never used."""
    if isinstance(part, Linear):
        return _kept(part)
    if isinstance(part, Mlp):
        return Mlp(*(_kept(p) for p in (part.gate_proj, part.up_proj, part.down_proj)))
    if isinstance(part, Moe):
        return Moe(_kept(part.router), part.experts, _prepared(part.shared_expert))
    return part


def prepare(weights: LlamaWeights) -> LlamaWeights:
    """The same weights decoded once for the golden operations: same bits, 8 bytes a weight, much faster steps."""
    layers = tuple(LayerWeights(**{k: _prepared(v) for k, v in vars(layer).items()}) for layer in weights.layers)
    return replace(weights, layers=layers, lm_head=_kept(weights.lm_head))
