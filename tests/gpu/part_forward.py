# SPDX-License-Identifier: Apache-2.0
"""Part ``forward``: a synthetic Llama at the layer shapes of 8B, on cuda and on cpu: logits and greedy tokens."""

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


def compare(checkpoint: Path, accumulate: str, subjects: tuple[str, str] = ("cpu", "cuda")) -> Rows:
    """The prompt at once and in pieces, and the tokens after it."""
    import fp8ref

    ids = model.tokens(PROMPT) % model_vocabulary(checkpoint)
    found = []
    for name in subjects:
        loaded = fp8ref.load(checkpoint, backend=name, accumulate=accumulate)
        at_once = loaded.forward(ids, LOGITS_ROWS)
        loaded.reset()
        loaded.forward(ids[:CUT], 0)
        pieces = loaded.forward(ids[CUT:], LOGITS_ROWS)
        new = np.array(loaded.generate(ids.tolist(), NEW), np.int64)
        found.append((np.array(at_once), np.array(pieces), new))
    label = f"{LAYERS} layers of 8B, {accumulate}"
    for what, expected, got in zip(("logits", "logits in pieces", "greedy tokens"), *found, strict=True):
        yield arrays.row("llama", f"{label}: {what}", expected, got)


def model_vocabulary(checkpoint: Path) -> int:
    """Ids that the checkpoint has, special ones at the end left out."""
    import json

    size = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    return int(size) - min(256, int(size) // 4)


def _run(settings: Settings, accumulate: str) -> Rows:
    yield from compare(model.folder(settings, LAYERS), accumulate)


def items(settings: Settings) -> Items:
    """One accumulator after the other."""
    names = ACCUMULATES[:2] if settings.level == "quick" else ACCUMULATES
    return {accumulate: partial(_run, settings, accumulate) for accumulate in names}
