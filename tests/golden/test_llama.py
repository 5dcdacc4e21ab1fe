# SPDX-License-Identifier: Apache-2.0
"""The forward pass of tiny models against the witness: every intermediate, with an empty and with a filled cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bits import E4M3, assert_same_bits
from fp8ref.golden import llama
from inputs.llama import Model, cases
from oracle import expected


def golden_forward(model: Model, prompt: Any) -> dict[str, np.ndarray]:
    """What `oracle.forward` returns, by the golden model."""
    config, weights = model.golden()
    cache = llama.KVCache(config)
    found: dict[str, np.ndarray] = {}
    for n, (tokens, rows, vision) in enumerate(prompt):

        def note(name: str, x: np.ndarray, n: int = n) -> None:
            assert f"{n}.{name}" not in found, f"{name} is traced twice"
            found[f"{n}.{name}"] = x.view(E4M3).copy() if name.endswith("input_codes") else x.copy()

        how = {"accumulate": model.accumulate, "trace": note, "logits_rows": rows, "vision_states": vision}
        logits = llama.forward(config, weights, tokens, cache, **how)
        assert logits.shape == (rows, config.vocab_size)
        if rows:
            assert_same_bits(logits, found[f"{n}.logits"], "the logits returned and traced")
    return found


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_every_intermediate(case):
    assert_same_bits(golden_forward(**case.arguments), expected(case), case.name)
