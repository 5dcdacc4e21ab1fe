# SPDX-License-Identifier: Apache-2.0
"""config.json to :class:`LlamaConfig`, in its old and new spellings. [CKPT-MODEL], [CKPT-ROPE], [CKPT-EOS]"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..golden.llama import LlamaConfig, RopeScaling
from .families import DEFAULTS, text_section, unsupported
from .llama4 import llama4
from .strict_json import Section

POSITIONS = 1 << 24  # rope positions are exact in float32 below this
VISION_ROWS = 8  # of Mllama's embeddings, beyond the vocabulary


def _check_activation(family: str, text: Section) -> None:
    """SiLU, whatever key says so. [CKPT-MODEL]"""
    for key in ("hidden_act", "hidden_activation") if family == "mllama" else ("hidden_act",):
        if text.string(key, "silu") != "silu":
            raise unsupported(text, key, "'silu'")


def _rope(text: Section, default: float) -> tuple[float, RopeScaling | None]:
    """rope_theta and the scaling, from ``rope_parameters`` or from ``rope_theta`` + ``rope_scaling``. [CKPT-ROPE]"""
    rope = text.section("rope_parameters" if text.has("rope_parameters") else "rope_scaling")
    theta = (rope if rope.has("rope_theta") else text).positive("rope_theta", default)
    for section in (rope, text):
        if section.number("partial_rotary_factor", 1.0) != 1.0:
            raise unsupported(section, "partial_rotary_factor", "1")
    key = "rope_type" if rope.has("rope_type") or not rope.has("type") else "type"
    kind = rope.string(key, "default")
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise unsupported(rope, key, "'default', 'llama3'")
    low, high = rope.positive("low_freq_factor"), rope.positive("high_freq_factor")
    if np.float32(low) > np.float32(high):
        raise rope.wrong("low_freq_factor", f"no larger than high_freq_factor={high}")
    original = rope.integer("original_max_position_embeddings", low=1, high=POSITIONS)
    return theta, RopeScaling(rope.positive("factor"), low, high, original)


def _eos(text: Section, generation: Section, vocab_size: int, default: int) -> tuple[int, ...]:
    """EOS ids: generation_config.json decides where it has them. [CKPT-EOS]"""
    key = "eos_token_id"
    if not generation.has(key) and key not in text.values:
        return (default,) if vocab_size > default else ()
    source = generation if generation.has(key) else text
    value = source.values[key]
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < vocab_size for i in ids):
        raise source.wrong(key, f"an id or a list of ids from 0 to {vocab_size - 1}")
    return tuple(dict.fromkeys(ids))


def _sizes(family: str, text: Section) -> dict[str, Any]:
    """The sizes that all families have. [CKPT-MODEL]"""
    default = DEFAULTS[family]
    hidden = text.integer("hidden_size", default["hidden_size"], low=1)
    heads = text.integer("num_attention_heads", default["num_attention_heads"], low=1)
    kv_heads = text.integer("num_key_value_heads", default.get("num_key_value_heads", heads), low=1)
    if heads % kv_heads:
        raise text.wrong("num_key_value_heads", f"a divisor of num_attention_heads={heads}")
    if not text.has("head_dim") and "head_dim" not in default and hidden % heads:
        raise text.wrong("hidden_size", f"a multiple of num_attention_heads={heads} where head_dim is absent")
    head_dim = text.integer("head_dim", default.get("head_dim", max(hidden // heads, 1)), low=1)
    if head_dim % 2:
        raise text.wrong("head_dim", f"even, and is {head_dim}")
    positions = text.integer("max_position_embeddings", default["max_position_embeddings"], low=1)
    if positions > POSITIONS:
        raise unsupported(text, "max_position_embeddings", f"up to {POSITIONS}")
    wide = "intermediate_size_mlp" if family == "llama4" else "intermediate_size"  # of dense layers
    return {
        "vocab_size": text.integer("vocab_size", default["vocab_size"], low=1),
        "hidden_size": hidden,
        "intermediate_size": text.integer(wide, default[wide], low=1),
        "num_hidden_layers": text.integer("num_hidden_layers", default["num_hidden_layers"], low=1),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": positions,
        "rms_norm_eps": text.positive("rms_norm_eps", default["rms_norm_eps"]),
    }


def _mllama(text: Section, sizes: dict[str, Any]) -> dict[str, Any]:
    """The fields that only a Mllama has. [CKPT-MLLAMA]"""
    key, layers = "cross_attention_layers", sizes["num_hidden_layers"]
    indices = text.integers(key, layers) if text.has(key) else DEFAULTS["mllama"][key]
    if len(set(indices)) != len(indices) or max(indices, default=-1) >= layers:
        raise text.wrong(key, f"a list of layers from 0 to {layers - 1}, none twice (default {list(indices)})")
    return {"cross_attention_layers": tuple(sorted(indices)), "embedding_rows": sizes["vocab_size"] + VISION_ROWS}


def llama_config(config: Section, generation: Section, kv_cache: str = "bfloat16") -> LlamaConfig:
    """The model's numbers out of config.json and generation_config.json.

    Args:
        config: config.json.
        generation: generation_config.json, empty if there is none.
        kv_cache: what the quantization config says of the cache. [CKPT-KV]

    Raises:
        CheckpointError: a value of wrong type or range; the message names the key.
        UnsupportedError: another architecture, activation or RoPE scaling.

    Example:
        >>> llama_config(Section("config.json", {"model_type": "llama"}), Section("none", {})).head_dim
        128
    """
    family, text = text_section(config)
    _check_activation(family, text)
    sizes = _sizes(family, text)
    theta, scaling = _rope(text, DEFAULTS[family]["rope_theta"])
    tie = "tie_word_embeddings"
    tied = (text if text.has(tie) else config).boolean(tie)
    if tied and family == "mllama":  # the table has rows that are no logits
        raise unsupported(text if text.has(tie) else config, tie, "false, in a Mllama")
    own = llama4(text, sizes["num_hidden_layers"]) if family == "llama4" else {}
    own |= _mllama(text, sizes) if family == "mllama" else {}
    return LlamaConfig(
        **sizes,
        **own,
        family=family,
        rope_theta=theta,
        rope_scaling=scaling,
        tie_word_embeddings=tied,
        attention_bias=family != "mllama" and text.boolean("attention_bias"),
        mlp_bias=family == "llama" and text.boolean("mlp_bias"),
        eos_token_ids=_eos(text, generation, sizes["vocab_size"], DEFAULTS[family]["eos_token_id"]),
        kv_cache=kv_cache,
    )


def model_dtype(config: Section) -> str | None:
    """``dtype``, or ``torch_dtype`` in files of older writers; None if neither is there."""
    for section in (config, text_section(config)[1]):
        for key in ("dtype", "torch_dtype"):
            if section.has(key):
                return section.string(key)
    return None
