# SPDX-License-Identifier: Apache-2.0
"""Tokens per second of a checkpoint, with the bounds that bytes and multiply-adds give."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..golden.llama import LlamaConfig
from .measure import GIGA, Figure, bandwidth, matmul, seconds

PREFILL = {"cpu": 256, "golden": 16}
DECODE = {"cpu": 48, "golden": 4}
PROMPT = 16  # tokens in the cache before decoding is timed
MM_SHAPE = (256, 1536, 576)  # (M, N, K): the gate projection of SmolLM2-135M for 256 tokens


def _matmul_rate() -> float:
    """Multiply-adds per second of numpy's float64 matmul at MM_SHAPE."""
    m, n, k = MM_SHAPE
    return m * n * k / seconds(matmul(m, n, k))[0]


def per_token(config: LlamaConfig, weight_bytes: int) -> tuple[int, int]:
    """(bytes read, multiply-adds) of one decoded token, attention left out: each weight once.

    Embeddings count only as ``lm_head``: one row of the table is not worth counting.
    """
    c = config
    q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
    layer = 2 * q * c.hidden_size + 2 * kv * c.hidden_size + 3 * c.intermediate_size * c.hidden_size
    projections = layer * c.num_hidden_layers
    head = c.vocab_size * c.hidden_size
    return projections * weight_bytes + 2 * head, projections + head


def model_figures(checkpoint: Path, name: str, accumulate: str) -> list[Figure]:
    """Prefill and decode of a checkpoint, with the bounds that bytes and multiply-adds give."""
    from ..checkpoint import Checkpoint, LlamaReader
    from ..model import load

    reader = LlamaReader(Checkpoint(checkpoint))
    fp8 = reader.tensors.is_fp8("model.layers.0.mlp.down_proj")
    model = load(checkpoint, backend=name, accumulate=accumulate)
    config = model.config
    nbytes, macs = per_token(config, 1 if fp8 else 2)
    tokens = ((np.arange(max(PREFILL[name], PROMPT)) * 7919 + 11) % config.vocab_size).astype(np.int64)

    def prefill() -> None:
        model.reset()
        model.forward(tokens[: PREFILL[name]], 1)

    def decode() -> None:
        for token in tokens[: DECODE[name]]:
            model.forward([int(token)], 1)

    repeat = 3 if name == "cpu" else 1
    (prefill_seconds,) = seconds(prefill, least=repeat)
    model.reset()
    model.forward(tokens[:PROMPT], 1)
    (decode_seconds,) = seconds(decode, least=repeat)
    copied, rate = bandwidth(), _matmul_rate()
    reads = f"{nbytes / 1e6:.0f} MB a token at {copied / GIGA:.1f} GB/s (copy, all cores)"
    works = f"{macs / 1e6:.0f} MMAC a token at {rate / GIGA:.1f} GMAC/s (numpy float64)"
    decoded, prefilled = DECODE[name] / decode_seconds, PREFILL[name] / prefill_seconds
    return [
        Figure(f"decode after {PROMPT} tokens, {accumulate}", decoded, "tokens/s", copied / nbytes, reads),
        Figure(f"prefill of {PREFILL[name]} tokens, {accumulate}", prefilled, "tokens/s", rate / macs, works),
    ]
