# SPDX-License-Identifier: Apache-2.0
"""golden and cpu agree on every bit of every intermediate, and on every token, for every scheme."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bits import assert_same_bits
from fp8ref import backend
from fp8ref.checkpoint import Checkpoint, LlamaReader
from fp8ref.errors import OpError
from fp8ref.golden import llama
from fp8ref.model import load
from model.test_cuts import FAMILIES, image
from model.tiny import SCHEMES, write_tiny

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(f"fp8ref.{name}") for name in ("_ext", "backends.cpu.llama")),
    reason="the compiled extension is not installed",
)

PROMPT = np.random.default_rng(6).integers(0, 80, 17)


@pytest.mark.parametrize("accumulate", ["exact", "sm90_wgmma", "sm90_wgmma_promoted", "sm89_mma", "sm90", "sm89"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_intermediate(tmp_path: Path, scheme: str, accumulate: str) -> None:
    folder = write_tiny(tmp_path / "model", scheme)
    golden, cpu = (load(folder, backend=name, accumulate=accumulate) for name in ("golden", "cpu"))
    assert_same_bits(cpu.trace(PROMPT), golden.trace(PROMPT))
    assert cpu.generate(PROMPT, 12) == golden.generate(PROMPT, 12)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_bias": True, "mlp_bias": True},
        {"tie_word_embeddings": True},
        {"num_attention_heads": 6, "num_key_value_heads": 6},
        {"head_dim": 2, "num_hidden_layers": 1},
        {
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_kind_of_model(tmp_path: Path, changes: dict[str, object]) -> None:
    folder = write_tiny(tmp_path / "model", seed=1, **changes)
    golden, cpu = (load(folder, backend=name) for name in ("golden", "cpu"))
    assert_same_bits(cpu.trace(PROMPT), golden.trace(PROMPT))


@pytest.mark.parametrize("family, scheme, accumulate, changes", FAMILIES)
def test_every_intermediate_of_families(
    tmp_path: Path, family: str, scheme: str, accumulate: str, changes: dict[str, Any]
) -> None:
    folder = write_tiny(tmp_path / "model", scheme, model=family, **changes)
    golden, cpu = (load(folder, backend=name, accumulate=accumulate) for name in ("golden", "cpu"))
    images = [None, image(golden.config.hidden_size)] if family == "mllama" else [None]
    for more in ({"vision_states": states} for states in images):
        assert_same_bits(cpu.trace(PROMPT, **more), golden.trace(PROMPT, **more))
        assert cpu.generate(PROMPT, 6, **more) == golden.generate(PROMPT, 6, **more)


def test_a_mode_without_fp8(tmp_path: Path) -> None:
    """[LLAMA-MODES]"""
    folder = write_tiny(tmp_path / "bf16", "bf16")
    golden, cpu = (load(folder, backend=name, accumulate="sm80") for name in ("golden", "cpu"))
    assert_same_bits(cpu.trace(PROMPT), golden.trace(PROMPT))


@pytest.mark.parametrize("model, scheme, layer", [("llama", "mixed", 0), ("maverick", "channel_token", 1)])
def test_a_mode_without_fp8_refuses_it(tmp_path: Path, model: str, scheme: str, layer: int) -> None:
    """[LLAMA-MODES]"""
    folder = write_tiny(tmp_path / "model", scheme, model=model)
    for name in ("golden", "cpu"):
        with pytest.raises(OpError, match=rf"no FP8 matrix product, but layers\.{layer}"):
            load(folder, backend=name, accumulate="sm80")


@pytest.mark.parametrize("accumulate", ["exact", "sm90"])
def test_cuts_on_cpu(tmp_path: Path, accumulate: str) -> None:
    """[LLAMA-CUT]"""
    cpu = load(write_tiny(tmp_path / "model"), backend="cpu", accumulate=accumulate)
    whole = cpu.logits(PROMPT)
    for chunk in (7, 1):
        assert_same_bits(cpu.logits(PROMPT, chunk=chunk), whole)


@pytest.mark.parametrize("family, scheme, accumulate, changes", [("llama", "mixed", "exact", {}), *FAMILIES])
def test_the_composition_on_the_operations_of_cpu(
    tmp_path: Path, family: str, scheme: str, accumulate: str, changes: dict[str, Any]
) -> None:
    """golden/llama.py over ``backend("cpu")``: the composition and the operations are tested apart."""
    reader = LlamaReader(Checkpoint(write_tiny(tmp_path / "model", scheme, model=family, **changes)))
    weights, traces = reader.weights(), []
    for ops in (llama.GOLDEN, backend("cpu")):
        values: dict[str, np.ndarray] = {}
        how = {"ops": ops, "accumulate": accumulate, "trace": values.__setitem__}
        how |= {"vision_states": image(reader.config.hidden_size) if family == "mllama" else None}
        llama.forward(reader.config, weights, PROMPT, llama.KVCache(reader.config), **how)
        traces.append(values)
    assert_same_bits(traces[1], traces[0])
