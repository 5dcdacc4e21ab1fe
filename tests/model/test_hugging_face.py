# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of llm-compressor: the same codes, and logits as near to Hugging Face's as its own bf16 rounding allows.

Hugging Face dequantizes to bf16 and multiplies there, so it is a judge with a tolerance: the bounds below are about
agreement, perplexity and divergence, not about bits.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fp8ref
from fp8ref.checkpoint import Checkpoint, LlamaReader, inspect
from fp8ref.checkpoint.layout import projections
from model.smollm2 import britannica, folders, question, tokenizer

pytestmark = pytest.mark.hf

ROWS, LENGTH = 4, 512
CODES = 106_168_320
SCHEMES = {"dynamic": "fp8 channel weights, token activations", "static": "fp8 tensor weights, static activations"}

TOP1, DIVERGENCE, PERPLEXITY = 0.88, 1.2, 0.02  # at least; at most times Hugging Face's own; relative


def _made(scheme: str) -> Path:
    from model.hugging_face import llm_compressor

    return llm_compressor(scheme)


@functools.cache
def _tokens() -> Any:
    ids = tokenizer().encode(britannica())[: ROWS * LENGTH]
    return np.array(ids, dtype=np.int64).reshape(ROWS, LENGTH)


@functools.cache
def _judge(folder: Path) -> Any:
    import torch

    from model.hugging_face import logits

    return logits(folder, torch.from_numpy(_tokens()))


def _log_probabilities(logits: Any) -> Any:
    import torch

    return torch.log_softmax(logits.float(), dim=-1)


def _divergence(reference: Any, other: Any) -> float:
    """Mean KL divergence over all positions, in nats."""
    total = 0.0
    for row, another in zip(reference, other, strict=True):
        p, q = _log_probabilities(row), _log_probabilities(another)
        total += float((p.exp() * (p - q)).sum(-1).double().mean())
    return total / len(reference)


def _perplexity(logits: Any) -> float:
    """Of each row's tokens after its first."""
    import torch

    losses = []
    for row, ids in zip(logits, torch.from_numpy(_tokens()), strict=True):
        losses.append(torch.nn.functional.cross_entropy(row[:-1].float(), ids[1:]))
    return float(torch.stack(losses).double().mean().exp())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_loads_without_a_warning(scheme: str) -> None:
    report = inspect(_made(scheme))
    assert report.warnings == ()
    assert report.schemes == {SCHEMES[scheme]: 210}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_generates(scheme: str) -> None:
    model = fp8ref.load(_made(scheme), backend="cpu")
    assert "Paris" in tokenizer().decode(model.generate(question("What is the capital of France?"), max_new_tokens=32))


@pytest.mark.parametrize(
    ("scheme", "rule"), [("dynamic", "compressed_tensors.channel"), ("static", "compressed_tensors.tensor")]
)
def test_the_rule_gives_its_codes_and_scales(scheme: str, rule: str) -> None:
    """All codes of all projections, quantized here from the bf16 weights."""
    source, made = Checkpoint(folders().bf16), Checkpoint(_made(scheme))
    compared = differing = 0
    for name, _ in projections(LlamaReader(source).config):
        codes, scale = fp8ref.quantize(source.array(f"{name}.weight"), rule=rule)
        theirs = made.array(f"{name}.weight").view(np.uint8)
        compared += theirs.size
        differing += int(np.count_nonzero(codes.view(np.uint8) != theirs))
        wide = made.array(f"{name}.weight_scale").astype(np.float32)
        assert np.array_equal(scale.ravel().view(np.uint32), wide.ravel().view(np.uint32)), name
    assert (compared, differing) == (CODES, 0)


def test_the_demo_writes_the_same_checkpoint() -> None:
    """Every tensor of FP8_DYNAMIC, by its bits."""
    ours, theirs = Checkpoint(folders().fp8), Checkpoint(_made("dynamic"))
    assert set(ours.names) == set(theirs.names)
    for name in ours.names:
        a, b = ours.array(name), theirs.array(name)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert np.array_equal(a.view(f"u{a.dtype.itemsize}"), b.view(f"u{b.dtype.itemsize}")), name


def test_the_demo_converts_as_transformers_does() -> None:
    """The GGUF through transformers' own loader: the same bf16 weights, and the same ids for any text."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from fp8ref.demo import default_cache
    from fp8ref.demo.fetch import fetch_gguf

    gguf = fetch_gguf(default_cache())
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16)
    ours = Checkpoint(folders().bf16)
    for name in ours.names:
        theirs = model.get_parameter(name).detach().view(torch.uint16).numpy()
        assert np.array_equal(ours.array(name).view(np.uint16), theirs), name
    reference = AutoTokenizer.from_pretrained(**source)
    texts = (britannica(), "  two\n\n\ttabs 1234 3.14", "日本語 😀🏳️‍🌈 ñ", "<|im_start|>user\nhi<|im_end|>\n", "")
    for text in texts:
        assert tokenizer().encode(text) == reference(text)["input_ids"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_agrees_with_hugging_face(scheme: str, record_property: pytest.RecordProperty) -> None:
    import torch

    folder = _made(scheme)
    bf16, theirs = _judge(folders().bf16), _judge(folder)
    model = fp8ref.load(folder, backend="cpu")
    ours = torch.stack([torch.from_numpy(model.logits(row)).to(torch.bfloat16) for row in _tokens()])
    top1 = float((ours.argmax(-1) == theirs.argmax(-1)).double().mean())
    divergences = _divergence(bf16, ours), _divergence(bf16, theirs)
    perplexities = _perplexity(ours), _perplexity(theirs)
    found = {"top1": top1, "divergence": divergences, "perplexity": perplexities}
    for key, value in found.items():
        record_property(key, value)
    print(f"{scheme}: top-1 {top1:.4f}, KL {divergences[0]:.4f} (theirs {divergences[1]:.4f}),", end=" ")
    print(f"perplexity {perplexities[0]:.3f} (theirs {perplexities[1]:.3f})")
    assert top1 >= TOP1
    assert divergences[0] <= DIVERGENCE * divergences[1]
    assert abs(perplexities[0] / perplexities[1] - 1) <= PERPLEXITY
