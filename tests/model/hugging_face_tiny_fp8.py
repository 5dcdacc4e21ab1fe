# SPDX-License-Identifier: Apache-2.0
"""The tiny checkpoints in FP8: llm-compressor with the recipes of the checkpoints that it made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fp8ref.demo.fetch import published
from model.hugging_face_tiny import VOCABULARY, bf16, cache, load

SCOUT_IGNORE = ("re:.*lm_head", "re:.*self_attn", "re:.*router", "re:.*vision_model", "re:.*multi_modal_projector")
# Maverick's routed experts alone are FP8.
MAVERICK_IGNORE = (*SCOUT_IGNORE, "re:.*shared_expert", r"re:.*feed_forward\.(gate|up|down)_proj")
VISION_IGNORE = ("re:.*lm_head", "re:multi_modal_projector.*", "re:vision_model.*")  # of the card
MODULES_IGNORE = tuple(entry.replace("re:", "re:.*").replace(".*.*", ".*") for entry in VISION_IGNORE)
KV_CACHE = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}
CALIBRATION = (8, 32)  # texts, tokens of each


@dataclass(frozen=True)
class Recipe:
    """What ``oneshot`` is asked for.

    Attributes:
        kind: the model, of ``hugging_face_tiny.KINDS``.
        modifier: arguments of QuantizationModifier; ``observer`` stands for Scout's config_groups with it.
        ignore: the names to leave alone.
        reading: changes to the written quantization config without which Hugging Face cannot run it.
    """

    kind: str
    modifier: dict[str, Any]
    ignore: tuple[str, ...] = ("lm_head",)
    reading: dict[str, Any] = field(default_factory=dict)


# transformers 5 writes the tensors and ``ignore`` of Mllama with names that its own modules no longer have; its reader
# then looks for scales that are not there, and gives NaN.
MODULES = {"ignore": list(MODULES_IGNORE)}

RECIPES = {
    "scout-fp8": Recipe("scout", {"observer": "mse"}, SCOUT_IGNORE),
    "maverick-fp8": Recipe("maverick", {"observer": "minmax"}, MAVERICK_IGNORE),
    "top2-fp8": Recipe("top2", {"observer": "minmax"}, MAVERICK_IGNORE),
    "mllama-fp8": Recipe("mllama", {"scheme": "FP8_DYNAMIC"}, MODULES_IGNORE, MODULES),
    # The card's own list: under transformers 5 it no longer matches, and the vision tower becomes FP8 as well.
    "mllama-card-fp8": Recipe("mllama", {"scheme": "FP8_DYNAMIC"}, VISION_IGNORE, {"ignore": ["re:.*lm_head"]}),
    "llama-dynamic": Recipe("llama", {"scheme": "FP8_DYNAMIC"}),
    "llama-block": Recipe("llama", {"scheme": "FP8_BLOCK"}),
    "llama-kv": Recipe("llama", {"scheme": "FP8_DYNAMIC", "kv_cache_scheme": KV_CACHE}),
    "llama-static-kv": Recipe("llama", {"scheme": "FP8", "kv_cache_scheme": KV_CACHE}),
}


def _groups(observer: str) -> dict[str, Any]:
    """Scout's card: a group of its own instead of a preset."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    fp8 = {"num_bits": 8, "type": "float", "symmetric": True}
    weights = QuantizationArgs(**fp8, strategy="channel", observer=observer)
    activations = QuantizationArgs(**fp8, strategy="token", dynamic=True)
    scheme = QuantizationScheme(targets=["Linear"], weights=weights, input_activations=activations)
    return {"config_groups": {"group_0": scheme}}


def _calibration() -> dict[str, Any]:
    """Arguments of ``oneshot`` for scales that are measured: random ids, and a tokenizer that nobody asks anything."""
    import datasets
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    count, width = CALIBRATION
    ids = np.random.default_rng(1).integers(3, VOCABULARY, CALIBRATION).tolist()
    words = models.WordLevel({str(i): i for i in range(VOCABULARY)}, unk_token="0")
    return {
        "dataset": datasets.Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * width] * count}),
        "processor": PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), pad_token="0"),
        "num_calibration_samples": count,
        "max_seq_length": width,
        "shuffle_calibration_samples": False,
    }


def _write(recipe: Recipe, folder: Path) -> None:
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    from model.hugging_face import Float32Sums

    modifier = dict(recipe.modifier)
    if "observer" in modifier:
        modifier = _groups(modifier["observer"])
    measured = "kv_cache_scheme" in modifier or modifier.get("scheme") == "FP8"
    model = load(bf16(recipe.kind))
    with Float32Sums():
        oneshot(
            model=model,
            recipe=QuantizationModifier(targets="Linear", ignore=list(recipe.ignore), **modifier),
            **(_calibration() if measured else {}),
        )
    model.save_pretrained(folder, save_compressed=True)


def fp8(name: str) -> Path:
    """The checkpoint of a recipe, made once."""
    folder = cache() / name
    if not folder.is_dir():
        with published(folder) as work:
            _write(RECIPES[name], work)
    return folder
