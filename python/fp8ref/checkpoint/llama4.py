# SPDX-License-Identifier: Apache-2.0
"""What config.json says of a Llama 4 alone: experts, RoPE, chunks and temperature. [CKPT-LLAMA4]"""

from __future__ import annotations

from typing import Any

from ..golden.llama import MoeConfig, Temperature
from .families import DEFAULTS, unsupported
from .strict_json import Section

MAX_EXPERTS = 1 << 20
LAYER_TYPES = {"chunked_attention": 1, "full_attention": 0}  # as no_rope_layers has it


def _moe(text: Section, layers: int) -> MoeConfig:
    """The experts, and which layers have them."""
    default = DEFAULTS["llama4"]
    experts = text.integer("num_local_experts", default["num_local_experts"], low=1, high=MAX_EXPERTS)
    chosen = text.integer("num_experts_per_tok", default["num_experts_per_tok"], low=1, high=MAX_EXPERTS)
    if chosen > experts:
        raise text.wrong("num_experts_per_tok", f"at most num_local_experts={experts}")
    wide = text.integer("intermediate_size", default["intermediate_size"], low=1)
    step = text.integer("interleave_moe_layer_step", default["interleave_moe_layer_step"], low=1)
    indices: tuple[int, ...] | range = range(step - 1, layers, step)
    if text.has("moe_layers"):
        indices = tuple(sorted(set(text.integers("moe_layers", layers))))
    return MoeConfig(experts, chosen, wide, indices)


def _no_rope(text: Section, layers: int) -> tuple[int, ...] | range:
    """Indices of the layers without RoPE. A range is not built: the number of layers is not trusted."""
    interval = text.integer("no_rope_layer_interval", DEFAULTS["llama4"]["no_rope_layer_interval"], low=1)
    rope = text.integers("no_rope_layers", 2)
    indices: tuple[int, ...] | range = range(interval - 1, layers, interval)
    if rope:
        if len(rope) != layers:
            raise text.wrong("no_rope_layers", f"a list of num_hidden_layers={layers} entries, and has {len(rope)}")
        indices = tuple(index for index, has in enumerate(rope) if not has)
    if text.has("layer_types"):
        kinds = text.strings("layer_types")
        if len(kinds) != layers:
            raise text.wrong("layer_types", f"a list of num_hidden_layers={layers} entries, and has {len(kinds)}")
        without = set(indices)
        if any(LAYER_TYPES.get(kind) != (index not in without) for index, kind in enumerate(kinds)):
            raise unsupported(text, "layer_types", "chunked_attention for layers with RoPE, full_attention for others")
    return indices


def _switch(text: Section, key: str) -> bool:
    """A switch that is true where it is absent."""
    return text.boolean(key) if text.has(key) else True


def _tuning(text: Section) -> bool:
    """Whether there is an attention temperature; older files have an integer."""
    key = "attn_temperature_tuning"
    return text.integer(key) != 0 if type(text.values.get(key)) is int else _switch(text, key)


def llama4(text: Section, layers: int) -> dict[str, Any]:
    """The fields of :class:`LlamaConfig` that only a Llama 4 has.

    Args:
        text: the keys of the text model.
        layers: ``num_hidden_layers``.

    Raises:
        CheckpointError: a value of wrong type, range or length.
        UnsupportedError: ``layer_types`` contradicts ``no_rope_layers``.

    Example:
        >>> llama4(Section("config.json", {}), 48)["no_rope_layers"][:3]
        range(3, 15, 4)
    """
    default = DEFAULTS["llama4"]
    chunk: int | None = default["attention_chunk_size"]
    if "attention_chunk_size" in text.values:  # null is no chunks
        key = "attention_chunk_size"
        chunk = text.integer(key, low=1, high=1 << 24) if text.has(key) else None
    numbers = Temperature(*(text.positive(key, default[key]) for key in ("floor_scale", "attn_scale")))
    return {
        "moe": _moe(text, layers),
        "no_rope_layers": _no_rope(text, layers),
        "attention_chunk_size": chunk,
        "qk_norm": "weightless" if _switch(text, "use_qk_norm") else "none",
        "temperature": numbers if _tuning(text) else None,
    }
