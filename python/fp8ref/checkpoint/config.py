# SPDX-License-Identifier: Apache-2.0
"""config.json to :class:`LlamaConfig`, in its old and new spellings. [CKPT-MODEL], [CKPT-ROPE], [CKPT-EOS]"""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedError
from ..golden.llama import LlamaConfig, RopeScaling
from .strict_json import Section, show

POSITIONS = 1 << 24  # rope positions are exact in float32 below this
DEFAULT_EOS = 2


def unsupported(section: Section, key: str, supported: str) -> UnsupportedError:
    """The error for a sound value that asks for something else than ``supported``."""
    value = show(section.values.get(key))
    return UnsupportedError(f"{section.file}: key {section.path(key)}={value} is not supported; supported: {supported}")


def _check_model(config: Section) -> None:
    """Only Llama text models. [CKPT-MODEL]"""
    if config.has("model_type"):
        if config.string("model_type") != "llama":
            raise unsupported(config, "model_type", "'llama'")
    elif "LlamaForCausalLM" not in config.strings("architectures"):
        raise unsupported(config, "architectures", "['LlamaForCausalLM'] (or model_type 'llama')")
    if config.string("hidden_act", "silu") != "silu":
        raise unsupported(config, "hidden_act", "'silu'")


def _positive(section: Section, key: str, default: float | None = None) -> float:
    """A number that is positive and finite in float32, as the operations round it."""
    value = section.number(key, default)
    with np.errstate(over="ignore", under="ignore"):
        rounded = np.float32(value)
    if not 0 < rounded < np.inf:
        raise section.wrong(key, "a number that is positive and finite in float32")
    return value


def _rope(config: Section) -> tuple[float, RopeScaling | None]:
    """rope_theta and the scaling, from ``rope_parameters`` or from ``rope_theta`` + ``rope_scaling``. [CKPT-ROPE]"""
    rope = config.section("rope_parameters" if config.has("rope_parameters") else "rope_scaling")
    theta = _positive(rope if rope.has("rope_theta") else config, "rope_theta", 10000.0)
    for section in (rope, config):
        if section.number("partial_rotary_factor", 1.0) != 1.0:
            raise unsupported(section, "partial_rotary_factor", "1")
    key = "rope_type" if rope.has("rope_type") or not rope.has("type") else "type"
    kind = rope.string(key, "default")
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise unsupported(rope, key, "'default', 'llama3'")
    low, high = _positive(rope, "low_freq_factor"), _positive(rope, "high_freq_factor")
    if np.float32(low) > np.float32(high):
        raise rope.wrong("low_freq_factor", f"no larger than high_freq_factor={high}")
    original = rope.integer("original_max_position_embeddings", low=1, high=POSITIONS)
    return theta, RopeScaling(_positive(rope, "factor"), low, high, original)


def _eos(config: Section, generation: Section, vocab_size: int) -> tuple[int, ...]:
    """EOS ids: generation_config.json decides where it has them. [CKPT-EOS]"""
    key = "eos_token_id"
    if not generation.has(key) and key not in config.values:
        return (DEFAULT_EOS,) if vocab_size > DEFAULT_EOS else ()
    source = generation if generation.has(key) else config
    value = source.values[key]
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < vocab_size for i in ids):
        raise source.wrong(key, f"an id or a list of ids from 0 to {vocab_size - 1}")
    return tuple(dict.fromkeys(ids))


def llama_config(config: Section, generation: Section) -> LlamaConfig:
    """The model's numbers out of config.json and generation_config.json.

    Args:
        config: config.json.
        generation: generation_config.json, empty if there is none.

    Raises:
        CheckpointError: a value of wrong type or range; the message names the key.
        UnsupportedError: another architecture, activation or RoPE scaling.

    Example:
        >>> llama_config(Section("config.json", {"model_type": "llama"}), Section("none", {})).head_dim
        128
    """
    _check_model(config)
    vocab = config.integer("vocab_size", 32000, low=1)
    hidden = config.integer("hidden_size", 4096, low=1)
    heads = config.integer("num_attention_heads", 32, low=1)
    kv_heads = config.integer("num_key_value_heads", heads, low=1)
    if heads % kv_heads:
        raise config.wrong("num_key_value_heads", f"a divisor of num_attention_heads={heads}")
    if not config.has("head_dim") and hidden % heads:
        raise config.wrong("hidden_size", f"a multiple of num_attention_heads={heads} where head_dim is absent")
    head_dim = config.integer("head_dim", max(hidden // heads, 1), low=1)
    if head_dim % 2:
        raise config.wrong("head_dim", f"even, and is {head_dim}")
    positions = config.integer("max_position_embeddings", 2048, low=1)
    if positions > POSITIONS:
        raise unsupported(config, "max_position_embeddings", f"up to {POSITIONS}")
    theta, scaling = _rope(config)
    return LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=config.integer("intermediate_size", 11008, low=1),
        num_hidden_layers=config.integer("num_hidden_layers", 32, low=1),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        max_position_embeddings=positions,
        rms_norm_eps=_positive(config, "rms_norm_eps", 1e-6),
        rope_theta=theta,
        rope_scaling=scaling,
        tie_word_embeddings=config.boolean("tie_word_embeddings"),
        attention_bias=config.boolean("attention_bias"),
        mlp_bias=config.boolean("mlp_bias"),
        eos_token_ids=_eos(config, generation, vocab),
    )


def model_dtype(config: Section) -> str | None:
    """``dtype``, or ``torch_dtype`` in files of older writers; None if neither is there."""
    for key in ("dtype", "torch_dtype"):
        if config.has(key):
            return config.string(key)
    return None
