# SPDX-License-Identifier: Apache-2.0
"""A model with cross-attention: what vision states do to it, and which are refused. [LLAMA-VISION]"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bits import assert_same_bits, same_bits
from fp8ref.errors import OpError
from fp8ref.model import Model, load
from model.test_cuts import image
from model.tiny import write_tiny

PROMPT, HIDDEN, VOCABULARY = [3, 80, 4, 87, 5], 48, 80  # ids from 80 on are image tokens
ONE, OTHER = image(HIDDEN), image(HIDDEN, 3, 8)
REFUSED: list[tuple[Any, str]] = [
    (ONE[0], r"shape \(1, N, 48\) with N >= 1, got shape \(5, 48\)"),
    (ONE[:, :0], "with N >= 1"),
    (np.concatenate([ONE, ONE]), r"shape \(1, N, 48\)"),
    (ONE[..., :47], r"shape \(1, N, 48\)"),
    (ONE[:, None], r"shape \(1, N, 48\)"),
    (ONE.astype(np.float32), "must be bfloat16"),
    ([[[1.0] * HIDDEN]], "must be bfloat16"),
    ("a picture", "must be bfloat16"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_tiny(tmp_path_factory.mktemp("tiny") / "model", model="mllama"), backend="golden")


def test_an_image_is_seen(model: Model) -> None:
    without, one, other = (model.logits(PROMPT, vision_states=x) for x in (None, ONE, OTHER))
    assert without.shape == one.shape == (len(PROMPT), VOCABULARY)
    assert not same_bits(without, one) and not same_bits(one, other)
    assert_same_bits(model.logits(PROMPT), without, "after an image")


def test_an_image_holds_until_another_comes(model: Model) -> None:
    model.reset()
    parts = [model.forward(PROMPT[:2], vision_states=ONE), model.forward(PROMPT[2:])]
    assert_same_bits(np.concatenate(parts), model.logits(PROMPT, vision_states=ONE))
    model.reset()
    model.forward(PROMPT[:2], vision_states=ONE)
    changed = model.forward(PROMPT[2:], vision_states=OTHER)
    assert not same_bits(changed, parts[1])
    assert_same_bits(model.forward([7]), after(model, (PROMPT[:2], ONE), (PROMPT[2:], OTHER), ([7], OTHER)))
    model.reset()
    assert_same_bits(model.forward(PROMPT), model.logits(PROMPT), "after a reset")


def after(model: Model, *forwards: tuple[list[int], np.ndarray | None]) -> np.ndarray:
    """Logits of the last of some forwards."""
    model.reset()
    return [model.forward(tokens, vision_states=states) for tokens, states in forwards][-1]


def test_a_refused_forward_changes_nothing(model: Model) -> None:
    expected = after(model, (PROMPT, ONE), ([7], None))
    model.reset()
    model.forward(PROMPT, vision_states=ONE)
    for tokens, states in ([88], OTHER), ([], OTHER), ([7], OTHER[0]):
        with pytest.raises(OpError):
            model.forward(tokens, vision_states=states)
    assert model.length == len(PROMPT)
    assert_same_bits(model.forward([7]), expected)


def test_a_failing_forward_changes_nothing(model: Model) -> None:
    """What fails in the middle, after the image's keys are computed, leaves the old ones."""
    expected = after(model, (PROMPT, ONE), ([7], None))
    model.reset()
    model.forward(PROMPT, vision_states=ONE)

    def stop(name: str, value: np.ndarray) -> None:
        if name == "layers.3.o_proj":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.forward([9, 9], trace=stop, vision_states=OTHER)
    assert model.length == len(PROMPT)
    assert_same_bits(model.forward([7]), expected)


def test_generate_and_trace(model: Model) -> None:
    ids = list(PROMPT)
    for _ in range(4):
        ids.append(int(np.argmax(model.logits(ids, vision_states=ONE)[-1])))
    assert model.generate(PROMPT, 4, vision_states=ONE) == ids[len(PROMPT) :]
    assert_same_bits(model.logits(PROMPT, chunk=2, vision_states=ONE), model.logits(PROMPT, vision_states=ONE))
    trace = model.trace(PROMPT, vision_states=ONE)
    assert trace["layers.1.k_norm"].shape == (5, 16) and trace["layers.1.q_norm"].shape == (5, 48)
    left_out = set(trace) - set(model.trace(PROMPT))
    assert left_out and all(name.startswith(("layers.1.", "layers.3.")) for name in left_out)


@pytest.mark.parametrize("states, message", REFUSED, ids=str)
def test_other_arrays_are_refused(model: Model, states: Any, message: str) -> None:
    for call in (model.logits, model.trace, model.forward, lambda t, **more: model.generate(t, 4, **more)):
        with pytest.raises(OpError, match=f"llama: vision_states .*{message}"):
            call(PROMPT, vision_states=states)


@pytest.mark.parametrize("family", ["llama", "scout"])
def test_other_families_are_refused(tmp_path: Path, family: str) -> None:
    blind = load(write_tiny(tmp_path / "model", model=family), backend="golden")
    with pytest.raises(OpError, match="llama: vision_states are for mllama, not for llama"):
        blind.logits([1, 2], vision_states=ONE)
    with pytest.raises(OpError, match=r"token id 80 is outside of the vocabulary \[0, 80\)"):
        blind.logits([80])


def test_image_tokens(model: Model) -> None:
    """The table has 8 rows more than there are logits. [LLAMA-TOKENS]"""
    assert not same_bits(model.logits([80])[0], model.logits([0])[0])
    with pytest.raises(OpError, match=r"token id 88 is outside of the vocabulary \[0, 88\)"):
        model.logits([88])


def test_a_tensor_of_torch(model: Model) -> None:
    torch = pytest.importorskip("torch")
    bits = torch.from_numpy(ONE.view(np.int16).copy())
    states = bits.view(torch.bfloat16).requires_grad_()
    assert_same_bits(model.logits(PROMPT, vision_states=states), model.logits(PROMPT, vision_states=ONE))
    strided = np.asarray(ONE).transpose(0, 2, 1).copy().transpose(0, 2, 1)
    assert not strided.flags["C_CONTIGUOUS"] and strided.dtype == ml_dtypes.bfloat16
    assert_same_bits(model.logits(PROMPT, vision_states=strided), model.logits(PROMPT, vision_states=ONE))
