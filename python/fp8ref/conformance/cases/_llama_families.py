# SPDX-License-Identifier: Apache-2.0
"""Tiny checkpoints of Llama 4 and of Llama 3.2 Vision, with FP8 in blocks, and with an FP8 cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._case import ModelCase
from ._llama_checkpoint import LLAMA3, Tensors, norms, projection, quantization
from ._stream import BFLOAT16, Array, Stream

TOKENS, CUT = 23, 7
Config = dict[str, Any]

# Three query heads share a key head; K of 40 and 24 leave tails.
SIZES: Config = {
    "vocab_size": 61,
    "hidden_size": 40,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "eos_token_id": 2,
    "dtype": "bfloat16",
}
# Chunks are shorter than a cut and divide none; layer 1 is without RoPE.
LLAMA4: Config = SIZES | {
    "intermediate_size_mlp": 56,
    "num_local_experts": 5,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 1,
    "no_rope_layers": [1, 0],
    "attention_chunk_size": 5,
    "use_qk_norm": True,
    "attn_temperature_tuning": 4,
    "floor_scale": 3,
    "attn_scale": 0.3,
    "rope_theta": 500000.0,
}
MLLAMA: Config = SIZES | {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "cross_attention_layers": [1],
    "rope_theta": 500000.0,
    "rope_scaling": LLAMA3,
}
BLOCKS = {"hidden_size": 144, "intermediate_size": 136}  # K of two blocks, the second short
MULTIMODAL = {"llama4": "Llama4ForConditionalGeneration", "mllama": "MllamaForConditionalGeneration"}
WHERE = {"llama": "mlp", "llama4": "feed_forward", "mllama": "mlp"}


@dataclass(frozen=True)
class Family:
    """A checkpoint.

    Attributes:
        name: of the model; a word of it says what its cases are about.
        family: ``llama``, ``llama4`` or ``mllama``.
        scheme: ``bf16``, or how quantized projections are.
        keys: what differs from the family's numbers.
        fp8: what the name of a quantized projection contains.
        experts: ``single``, or ``fused`` to tensors of all experts.
        kv_cache: ``float8_e4m3fn`` holds codes, ``float8_e4m3fn by 1`` without scales in the checkpoint.
        runs: cut and accumulator of each case.
        images: image tokens, by the token with which they come.
        last: ``broken``: the last token is a NaN, which no other token sees; the router's logits are NaN too.
    """

    name: str
    family: str
    scheme: str
    runs: tuple[tuple[int, str], ...]
    keys: Mapping[str, Any] = field(default_factory=dict)
    fp8: str = ""
    experts: str = "single"
    kv_cache: str = "bfloat16"
    images: Mapping[int, int] = field(default_factory=dict)
    last: str = "whole"

    @property
    def text(self) -> Config:
        """The keys of the text model."""
        base = {"llama": SIZES | {"rope_theta": 10000.0}, "llama4": LLAMA4, "mllama": MLLAMA}[self.family]
        return {**base, **self.keys}

    def config(self) -> Config:
        """config.json, of Llama 4 and Mllama as multimodal checkpoints have it."""
        more = {} if self.scheme == "bf16" else {"quantization_config": quantization(self.scheme, self.kv_cache)}
        if self.family == "llama":
            return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **self.text, **more}
        return {
            "architectures": [MULTIMODAL[self.family]],
            "model_type": self.family,
            "text_config": self.text,
            **more,
        }

    def tensors(self, s: Stream) -> Tensors:
        """All tensors; names begin as in the files of these models."""
        text = self.text
        hidden, rows = text["hidden_size"], text["vocab_size"] + (8 if self.family == "mllama" else 0)
        yield "model.embed_tokens.weight", s.normal((rows, hidden))
        yield "model.norm.weight", s.normal((hidden,))
        yield "lm_head.weight", s.normal((text["vocab_size"], hidden), exponent=-3)
        for layer in range(text["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            yield from norms(s, prefix, hidden)
            yield from self._attention(s, prefix, layer in text.get("cross_attention_layers", ()))
            yield from self._mlps(s, prefix + WHERE[self.family], layer)

    def _projection(self, s: Stream, name: str, out: int, columns: int) -> Tensors:
        return projection(s, self.scheme if self.fp8 in name else "bf16", name, out, columns)

    def _attention(self, s: Stream, prefix: str, cross: bool) -> Tensors:
        text = self.text
        hidden, d = text["hidden_size"], text["head_dim"]
        wide, narrow = text["num_attention_heads"] * d, text["num_key_value_heads"] * d
        block = prefix + ("cross_attn" if cross else "self_attn")
        shapes = {"q_proj": (wide, hidden), "k_proj": (narrow, hidden), "v_proj": (narrow, hidden)}
        for name, shape in (shapes | {"o_proj": (hidden, wide)}).items():
            yield from self._projection(s, f"{block}.{name}", *shape)
        if cross:
            yield from ((f"{block}.{norm}.weight", s.normal((d,))) for norm in ("q_norm", "k_norm"))
            yield from ((f"{block}_{gate}", s.normal((1,))) for gate in ("attn_gate", "mlp_gate"))
        elif self.kv_cache == "float8_e4m3fn":
            yield from ((f"{block}.{name}", s.scales((1,), -8, -6).astype(BFLOAT16)) for name in ("k_scale", "v_scale"))

    def _mlps(self, s: Stream, block: str, layer: int) -> Tensors:
        text = self.text
        hidden, inner = text["hidden_size"], text["intermediate_size"]
        if self.family != "llama4" or (layer + 1) % text["interleave_moe_layer_step"]:
            yield from self._mlp(s, block, text["intermediate_size_mlp"] if self.family == "llama4" else inner)
            return
        experts = text["num_local_experts"]
        yield f"{block}.router.weight", s.normal((experts, hidden), exponent=-2)
        yield from self._mlp(s, f"{block}.shared_expert", inner)
        if self.experts == "fused":
            yield f"{block}.experts.gate_up_proj", s.normal((experts, hidden, 2 * inner), exponent=-3)
            yield f"{block}.experts.down_proj", s.normal((experts, inner, hidden), exponent=-3)
            return
        for e in range(experts):
            yield from self._mlp(s, f"{block}.experts.{e}", inner)

    def _mlp(self, s: Stream, block: str, inner: int) -> Tensors:
        hidden = self.text["hidden_size"]
        for name, shape in {
            "gate_proj": (inner, hidden),
            "up_proj": (inner, hidden),
            "down_proj": (hidden, inner),
        }.items():
            yield from self._projection(s, f"{block}.{name}", *shape)

    def cases(self) -> Iterator[ModelCase]:
        """A case of each run."""
        s, config = Stream(f"llama/{self.name}"), self.config()
        tensors = {self._spelled(name): tensor for name, tensor in self.tensors(s)}
        ids = self.text["vocab_size"] + (8 if self.family == "mllama" else 0)
        tokens = tuple(s.integers((TOKENS,), 0, ids).tolist())
        if self.last == "broken":
            tokens = (*(min(token, ids - 2) for token in tokens[:-1]), ids - 1)
            tensors[self._spelled("model.embed_tokens.weight")][-1, 3] = np.nan
        images: dict[int, Array] = {n: s.normal((1, size, self.text["hidden_size"])) for n, size in self.images.items()}
        for cut, accumulate in self.runs:
            name = f"{self.name}/{accumulate}/cut_{cut}"
            yield ModelCase(name, config, tensors, tokens, cut, accumulate, images)

    def _spelled(self, name: str) -> str:
        """Multimodal checkpoints have one more prefix. [CKPT-PREFIX]"""
        return name if self.family == "llama" else f"language_model.{name}"


EVERY = ((TOKENS, "exact"), (CUT, "sm90_wgmma"), (CUT, "sm90"))
ONE_BY_ONE = ((1, "exact"),)
# A cut of 7 begins forwards at 0, 7, 14 and 21: without an image, with one, with another one, and with that.
TWO_IMAGES = {7: 9, 14: 4}
FAMILIES = (
    Family("llama4_fused", "llama4", "bf16", ((TOKENS, "exact"), (CUT, "sm80")), experts="fused"),
    Family(
        "llama4_experts",
        "llama4",
        "channel_token",
        EVERY + ONE_BY_ONE,
        {"num_experts_per_tok": 2, "rope_scaling": LLAMA3},
        fp8="expert",
    ),
    Family(
        "llama4_interleaved",
        "llama4",
        "channel_token",
        ((CUT, "exact"), (CUT, "sm89")),
        {"num_hidden_layers": 4, "interleave_moe_layer_step": 2, "no_rope_layers": [], "use_qk_norm": False},
        fp8=".experts.",
    ),
    Family("llama4_broken_token", "llama4", "channel_token", ((TOKENS, "exact"), (CUT, "sm90")), last="broken"),
    Family("llama4_static_kv", "llama4", "tensor_static", EVERY, kv_cache="float8_e4m3fn"),
    Family("llama4_blocks", "llama4", "block_group", EVERY, BLOCKS | {"num_experts_per_tok": 3}, fp8="feed_forward"),
    Family("blocks_kv", "llama", "block_group", EVERY, BLOCKS, kv_cache="float8_e4m3fn"),
    Family("token_kv_by_1", "llama", "channel_token", ((CUT, "exact"),), kv_cache="float8_e4m3fn by 1"),
    Family("mllama_bf16", "mllama", "bf16", ((TOKENS, "exact"), (CUT, "sm80")), images={0: 9}),
    Family("mllama_two_images", "mllama", "channel_token", ((CUT, "exact"), (CUT, "sm90")), images=TWO_IMAGES),
    Family("mllama_kv", "mllama", "tensor_static", ((CUT, "sm90_wgmma"),), kv_cache="float8_e4m3fn", images=TWO_IMAGES),
    Family("mllama_without_image", "mllama", "channel_token", ((CUT, "exact"),)),
)


def family_cases() -> Iterator[ModelCase]:
    """Each checkpoint in each of its runs."""
    for family in FAMILIES:
        yield from family.cases()
