# SPDX-License-Identifier: Apache-2.0
"""A bf16 checkpoint to FP8, as llm-compressor's FP8_DYNAMIC writes it. [CKPT-QUANTIZE]"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import UnsupportedError
from ..golden._round import round_to
from ..golden.quantize import quantize
from .folder import GENERATION_CONFIG, Checkpoint
from .layout import projections
from .reader import LlamaReader
from .writer import write_checkpoint

RULE = "compressed_tensors.channel"

# The text side of a checkpoint, copied as it is.
COMPANIONS = (
    GENERATION_CONFIG,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates",
    "LICENSE",
)


def _args(strategy: str, dynamic: bool, observer: str | None) -> dict[str, Any]:
    """The arguments of one tensor, with every key that compressed-tensors writes."""
    return {
        "actorder": None,
        "block_structure": None,
        "dynamic": dynamic,
        "group_size": None,
        "num_bits": 8,
        "observer": observer,
        "observer_kwargs": {},
        "scale_dtype": None,
        "strategy": strategy,
        "symmetric": True,
        "type": "float",
        "zp_dtype": None,
    }


def quantization_config() -> dict[str, Any]:
    """The ``quantization_config`` of FP8_DYNAMIC, in the layout of compressed-tensors 0.19."""
    group = {
        "format": "float-quantized",
        "input_activations": _args("token", True, None),
        "output_activations": None,
        "targets": ["Linear"],
        "weights": _args("channel", False, "memoryless_minmax"),
    }
    return {
        "config_groups": {"group_0": group},
        "format": "float-quantized",
        "global_compression_ratio": None,
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
        "sparsity_config": {},
        "transform_config": {},
        "version": "0.19.0",
    }


def quantize_checkpoint(
    source: str | Path, destination: str | Path, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Quantize the projections of a bf16 Llama to FP8: a scale per output channel, activations per token at run time.

    Args:
        source: the folder of an unquantized checkpoint.
        destination: the folder to make; it must not exist, or be empty.
        on_progress: called as ``on_progress(done, total)`` after each projection.

    Raises:
        CheckpointError: the source is damaged, or the destination exists.
        UnsupportedError: the source is quantized already, or no Llama.

    Example:
        >>> quantize_checkpoint("SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct-FP8")  # doctest: +SKIP

    Source: llm-compressor 0.14 (QuantizationModifier, scheme FP8_DYNAMIC, ignore lm_head); codes and scales are equal.
    """
    checkpoint = Checkpoint(source)
    reader = LlamaReader(checkpoint)
    reader.weights()  # all checks, before anything is computed
    if reader.config.family != "llama":
        raise UnsupportedError(f"{checkpoint.path}: models of family {reader.config.family} are not quantized here")
    modules = [name for name, _ in projections(reader.config)]
    if reader.quantization.method != "none" or any(reader.tensors.is_fp8(name) for name in modules):
        raise UnsupportedError(f"{checkpoint.path}: is quantized already ({reader.quantization.method})")
    tensors: dict[str, NDArray[Any]] = {name: checkpoint.array(name) for name in checkpoint.names}
    for done, name in enumerate(modules, start=1):
        codes, scale = quantize(tensors[f"{name}.weight"], RULE)
        tensors[f"{name}.weight"] = codes
        tensors[f"{name}.weight_scale"] = round_to(scale, "bfloat16")  # exact: the rule rounds the scale to bf16
        if on_progress is not None:
            on_progress(done, len(modules))
    config = {**checkpoint.config.values, "quantization_config": quantization_config()}
    paths = [checkpoint.path / name for name in COMPANIONS]
    write_checkpoint(destination, config, tensors, [path for path in paths if path.exists()])
