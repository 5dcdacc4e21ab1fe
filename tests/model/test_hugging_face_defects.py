# SPDX-License-Identifier: Apache-2.0
"""The comparison with Hugging Face notices mistakes of fp8ref: the golden Llama with one operation wrong."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fp8ref.checkpoint import Checkpoint, LlamaReader
from fp8ref.golden import llama
from model import hugging_face_judge as judge
from model.hugging_face_tiny_fp8 import fp8

pytestmark = pytest.mark.hf

right = llama.GOLDEN


def _bf16(values: Any) -> Any:
    return np.asarray(values, np.float32).astype(ml_dtypes.bfloat16)


def _softmax(logits: Any, top_k: int) -> Any:
    experts, _ = right.route(logits, top_k)
    wide = logits.astype(np.float64)
    shares = np.exp(wide) / np.exp(wide).sum(1, keepdims=True)
    return experts, _bf16(np.take_along_axis(shares, experts, 1))


def _next_expert(logits: Any, top_k: int) -> Any:
    experts, scores = right.route(logits, top_k)
    return (experts + 1) % logits.shape[1], scores


def _worst_expert(logits: Any, top_k: int) -> Any:
    experts, _ = right.route(-logits, top_k)
    return experts, right.route(logits, top_k)[1]


def _input_without_score(x: Any, experts: Any, scores: Any, num_experts: int) -> Any:
    return right.dispatch(x, experts, np.ones_like(scores), num_experts)


def _causal(*args: Any, mask: str, chunk: Any = None, **keys: Any) -> Any:
    return right.attention(*args, mask="causal", **keys)


def _blind(*args: Any, mask: str, **keys: Any) -> Any:
    out = right.attention(*args, mask=mask, **keys)
    return np.zeros_like(out) if mask == "full" else out


def _gate_without_tanh(x: Any, y: Any, gate: Any) -> Any:
    return _bf16(x.astype(np.float32) + gate.astype(np.float32) * y.astype(np.float32))


def _without_scaling(head_dim: int, base: float, scaling: Any = None) -> Any:
    return right.rope_frequencies(head_dim, base)


def _heads_unnormed(x: Any, weight: Any, eps: float) -> Any:
    return x if x.ndim == 3 else right.rmsnorm(x, weight, eps)


def _other_layout(x: Any, cos: Any, sin: Any, layout: str) -> Any:
    return right.rope(x, cos, sin, "rotate_half" if layout == "interleaved" else "interleaved")


def _unscaled(codes: Any, scale: Any, out_dtype: str) -> Any:
    return right.dequantize(codes, np.float32(1), out_dtype)


def _other_block(x: Any, weight: Any, a_scale: Any, b_scale: Any, *args: Any, **keys: Any) -> Any:
    return right.scaled_mm(x, weight, a_scale, np.ascontiguousarray(b_scale[:, ::-1]), *args, **keys)


Defect = tuple[str, Callable[..., Any]]
LLAMA4: dict[str, Defect] = {
    "softmax router": ("route", _softmax),
    "the next expert": ("route", _next_expert),
    "the worst expert": ("route", _worst_expert),
    "no score": ("dispatch", _input_without_score),
    "no shared expert": ("combine", lambda routed, order, shared: right.combine(routed, order, np.zeros_like(shared))),
    "no routed experts": ("combine", lambda routed, order, shared: shared),
    "no chunks": ("attention", _causal),
    "no temperature": ("temperature", lambda x, factors: x),
    "RoPE of halves": ("rope", _other_layout),
}
MLLAMA: dict[str, Defect] = {
    "no cross-attention": ("attention", _blind),
    "no tanh": ("gated_residual", _gate_without_tanh),
    "no gates": ("gated_residual", lambda x, y, gate: right.residual(x, y)),
    "no q and k norms": ("rmsnorm", _heads_unnormed),
    "no RoPE scaling": ("rope_frequencies", _without_scaling),
    "RoPE of pairs": ("rope", _other_layout),
}
DEFECTS: dict[str, dict[str, Defect]] = {
    "scout-fp8": {
        **LLAMA4,
        "no q and k norm": ("rmsnorm", _heads_unnormed),
        "no RoPE scaling": ("rope_frequencies", _without_scaling),
    },
    "maverick-fp8": LLAMA4,
    "mllama-fp8": MLLAMA,
    "llama-kv": {"no scales of the cache": ("dequantize", _unscaled)},
    "llama-block": {"scales of other blocks": ("scaled_mm", _other_block)},
}


def _agreement(name: str, **changes: Callable[..., Any]) -> float:
    import torch

    reader = LlamaReader(Checkpoint(fp8(name)))
    weights = llama.prepare(reader.weights())
    ops = SimpleNamespace(**{**vars(right), **changes})
    image = judge.IMAGES[judge.kind_of(name)][-1]
    states = judge.vision_states() if image == "states" else None
    rows = []
    for ids in judge.prompts():
        cache = llama.KVCache(reader.config)
        rows.append(llama.forward(reader.config, weights, ids, cache, ops=ops, vision_states=states))
    return judge.agreement(name, torch.from_numpy(np.stack(rows)), image)


@pytest.mark.parametrize("name", DEFECTS)
def test_the_right_operations_agree(name: str) -> None:
    assert _agreement(name) >= judge.BOUNDS[judge.kind_of(name)]


@pytest.mark.parametrize(("name", "defect"), [(name, defect) for name, table in DEFECTS.items() for defect in table])
def test_the_comparison_notices(name: str, defect: str) -> None:
    operation, wrong = DEFECTS[name][defect]
    found = _agreement(name, **{operation: wrong})
    print(f"{name}, {defect}: {found:.4f}")
    assert found < judge.BOUNDS[judge.kind_of(name)]
