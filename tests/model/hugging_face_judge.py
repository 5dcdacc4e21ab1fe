# SPDX-License-Identifier: Apache-2.0
"""What Hugging Face makes of a few prompts with the tiny checkpoints, and what a comparison with it keeps."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from model.hugging_face_tiny import HIDDEN, KINDS, PATCHES, TILES, VOCABULARY, bf16, load
from model.hugging_face_tiny_fp8 import RECIPES, fp8

PROMPTS, LENGTH = 4, 64  # four chunks, eight steps of the temperature
MARGIN = 2.0**-6  # of router logits; below it roundings may choose another expert

# Least median cosine with Hugging Face's bf16 logits. Mllama and Llama have every projection in FP8.
BOUNDS = {"scout": 0.995, "maverick": 0.995, "top2": 0.995, "mllama": 0.985, "llama": 0.985}
SAME_WEIGHTS = 0.999  # where nothing is FP8


@functools.cache
def prompts() -> Any:
    """int64 (PROMPTS, LENGTH)."""
    return np.random.default_rng(2).integers(3, VOCABULARY - 3, (PROMPTS, LENGTH))


@functools.cache
def vision_states() -> Any:
    """What stands for an image: bfloat16 (1, image tokens, HIDDEN)."""
    import torch

    values = np.random.default_rng(3).standard_normal((1, TILES * PATCHES, HIDDEN)).astype(np.float32)
    return torch.from_numpy(values).to(torch.bfloat16)


def kind_of(name: str) -> str:
    """The kind of a kind or of a recipe."""
    return RECIPES[name].kind if name in RECIPES else name


def judge(name: str) -> Any:
    """A kind, or a recipe's checkpoint, as Hugging Face runs it: with bf16 products.

    FP8 weights are dequantized to bf16, activations are rounded to FP8 and back.
    """
    return load(fp8(name), **RECIPES[name].reading) if name in RECIPES else load(bf16(name))


def logits(model: Any, states: Any = None) -> Any:
    """Logits (PROMPTS, LENGTH, V) of the prompts, one at a time; ``states`` are Mllama's image."""
    import torch

    from model.hugging_face import Float32Sums

    image: dict[str, Any] = {}
    if states is not None:
        # Without a mask Hugging Face's attention would be causal over the image's tokens as well.
        tiles = states.shape[1] // PATCHES
        mask = torch.ones(1, LENGTH, 1, tiles, dtype=torch.int64)
        image = {"cross_attention_states": states, "cross_attention_mask": mask}
    with torch.no_grad(), Float32Sums():
        rows = torch.from_numpy(prompts())
        return torch.cat([model(input_ids=row[None], use_cache=False, **image).logits for row in rows])


@functools.cache
def reference(name: str, image: str = "none") -> Any:
    """Logits of the right model; ``image`` is none or states."""
    return logits(judge(name), vision_states() if image == "states" else None)


@functools.cache
def kept(kind: str) -> Any:
    """Which positions (PROMPTS, LENGTH) a comparison keeps: in all routers the choice is clear."""
    import torch
    from transformers.models.llama4.modeling_llama4 import Llama4Router

    margins: list[Any] = []

    def note(router: Any, _: Any, out: Any) -> None:
        best = out[1].float().topk(router.top_k + 1, dim=1).values
        margins.append(best[:, -2] - best[:, -1])

    model = load(bf16(kind))
    routers = [module for module in model.modules() if isinstance(module, Llama4Router)]
    if not routers:
        return torch.ones(PROMPTS, LENGTH, dtype=torch.bool)
    for router in routers:
        router.register_forward_hook(note)
    logits(model)
    return torch.stack(margins).view(PROMPTS, len(routers), LENGTH).amin(1) >= MARGIN


def cosines(a: Any, b: Any) -> Any:
    """Of each position's logits."""
    from torch.nn import functional

    return functional.cosine_similarity(a.double(), b.double(), dim=-1)


def agreement(name: str, other: Any, image: str = "none") -> float:
    """Median cosine of logits with those of Hugging Face's bf16 model, over the positions kept."""
    kind = kind_of(name)
    return float(cosines(reference(kind, image), other)[kept(kind)].median())


IMAGES = {kind: ("none", "states") if kind == "mllama" else ("none",) for kind in KINDS}
