# SPDX-License-Identifier: Apache-2.0
"""Tokens per second of a checkpoint, with the bounds that bytes and multiply-adds give."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..checkpoint.layout import attention_shapes, expert_shapes, mlp_shapes
from ..golden.llama import LayerKind, LlamaConfig
from .measure import GIGA, Figure, bandwidth, matmul, seconds

PREFILL = {"cpu": 256, "golden": 16}
DECODE = {"cpu": 48, "golden": 4}
PROMPT = 16  # tokens in the cache before decoding is timed
MM_SHAPE = (256, 1536, 576)  # (M, N, K): the gate projection of SmolLM2-135M for 256 tokens


def _matmul_rate() -> float:
    """Multiply-adds per second of numpy's float64 matmul at MM_SHAPE."""
    m, n, k = MM_SHAPE
    return m * n * k / seconds(matmul(m, n, k))[0]


def per_token(config: LlamaConfig, bytes_of: Callable[[str], int]) -> tuple[int, int]:
    """(bytes read, multiply-adds) of one decoded token, attention left out: each weight that it meets, once.

    ``bytes_of`` an element of the weight of a module. Of the experts a token meets as many as it chooses, and the first
    ones stand for those. Cross-attention counts nothing: there is no image. Embeddings count only as ``lm_head``: one
    row of the table is not worth counting.
    """
    macs = config.vocab_size * config.hidden_size
    nbytes = 2 * macs
    for index in range(config.num_hidden_layers):
        for path, shape in _met(config, config.layer(index)).items():
            macs += math.prod(shape)
            nbytes += math.prod(shape) * bytes_of(f"model.layers.{index}.{path}")
    return nbytes, macs


def _met(config: LlamaConfig, kind: LayerKind) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a layer that a token meets, by path."""
    if kind.attention == "cross":
        return {}
    shapes = attention_shapes(config, kind) | mlp_shapes(config, kind)
    if kind.mlp == "moe" and config.moe is not None:
        shapes["feed_forward.router"] = (config.moe.num_local_experts, config.hidden_size)
        for expert in range(config.moe.num_experts_per_tok):
            shapes |= expert_shapes(config, expert)
    return shapes


def model_figures(checkpoint: Path, name: str, accumulate: str) -> list[Figure]:
    """Prefill and decode of a checkpoint, with the bounds that bytes and multiply-adds give."""
    from ..checkpoint import Checkpoint, LlamaReader
    from ..model import load

    reader = LlamaReader(Checkpoint(checkpoint))
    model = load(checkpoint, backend=name, accumulate=accumulate)
    config = model.config
    tensors = reader.tensors

    def bytes_of(module: str) -> int:
        """Fused experts have no weight of their own name, and are bfloat16. [CKPT-EXPERTS]"""
        return 1 if f"{module}.weight" in tensors and tensors.is_fp8(module) else 2

    nbytes, macs = per_token(config, bytes_of)
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
