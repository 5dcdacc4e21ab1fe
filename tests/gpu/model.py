# SPDX-License-Identifier: Apache-2.0
"""A Llama with the layer shapes of Llama 3.1 8B and random weights, as an FP8 checkpoint with channel and token scales.

All layers have the same weights: what is measured and compared does not depend on it, and it is made in seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu import arrays

if TYPE_CHECKING:
    from gpu.gate import Settings

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 16384,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "eos_token_id": 128001,
}
ROPE = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def config(layers: int, **changes: Any) -> dict[str, Any]:
    """config.json; ``changes`` make a smaller one for tests."""
    from model.tiny import fp8_config

    scaling = {"rope_scaling": {"rope_type": "llama3", **ROPE}, "quantization_config": fp8_config("channel", "token")}
    return {**CONFIG, "num_hidden_layers": layers, **scaling, **changes}


def tensors(of: dict[str, Any]) -> dict[str, Any]:
    """Codes that stand for normal weights of variance 1/columns, so that activations keep their size."""
    hidden, wide, d = of["hidden_size"], of["intermediate_size"], of["head_dim"]
    q, kv = of["num_attention_heads"] * d, of["num_key_value_heads"] * d
    shapes = {"self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden)}
    shapes |= {"self_attn.o_proj": (hidden, q), "mlp.gate_proj": (wide, hidden), "mlp.up_proj": (wide, hidden)}
    shapes |= {"mlp.down_proj": (hidden, wide)}
    layer: dict[str, Any] = {}
    for seed, (name, (rows, columns)) in enumerate(shapes.items()):
        layer[f"{name}.weight"] = arrays.codes(seed, rows, columns)
        scale = np.random.default_rng(seed).uniform(0.9, 1.1, (rows, 1)) / (110 * columns**0.5)
        layer[f"{name}.weight_scale"] = scale.astype(np.float32).astype(arrays.BFLOAT16)
    ones = np.random.default_rng(9).uniform(0.5, 1.5, hidden).astype(np.float32).astype(arrays.BFLOAT16)
    layer |= {"input_layernorm.weight": ones, "post_attention_layernorm.weight": ones}
    found = {"model.embed_tokens.weight": _embeddings(of["vocab_size"], hidden)}
    found["model.norm.weight"] = ones
    for i in range(of["num_hidden_layers"]):
        found |= {f"model.layers.{i}.{name}": tensor for name, tensor in layer.items()}
    return found


def _embeddings(rows: int, columns: int) -> Any:
    """Blocks of random rows, each block shifted by a column more than the one before: no two rows are equal."""
    block = arrays.bf16(10, min(rows, 4096), columns, size=0.05)
    blocks = [np.roll(block, i, axis=1) for i in range(-(-rows // len(block)))]
    return np.concatenate(blocks)[:rows]


def folder(settings: Settings, layers: int) -> Path:
    """The checkpoint, written once."""
    from fp8ref.checkpoint import write_checkpoint

    path = Path(settings.scratch or settings.work) / f"llama-{layers}"
    if not path.exists():
        of = config(layers)
        write_checkpoint(path, of, tensors(of))
    return path


def tokens(count: int, seed: int = 0) -> Any:
    """Ids, none of them special."""
    return np.random.default_rng(seed).integers(0, 128000, count).astype(np.int64)
