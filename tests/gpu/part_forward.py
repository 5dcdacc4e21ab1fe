# SPDX-License-Identifier: Apache-2.0
"""Part ``forward``: logits and greedy tokens on cuda and on cpu, of a synthetic Llama at the layer shapes of 8B, and of
small Llama 4 and Mllama models: experts, chunks, static scales, an FP8 cache, blocks, an image."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu import arrays, model

if TYPE_CHECKING:
    from gpu.gate import Settings
    from gpu.worker import Items

Rows = Iterator[tuple[str, dict[str, Any]]]
ACCUMULATES = ("exact", "sm90", "sm90_wgmma")
LAYERS, PROMPT, NEW, CUT = 2, 70, 12, 33
LOGITS_ROWS = 24
IMAGE = 37  # tokens


# Wide enough for the kernels of large shapes, and experts whose rows fill no tile.
SMALL = {"hidden_size": 256, "num_attention_heads": 8, "num_key_value_heads": 2, "max_position_embeddings": 256}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {  # scheme, accumulate, changes of the tiny models' config
    "scout": ("channel_token", "exact", {"head_dim": 32, "num_experts_per_tok": 2}),
    "maverick": ("tensor_static", "sm90", {"head_dim": 32, "intermediate_size": 128, "kv_cache": "float8_e4m3fn"}),
    "scout, blocks": ("block_group", "sm90_wgmma", {"head_dim": 32, "intermediate_size": 128}),
    "scout, bf16": ("bf16", "sm90", {"head_dim": 32}),
    "mllama": ("channel_token", "sm90", {}),
}


def compare(
    checkpoint: Path, accumulate: str, subjects: tuple[str, str], label: str, vision_states: Any = None
) -> Rows:
    """The prompt at once and in pieces, and the tokens after it."""
    import fp8ref

    ids = model.tokens(PROMPT) % model_vocabulary(checkpoint)
    found = []
    for name in subjects:
        loaded = fp8ref.load(checkpoint, backend=name, accumulate=accumulate)
        at_once = loaded.forward(ids, LOGITS_ROWS, vision_states=vision_states)
        loaded.reset()
        loaded.forward(ids[:CUT], 0, vision_states=vision_states)
        pieces = loaded.forward(ids[CUT:], LOGITS_ROWS)
        new = np.array(loaded.generate(ids.tolist(), NEW, vision_states=vision_states), np.int64)
        found.append((np.array(at_once), np.array(pieces), new))
    for what, expected, got in zip(("logits", "logits in pieces", "greedy tokens"), *found, strict=True):
        yield arrays.row("llama", f"{label}, {accumulate}: {what}", expected, got)


def model_vocabulary(checkpoint: Path) -> int:
    """Ids that the checkpoint has, special ones at the end left out."""
    import json

    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    size = int(config.get("text_config", config)["vocab_size"])
    return size - min(256, size // 4)


def of_8b(settings: Settings, accumulate: str, subjects: tuple[str, str] = ("cpu", "cuda")) -> Rows:
    """Layers of Llama 3.1 8B."""
    yield from compare(model.folder(settings, LAYERS), accumulate, subjects, f"{LAYERS} layers of 8B")


def of_family(settings: Settings, name: str, subjects: tuple[str, str] = ("cpu", "cuda")) -> Rows:
    """A small model of ``MODELS``."""
    from model.tiny import write_tiny

    scheme, accumulate, changes = MODELS[name]
    family = name.partition(",")[0]
    path = Path(settings.scratch or settings.work) / name.replace(", ", "-")
    if not path.exists():
        write_tiny(path, scheme, model=family, **{**SMALL, **changes})
    states = arrays.bf16(3, 1, IMAGE, SMALL["hidden_size"]) if family == "mllama" else None
    yield from compare(path, accumulate, subjects, name, states)


def items(settings: Settings) -> Items:
    """One accumulator after the other, then one family after the other."""
    names = ACCUMULATES[:2] if settings.level == "quick" else ACCUMULATES
    return {name: partial(of_8b, settings, name) for name in names} | {
        name: partial(of_family, settings, name) for name in MODELS
    }
