# SPDX-License-Identifier: Apache-2.0
"""Tiny models with what Llama 3 has not: experts, NoPE layers, chunks, cross-attention, block scales, an FP8 cache."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from bits import BF16

from .case import Case
from .llama import PROMPT, Model, numbers
from .llama_tensors import Scheme

CHANNEL = "compressed_tensors.channel"
BLOCK = Scheme("compressed_tensors.block_128x128", "group")
FP8_CACHE = {"kv_cache": "float8_e4m3fn", "kv_scales": True}
# Chunks end within and between the forwards of PROMPT, and temperatures begin to act at the second token.
LLAMA4 = {
    "family": "llama4",
    "hidden_size": 32,
    "intermediate_size": 40,
    "head_dim": 8,
    "attention_chunk_size": 3,
    "temperature": {"floor_scale": 2.0, "attn_scale": 0.3},
}
MLLAMA = {"family": "mllama", "hidden_size": 32, "intermediate_size": 40, "head_dim": 8, "embedding_rows": 48}
IMAGES = 5, 2  # image tokens, of two images


def llama4(
    top_k: int, moe_layers: tuple[int, ...], no_rope: tuple[int, ...], inner: int = 24, **changes: Any
) -> dict[str, Any]:
    """A Llama 4 of two layers with four experts."""
    moe = {"num_local_experts": 4, "num_experts_per_tok": top_k, "intermediate_size": inner, "layers": moe_layers}
    own = {"moe": moe, "no_rope_layers": no_rope, "qk_norm": "weightless"}
    return numbers(**{**LLAMA4, **own, **changes})


def mllama(**changes: Any) -> dict[str, Any]:
    """Cross-attention between two layers of self-attention."""
    return numbers(**{**MLLAMA, "num_hidden_layers": 3, "cross_attention_layers": (1,), **changes})


def image(tokens: int, hidden: int) -> np.ndarray:
    """Vision states (1, tokens, hidden)."""
    random = np.random.default_rng(tokens)
    return random.standard_normal((1, tokens, hidden)).astype(np.float32).astype(BF16)


# Without an image, with one, with the same one, with another one, and with that. Ids from 40 on are image tokens.
SEEN = (
    ([3, 17], 1, None),
    ([40, 47, 0], 3, image(IMAGES[0], 32)),
    ([5], 0, None),
    ([41, 8], 1, image(IMAGES[1], 32)),
    ([9], 1, None),
)


@cache
def models() -> list[Model]:
    """Every kind of layer, expert, scale and cache in as few models as hold them."""
    wide = {"hidden_size": 160, "intermediate_size": 136, "head_dim": 4}  # K of two blocks, the second short
    one, all_moe = (1,), (0, 1)
    return [
        Model("llama4 bf16", llama4(1, one, one)),
        Model("llama4 scout", llama4(2, all_moe, one), "exact", Scheme(CHANNEL, only="expert")),
        Model("llama4 maverick sm90", llama4(1, one, (0,), qk_norm="none"), "sm90", Scheme(CHANNEL, only=".experts.")),
        Model(
            "llama4 static, kv",
            llama4(2, (0,), (0,), **FP8_CACHE),
            "sm90_wgmma",
            Scheme("compressed_tensors.tensor", "static"),
        ),
        # Scales whose product is subnormal show in which order the three factors of a block are multiplied.
        Model(
            "llama4 blocks",
            llama4(1, (0,), one, 8, **wide | {"num_hidden_layers": 1}),
            "sm90_wgmma",
            BLOCK,
            {"k_proj.weight_scale": -130},
        ),
        Model("blocks, kv", numbers(**wide, **FP8_CACHE, num_hidden_layers=1), "exact", BLOCK),
        Model("dynamic, kv by 1", numbers(**FP8_CACHE | {"kv_scales": False}), "exact", Scheme(CHANNEL)),
        Model("mllama bf16", mllama()),
        Model("mllama dynamic, kv", mllama(**FP8_CACHE, rms_norm_eps=1e-4), "sm90", Scheme(CHANNEL)),
    ]


@cache
def cases() -> list[Case]:
    """A run of each model."""
    prompts = {"mllama": SEEN}
    return [
        Case(model.name, "forward", model=model, prompt=prompts.get(model.config.get("family", ""), PROMPT))
        for model in models()
    ]
