# SPDX-License-Identifier: Apache-2.0
"""How a prompt is cut changes no bit [LLAMA-CUT], for every scheme; the same composition runs on other operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fp8ref.golden import llama
from fp8ref.model import Model, load
from model.tiny import BF16_EACH, BLOCK, SCHEMES, write_tiny

PROMPT = np.random.default_rng(5).integers(0, 80, 24)

LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
    "rope_type": "llama3",
}


# Chunks and temperatures of Llama 4 begin within these pieces; k, v and the image's too go through the cache.
FAMILIES = [
    ("scout", "bf16", "exact", {}),
    ("scout", "channel_token", "sm90_wgmma", {"num_experts_per_tok": 2}),
    ("maverick", BF16_EACH, "sm80", {}),
    ("maverick", "tensor_static", "exact", {"kv_cache": "float8_e4m3fn"}),
    ("scout", BLOCK, "sm90", {"hidden_size": 144, "kv_cache": "float8_e4m3fn"}),
    ("llama", BLOCK, "exact", {"hidden_size": 144, "intermediate_size": 136}),
    ("llama", "channel_token", "sm89", {"kv_cache": "float8_e4m3fn"}),
    ("mllama", "bf16", "exact", {}),
    ("mllama", "channel_token", "sm90", {"kv_cache": "float8_e4m3fn"}),
]


def image(hidden: int, count: int = 5, seed: int = 7) -> np.ndarray:
    """Vision states (1, count, hidden)."""
    states = np.random.default_rng(seed).standard_normal((1, count, hidden))
    return states.astype(np.float32).astype(ml_dtypes.bfloat16)


def same_cuts(model: Model, **more: Any) -> None:
    whole = model.logits(PROMPT, **more).view(np.uint32)
    assert whole.shape == (24, 80)
    for chunk in (7, 1):
        assert np.array_equal(model.logits(PROMPT, chunk=chunk, **more).view(np.uint32), whole)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_cuts_change_no_bit(tmp_path: Path, scheme: str) -> None:
    same_cuts(load(write_tiny(tmp_path / "model", scheme), backend="golden"))


@pytest.mark.parametrize("family, scheme, accumulate, changes", FAMILIES)
def test_cuts_of_families(tmp_path: Path, family: str, scheme: str, accumulate: str, changes: dict[str, Any]) -> None:
    folder = write_tiny(tmp_path / "model", scheme, model=family, **changes)
    model = load(folder, backend="golden", accumulate=accumulate)
    same_cuts(model)
    if family == "mllama":
        same_cuts(model, vision_states=image(model.config.hidden_size))


@pytest.mark.parametrize("accumulate", ["sm90_wgmma", "sm90"])
def test_cuts_change_no_bit_with_the_tensor_core(tmp_path: Path, accumulate: str) -> None:
    same_cuts(load(write_tiny(tmp_path / "model"), backend="golden", accumulate=accumulate))


def test_cuts_change_no_bit_with_biases_llama3_rope_and_tied_embeddings(tmp_path: Path) -> None:
    changes = {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "rope_scaling": LLAMA3}
    model = load(write_tiny(tmp_path / "model", **changes), backend="golden")
    assert model.config.attention_bias and model.config.mlp_bias and model.config.rope_scaling is not None
    same_cuts(model)


def test_accumulators_differ(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "model")
    names = ("exact", "sm90_wgmma", "sm90")
    exact, core, mode = (load(folder, backend="golden", accumulate=a).logits(PROMPT) for a in names)
    assert not np.array_equal(exact, core)
    assert not np.array_equal(exact, mode)


def test_prepared_weights_change_no_bit(tmp_path: Path) -> None:
    """The kept operands of the golden fast path against plain arrays."""
    from fp8ref.checkpoint import Checkpoint, LlamaReader

    reader = LlamaReader(Checkpoint(write_tiny(tmp_path / "model", "mixed")))
    weights = reader.weights()
    plain, kept = (
        llama.forward(reader.config, w, PROMPT, llama.KVCache(reader.config)) for w in (weights, llama.prepare(weights))
    )
    assert np.array_equal(plain.view(np.uint32), kept.view(np.uint32))


def test_each_projection_keeps_its_own_scales(tmp_path: Path) -> None:
    """Changing the scale of k_proj changes k_proj and leaves q_proj and v_proj alone."""
    from dataclasses import replace

    from fp8ref.checkpoint import Checkpoint, LlamaReader

    reader = LlamaReader(Checkpoint(write_tiny(tmp_path / "model", "tensor_static")))
    weights, traces = reader.weights(), []
    k = weights.layers[0].k_proj
    assert isinstance(k, llama.Fp8Linear)
    layer = replace(
        weights.layers[0], k_proj=replace(k, input_scale=k.input_scale * 2, weight_scale=k.weight_scale * 2)
    )
    for w in (weights, replace(weights, layers=(layer, *weights.layers[1:]))):
        values: dict[str, np.ndarray] = {}
        llama.forward(reader.config, w, [1, 2, 3], llama.KVCache(reader.config), trace=values.__setitem__)
        traces.append(values)
    names = ("q_proj", "k_proj", "v_proj")
    same = {name: np.array_equal(*(values[f"layers.0.{name}"] for values in traces)) for name in names}
    assert same == {"q_proj": True, "k_proj": False, "v_proj": True}
