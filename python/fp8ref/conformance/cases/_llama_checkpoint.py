# SPDX-License-Identifier: Apache-2.0
"""What checkpoints of tiny models are made of: quantization configs, and the tensors of a projection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ._stream import BFLOAT16, FLOAT32, Array, Stream

Tensors = Iterator[tuple[str, Array]]

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
# Strategies of weights and activations by the name of a scheme of compressed-tensors.
STRATEGIES = {
    "channel_token": ("channel", "token"),
    "tensor_static": ("tensor", "tensor"),
    "block_group": ("block", "group"),
}
BLOCK = 128
SIZES: dict[str, dict[str, Any]] = {"block": {"block_structure": [BLOCK, BLOCK]}, "group": {"group_size": BLOCK}}
NUMBERS: dict[str, Any] = {"type": "float", "num_bits": 8, "symmetric": True}


def _arguments(strategy: str, dynamic: bool) -> dict[str, Any]:
    return {**NUMBERS, "strategy": strategy, "dynamic": dynamic, **SIZES.get(strategy, {})}


def quantization(scheme: str, kv_cache: str = "bfloat16") -> dict[str, Any]:
    """The quantization_config of a scheme; the tensors say which projections it is of. [CKPT-DTYPES]"""
    if scheme == "autofp8_static":
        return {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}
    weights, activations = STRATEGIES[scheme]
    group = {
        "targets": ["Linear"],
        "weights": _arguments(weights, False),
        "input_activations": _arguments(activations, activations != "tensor"),
    }
    cache = {} if kv_cache == "bfloat16" else {"kv_cache_scheme": _arguments("tensor", False)}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
        **cache,
    }


def projection(s: Stream, scheme: str, name: str, out: int, columns: int) -> Tensors:
    """The tensors of one projection; outputs come out near one in size."""
    if scheme == "bf16":
        yield f"{name}.weight", np.ldexp(s.normal((out, columns), FLOAT32), -3).astype(BFLOAT16)
        return
    yield f"{name}.weight", s.code_bell((out, columns))
    if scheme == "channel_token":
        yield f"{name}.weight_scale", s.scales((out, 1), -11, -9).astype(BFLOAT16)
    elif scheme == "block_group":
        yield f"{name}.weight_scale", s.scales((-(-out // BLOCK), -(-columns // BLOCK)), -12, -10).astype(BFLOAT16)
    elif scheme == "tensor_static":
        yield f"{name}.weight_scale", s.scales((1,), -11, -10).astype(BFLOAT16)
        yield f"{name}.input_scale", s.scales((1,), -7, -6).astype(BFLOAT16)
    else:
        yield f"{name}.weight_scale", s.scales((), -11, -10)
        yield f"{name}.input_scale", s.scales((), -7, -6)


def norms(s: Stream, prefix: str, hidden: int) -> Tensors:
    """The two norms of a layer."""
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield f"{prefix}{norm}.weight", s.normal((hidden,))
