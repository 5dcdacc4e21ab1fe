# SPDX-License-Identifier: Apache-2.0
"""Which models are read, where their numbers are in config.json, and what holds where a key is absent. [CKPT-MODEL]"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import UnsupportedError
from .strict_json import Section, show

NESTED = "text_config"


@dataclass(frozen=True)
class Kind:
    """One row of [CKPT-MODEL]: a ``model_type`` with its architecture; ``text`` is that of ``text_config``, if any."""

    model_type: str
    architecture: str
    family: str
    text: str | None = None


KINDS = (
    Kind("llama", "LlamaForCausalLM", "llama"),
    Kind("llama4", "Llama4ForConditionalGeneration", "llama4", "llama4_text"),
    Kind("llama4_text", "Llama4ForCausalLM", "llama4"),
    Kind("mllama", "MllamaForConditionalGeneration", "mllama", "mllama_text_model"),
    Kind("mllama_text_model", "MllamaForCausalLM", "mllama"),
)

# Absent: num_key_value_heads and head_dim follow from the other numbers. eos_token_id is [CKPT-EOS].
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "llama": {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "eos_token_id": 2,
        },
        "llama4": {
            "vocab_size": 202048,
            "hidden_size": 5120,
            "intermediate_size": 8192,
            "intermediate_size_mlp": 16384,
            "num_hidden_layers": 48,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "eos_token_id": 2,
            "num_local_experts": 16,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 1,
            "no_rope_layer_interval": 4,
            "attention_chunk_size": 8192,
            "floor_scale": 8192,
            "attn_scale": 0.1,
        },
        "mllama": {
            "vocab_size": 128256,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 40,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "eos_token_id": 128001,
            "cross_attention_layers": (3, 8, 13, 18, 23, 28, 33, 38),
        },
    }
)


def unsupported(section: Section, key: str, supported: str) -> UnsupportedError:
    """The error for a sound value that asks for something else than ``supported``."""
    value = show(section.values.get(key))
    return UnsupportedError(f"{section.file}: key {section.path(key)}={value} is not supported; supported: {supported}")


def _kind(config: Section) -> Kind:
    """The row that config.json names."""
    if config.has("model_type"):
        name = config.string("model_type")
        for kind in KINDS:
            if kind.model_type == name:
                return kind
        raise unsupported(config, "model_type", ", ".join(kind.model_type for kind in KINDS))
    names = config.strings("architectures")
    for kind in KINDS:
        if kind.architecture in names:
            return kind
    raise unsupported(config, "architectures", ", ".join(kind.architecture for kind in KINDS))


def text_section(config: Section) -> tuple[str, Section]:
    """The family, and the section with the keys of the text model. [CKPT-MODEL]

    Raises:
        CheckpointError: a multimodal model without ``text_config``.
        UnsupportedError: another model.

    Example:
        >>> text_section(Section("config.json", {"model_type": "llama"}))[0]
        'llama'
    """
    kind = _kind(config)
    if kind.text is None:
        return kind.family, config
    if not config.has(NESTED):
        raise config.wrong(NESTED, "an object")
    text = config.section(NESTED)
    if text.string("model_type", kind.text) != kind.text:
        raise unsupported(text, "model_type", repr(kind.text))
    return kind.family, text
