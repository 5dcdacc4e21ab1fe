# SPDX-License-Identifier: Apache-2.0
"""The forward pass of tiny models against the witness: every intermediate, with an empty and with a filled cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bits import E4M3, assert_same_bits, same_bits
from conformance.defects_llama import MODELS
from conformance.wrong_llama import RIGHT, Wrong
from inputs import llama_families
from inputs.case import Case
from inputs.llama import Model, cases
from oracle import expected

CASES = cases() + llama_families.cases()


def golden_forward(model: Model, prompt: Any, wrong: Wrong = RIGHT) -> dict[str, np.ndarray]:
    """What `oracle.forward` returns, by the golden model, with a mistake in it if need be."""
    found: dict[str, np.ndarray] = {}

    def note(n: int, name: str, x: np.ndarray) -> None:
        assert f"{n}.{name}" not in found, f"{name} is traced twice"
        found[f"{n}.{name}"] = x.view(E4M3).copy() if name.endswith("_codes") else x.copy()

    wrong.run(*model.golden(), model.accumulate, prompt, note)
    return found


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_every_intermediate(case: Case) -> None:
    assert_same_bits(golden_forward(**case.arguments), expected(case), case.name)


@pytest.mark.parametrize("word, name", [(word, name) for word, wrong in MODELS.items() for name in wrong])
def test_wrong_models_are_noticed(word: str, name: str) -> None:
    """By the comparison above: each mistake changes a bit of some intermediate."""
    for case in CASES:
        if word in case.name and not same_bits(
            golden_forward(**case.arguments, wrong=MODELS[word][name]), expected(case)
        ):
            return
    pytest.fail(f"no input notices {name}")


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_logits(case: Case) -> None:
    """What a forward returns is what it traces, as many rows as were asked for."""
    from fp8ref.golden import llama

    model, prompt = case.arguments["model"], case.arguments["prompt"]
    config, weights = model.golden()
    cache = llama.KVCache(config)
    for tokens, rows, vision in prompt:
        traced: dict[str, np.ndarray] = {}
        how = {"accumulate": model.accumulate, "trace": traced.__setitem__, "logits_rows": rows}
        logits = llama.forward(config, weights, tokens, cache, vision_states=vision, **how)
        assert logits.shape == (rows, config.vocab_size) and ("logits" in traced) == (rows > 0)
        assert_same_bits(logits, traced.get("logits", logits))
