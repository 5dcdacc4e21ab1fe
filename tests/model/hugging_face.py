# SPDX-License-Identifier: Apache-2.0
"""The outside judges: llm-compressor writes checkpoints, Hugging Face runs them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, AutoTokenizer

from fp8ref.demo import default_cache
from fp8ref.demo.fetch import published
from model.smollm2 import britannica, folders

CALIBRATION = (16, 128)  # texts, tokens of each
SLOW_MATMUL = 0.1  # seconds of a quarter GMAC in bf16; CPUs with bf16 instructions need a few milliseconds


class Float32Sums(TorchFunctionMode):
    """bf16 matrix products computed in float32 and rounded once, which is what torch means by them.

    On a CPU without bf16 instructions torch's own kernels take 10 seconds for 128 tokens; the order of their float32
    sums is unspecified as well.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        products = (functional.linear, torch.matmul, torch.bmm, functional.scaled_dot_product_attention)
        if function not in products or args[0].dtype != torch.bfloat16:
            return function(*args, **kwargs)

        def wide(x: Any) -> Any:
            return x.float() if isinstance(x, torch.Tensor) and x.dtype == torch.bfloat16 else x

        result = function(*map(wide, args), **{key: wide(value) for key, value in kwargs.items()})
        return result.to(torch.bfloat16)


def products() -> AbstractContextManager[Any]:
    """Torch's own bf16 products where they are fast, else :class:`Float32Sums`."""
    a, b = (torch.ones(n, 1024, dtype=torch.bfloat16) for n in (256, 1024))
    functional.linear(a, b)
    start = time.perf_counter()
    functional.linear(a, b)
    return Float32Sums() if time.perf_counter() - start > SLOW_MATMUL else nullcontext()


def load(folder: Path) -> Any:
    """A checkpoint as Hugging Face runs it by default, in bf16."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()


@torch.no_grad()
def logits(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    """bf16 logits (rows, T, V) of token ids (rows, T), one row at a time."""
    model = load(folder)
    with products():
        return torch.cat([model(row[None]).logits for row in tokens])


def _calibration(tokenizer: Any) -> Any:
    import datasets

    count, width = CALIBRATION
    ids = tokenizer(britannica()[200_000:])["input_ids"][: count * width]
    rows = [ids[i : i + width] for i in range(0, len(ids), width)]
    return datasets.Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * width] * count})


def _oneshot(folder: Path, scheme: str, **data: Any) -> None:
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier

    model = load(folders().bf16)
    oneshot(model=model, recipe=QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"]), **data)
    model.save_pretrained(folder, save_compressed=True)
    AutoTokenizer.from_pretrained(folders().bf16).save_pretrained(folder)
    del model
    gc.collect()


def _dynamic(folder: Path) -> None:
    _oneshot(folder, "FP8_DYNAMIC")


def _static(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders().bf16)
    count, width = CALIBRATION
    with products():
        _oneshot(
            folder,
            "FP8",
            dataset=_calibration(tokenizer),
            num_calibration_samples=count,
            max_seq_length=width,
            shuffle_calibration_samples=False,
        )


WRITERS: dict[str, Callable[[Path], None]] = {"dynamic": _dynamic, "static": _static}


def llm_compressor(scheme: str) -> Path:
    """SmolLM2 as llm-compressor quantizes it, ``dynamic`` or ``static``; made once, kept in the demo's cache."""
    import llmcompressor

    folder = default_cache() / f"llm-compressor-{llmcompressor.__version__}" / scheme
    if not folder.is_dir():
        with published(folder) as work:
            WRITERS[scheme](work)
    return folder
