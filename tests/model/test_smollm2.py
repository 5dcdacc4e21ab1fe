# SPDX-License-Identifier: Apache-2.0
"""A real FP8 model, SmolLM2-135M-Instruct: golden and cpu agree on every bit, and the answer is right."""

from __future__ import annotations

import numpy as np
import pytest

from model.smollm2 import folders, logits_with, model, prose, question, tokenizer

pytestmark = pytest.mark.model

PROMPT_TOKENS = 64


def test_the_same_right_answer_on_both_backends() -> None:
    ids = question("What is the capital of France?")
    golden = model("golden").generate(ids, max_new_tokens=32)
    assert model("cpu").generate(ids, max_new_tokens=32) == golden
    assert golden[-1] in model("golden").config.eos_token_ids
    assert "Paris" in tokenizer().decode(golden)


@pytest.mark.parametrize("accumulate", ["exact", "sm90_wgmma", "sm90"])
def test_every_value_of_a_prompt_is_equal_on_both_backends(accumulate: str) -> None:
    """All intermediates of [LLAMA-TRACE] and the logits of 64 tokens."""
    ids = prose(PROMPT_TOKENS)
    golden, cpu = model("golden", accumulate).trace(ids), model("cpu", accumulate).trace(ids)
    assert list(golden) == list(cpu)
    assert golden["logits"].shape == (PROMPT_TOKENS, 49152)
    for name, value in golden.items():
        kind = f"u{value.dtype.itemsize}"
        assert cpu[name].dtype == value.dtype
        assert np.array_equal(cpu[name].view(kind), value.view(kind)), name


def test_accumulators_differ_somewhere() -> None:
    """So that the comparison above is of two different things."""
    ids = prose(16)
    exact, wgmma = (model("cpu", name).logits(ids) for name in ("exact", "sm90_wgmma"))
    assert not np.array_equal(exact, wgmma)


@pytest.mark.parametrize("accumulate", ["exact", "sm90_wgmma", "sm90"])
def test_threads_and_cuts_change_no_bit(accumulate: str) -> None:
    """One and two threads; the prompt at once, in chunks of 7, token by token. [LLAMA-CUT]"""
    ids, subject = prose(PROMPT_TOKENS), model("cpu", accumulate)
    expected = logits_with(1, subject, ids)
    for threads in (1, 2):
        for chunk in (None, 7, 1):
            assert np.array_equal(logits_with(threads, subject, ids, chunk), expected)


def test_the_checkpoint_is_fp8() -> None:
    from fp8ref.checkpoint import inspect

    report = inspect(folders().fp8)
    assert report.schemes == {"fp8 channel weights, token activations": 210}
    assert report.parameters == 134_515_008
    assert report.warnings == ()
