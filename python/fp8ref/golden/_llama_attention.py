# SPDX-License-Identifier: Apache-2.0
"""The attention of a layer: among the tokens, or over an image. [LLAMA-ATTENTION] [LLAMA-CROSS]"""

from __future__ import annotations

import numpy as np

from ._args import Array
from ._llama_config import LayerKind
from ._llama_run import Run
from ._llama_weights import LayerWeights


def self_attention(run: Run, index: int, layer: LayerWeights, kind: LayerKind, h: Array) -> Array:
    """What the tokens see of those before them, (T, heads, d). [LLAMA-ATTENTION]"""
    at = f"layers.{index}."
    q, k, v = (run.heads(run.project(at + n, getattr(layer, n), h)) for n in ("q_proj", "k_proj", "v_proj"))
    if kind.rope != "none":
        q = run.record(at + "q_rope", run.ops.rope(q, run.cos, run.sin, kind.rope))
        k = run.record(at + "k_rope", run.ops.rope(k, run.cos, run.sin, kind.rope))
    if kind.qk_norm == "weightless":
        q = run.record(at + "q_norm", run.norm(q, None))
        k = run.record(at + "k_norm", run.norm(k, None))
    if kind.temperature is not None:
        q = run.record(at + "q_temperature", run.ops.temperature(q, run.factors))
    keys, values = cached(run, index, layer, k, v)
    mask = "causal" if kind.chunk is None else "chunked"
    out: Array = run.ops.attention(q, keys, values, mask=mask, accumulate=run.mode, chunk=kind.chunk)
    return out


def cached(run: Run, index: int, layer: LayerWeights, k: Array, v: Array) -> tuple[Array, Array]:
    """Keys and values of all tokens, as attention takes them. [LLAMA-KV]"""
    if run.config.kv_cache == "bfloat16":
        return run.cache.store(index, k, v)
    names, one = ("k_codes", "v_codes"), np.float32(1)
    scales = [one if scale is None else scale for scale in (layer.k_scale, layer.v_scale)]
    codes = [run.ops.quantize(x, "vllm.kv_cache", s)[0] for x, s in zip((k, v), scales, strict=True)]
    for name, new in zip(names, codes, strict=True):
        run.record(f"layers.{index}.{name}", new.view(np.uint8))
    kept = run.cache.store(index, *codes)
    keys, values = (run.ops.dequantize(x, s, "bfloat16") for x, s in zip(kept, scales, strict=True))
    return keys, values


def cross_attention(run: Run, index: int, layer: LayerWeights, kind: LayerKind, h: Array) -> Array:
    """What the tokens see of the image, (T, heads, d); its keys and values are computed once. [LLAMA-CROSS]"""
    assert layer.cross is not None, f"layers.{index}: no weights of cross-attention, but {kind}"
    at = f"layers.{index}."
    q = run.heads(run.project(at + "q_proj", layer.q_proj, h))
    if run.vision is not None:
        k, v = (run.heads(run.project(at + n, getattr(layer, n), run.vision)) for n in ("k_proj", "v_proj"))
    q = run.record(at + "q_norm", run.norm(q, layer.cross.q_norm))
    if run.vision is not None:
        run.image[index] = run.record(at + "k_norm", run.norm(k, layer.cross.k_norm)), v
    out: Array = run.ops.attention(q, *run.image[index], mask="full", accumulate=run.mode)
    return out


ATTENTION = {"self": self_attention, "cross": cross_attention}
