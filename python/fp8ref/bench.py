# SPDX-License-Identifier: Apache-2.0
"""How fast a backend is, beside what the machine could do in the same minute.

Each figure has its limit: a decoded token must read every weight once, so memory bandwidth bounds tokens per second;
a prefilled token must do every multiply-add. The machine's own numbers come from numpy in the same run, so ratios mean
something where absolute times drift.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .backends import backend as open_backend
from .golden.llama import LlamaConfig

PREFILL = {"cpu": 256, "golden": 16}
DECODE = {"cpu": 48, "golden": 4}
PROMPT = 16  # tokens in the cache before decoding is timed
MM_SHAPE = (256, 1536, 576)  # (M, N, K): the gate projection of SmolLM2-135M for 256 tokens
COPY_BYTES = 1 << 28
GIGA = 1e9


@dataclass(frozen=True)
class Figure:
    """One measured number and, where it has one, the bound that bytes or operations put on it."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    limit: str = ""

    @property
    def share(self) -> float | None:
        """The measured part of the bound."""
        return None if self.bound is None else self.value / self.bound


def seconds(work: Callable[[], object], least: int = 3, duration: float = 0.6) -> float:
    """The best time of a call, of at least ``least`` calls and ``duration`` seconds, after one that is not timed."""
    work()
    times: list[float] = []
    while len(times) < least or sum(times) < duration:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bandwidth() -> float:
    """Bytes per second that all cores read and write together, copying arrays far larger than a cache."""
    count = cores()
    size = COPY_BYTES // count // 8
    pairs = [(np.ones(size), np.empty(size)) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        took = seconds(lambda: list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs)))
    return 2 * count * size * 8 / took


def matmul_rate() -> float:
    """Multiply-adds per second of numpy's float64 matmul at MM_SHAPE."""
    m, n, k = MM_SHAPE
    a, b = np.ones((m, k)), np.ones((n, k))
    return m * n * k / seconds(lambda: a @ b.T)


def _codes(rows: int, columns: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Finite codes in a fixed pattern."""
    return ((np.arange(rows * columns) * 37) % 127).astype(np.uint8).reshape(rows, columns)


def scaled_mm_rate(name: str, accumulate: str) -> float:
    """Multiply-adds per second of a backend's scaled_mm at MM_SHAPE."""
    m, n, k = MM_SHAPE
    a, b = _codes(m, k), _codes(n, k)
    a_scale, b_scale = np.full((m, 1), 0.01, np.float32), np.full((n, 1), 0.02, np.float32)
    function = open_backend(name).scaled_mm
    return m * n * k / seconds(lambda: function(a, b, a_scale, b_scale, accumulate=accumulate))


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


def op_figures(name: str) -> list[Figure]:
    """scaled_mm of both accumulators beside numpy's float64 matmul."""
    base = matmul_rate()
    shape = "x".join(map(str, MM_SHAPE))
    rows = [Figure(f"numpy float64 matmul {shape}", base / GIGA, "GMAC/s")]
    for accumulate in ("exact", "sm90_wgmma"):
        rate = scaled_mm_rate(name, accumulate) / GIGA
        limit = "numpy float64 matmul, this run"
        rows.append(Figure(f"scaled_mm {accumulate} {shape}", rate, "GMAC/s", base / GIGA, limit))
    return rows


def model_figures(checkpoint: Path, name: str, accumulate: str) -> list[Figure]:
    """Prefill and decode of a checkpoint, with the bounds that bytes and multiply-adds give."""
    from .checkpoint import Checkpoint, LlamaReader
    from .model import load

    reader = LlamaReader(Checkpoint(checkpoint))
    fp8 = reader.is_fp8("model.layers.0.mlp.down_proj")
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
    prefill_seconds = seconds(prefill, repeat)
    model.reset()
    model.forward(tokens[:PROMPT], 1)
    decode_seconds = seconds(decode, repeat)
    copied, rate = bandwidth(), matmul_rate()
    reads = f"{nbytes / 1e6:.0f} MB a token at {copied / GIGA:.1f} GB/s (copy, all cores)"
    works = f"{macs / 1e6:.0f} MMAC a token at {rate / GIGA:.1f} GMAC/s (numpy float64)"
    decoded, prefilled = DECODE[name] / decode_seconds, PREFILL[name] / prefill_seconds
    return [
        Figure(f"decode after {PROMPT} tokens, {accumulate}", decoded, "tokens/s", copied / nbytes, reads),
        Figure(f"prefill of {PREFILL[name]} tokens, {accumulate}", prefilled, "tokens/s", rate / macs, works),
    ]
