# SPDX-License-Identifier: Apache-2.0
"""Llama 4 and Mllama in C++: every intermediate is golden's, and that of a token alone; cuda's, where there is one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bits import assert_same_bits, same_bits
from everywhere import CUDA_FUNCTIONS, INSTRUCTION_SETS, execution
from fp8ref import load
from fp8ref.backends.cpu.llama import Llama
from fp8ref.errors import OpError
from model.test_cuts import FAMILIES, image
from model.tiny import write_tiny
from model.tiny_families import MODELS

PROMPT = np.random.default_rng(23).integers(0, 80, 19)
EVERY_FAMILY = pytest.mark.parametrize("family, scheme, accumulate, changes", FAMILIES)
Values = dict[str, np.ndarray]


def written(folder: Path, family: str, scheme: str, changes: dict[str, Any]) -> tuple[Path, list[Any]]:
    """A tiny checkpoint, and what it may see."""
    write_tiny(folder, scheme, model=family, **changes)
    return folder, [None, image(changes.get("hidden_size", 48))] if family == "mllama" else [None]


@EVERY_FAMILY
def test_every_intermediate(tmp_path: Path, family: str, scheme: str, accumulate: str, changes: dict[str, Any]) -> None:
    """[LLAMA-TRACE]: the same names in the same order, and the same bits; then the same tokens."""
    folder, images = written(tmp_path / "model", family, scheme, changes)
    golden, cpu = (load(folder, backend=name, accumulate=accumulate) for name in ("golden", "cpu"))
    for states in images:
        expected, got = (model.trace(PROMPT, vision_states=states) for model in (golden, cpu))
        assert list(got) == list(expected)
        assert_same_bits(got, expected)
        new = [model.generate(PROMPT, 8, vision_states=states) for model in (golden, cpu)]
        assert new[1] == new[0]
        assert Llama.load(folder, accumulate).generate(PROMPT, 8, None, None if states is None else states[0]) == new[0]


@EVERY_FAMILY
def test_threads_instruction_sets_cuts_and_streaming_change_no_bit(
    tmp_path: Path, family: str, scheme: str, accumulate: str, changes: dict[str, Any]
) -> None:
    """[LLAMA-CUT], [LLAMA-STREAM]"""
    folder, images = written(tmp_path / "model", family, scheme, changes)
    expected = [load(folder, accumulate=accumulate).logits(PROMPT, vision_states=states) for states in images]
    for weights in ("mapped", "streamed"):
        model = load(folder, accumulate=accumulate, weights=weights)
        for isa, threads, chunk in itertools.product(INSTRUCTION_SETS, (1, 2), (None, 7, 1)):
            with execution(isa, threads):
                for states, whole in zip(images, expected, strict=True):
                    assert_same_bits(model.logits(PROMPT, chunk=chunk, vision_states=states), whole)


@EVERY_FAMILY
def test_a_token_has_the_bits_that_it_has_alone(
    tmp_path: Path, family: str, scheme: str, accumulate: str, changes: dict[str, Any]
) -> None:
    """[GROUPED-ROWS]: every intermediate of a token, fed alone, is its row of the whole prompt's."""
    folder, _ = written(tmp_path / "model", family, scheme, changes)
    model = load(folder, accumulate=accumulate)
    whole = model.trace(PROMPT)
    model.reset()
    for place, token in enumerate(PROMPT):
        alone: Values = {}
        model.forward([token], None, lambda name, value, alone=alone: alone.update({name: np.array(value)}))
        rows = {n: v[place : place + 1] if len(v) == len(PROMPT) else v for n, v in whole.items()}
        assert_same_bits(alone, rows)


@pytest.mark.parametrize("taken", ["one", "some"])
def test_experts_without_rows(tmp_path: Path, taken: str) -> None:
    """[GROUPED-EMPTY]: one expert takes all tokens, or each has some; the golden definition takes them one by one."""
    folder = write_tiny(tmp_path / "model", "channel_static", model="maverick")
    ids = np.full(6, 11) if taken == "one" else PROMPT
    golden, cpu = (load(folder, backend=name).trace(ids) for name in ("golden", "cpu"))
    chosen = [set(value.ravel().tolist()) for name, value in golden.items() if name.endswith(".experts")]
    assert len(chosen) == 2
    assert (len(chosen[0]) == 1) == (taken == "one")
    assert all(len(experts) < 8 for experts in chosen)
    assert_same_bits(cpu, golden)


def test_a_wrong_expert_is_seen(tmp_path: Path) -> None:
    """Each comparison above would see an expert with the codes of another one: all that depends on it differs."""
    right = load(write_tiny(tmp_path / "right", model="scout")).trace(PROMPT)
    wrong = load(write_tiny(tmp_path / "wrong", model="scout", num_experts_per_tok=2)).trace(PROMPT)
    assert same_bits(wrong["layers.0.router"], right["layers.0.router"])
    assert not same_bits(wrong["layers.0.combine"], right["layers.0.combine"])
    assert not same_bits(wrong["logits"], right["logits"])


def test_an_image_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    """[LLAMA-VISION]: keys and values of an image count when the forward that it came with has ended."""
    model = Llama.load(write_tiny(tmp_path / "model", model="mllama"), "exact")
    one, other = image(48)[0], image(48, 3, 8)[0]
    whole = model.forward(PROMPT, len(PROMPT), None, one)
    for at in ("layers.1.k_norm", "layers.3.k_norm", "logits"):
        model.reset()
        begin = model.forward(PROMPT[:9], 9, None, one)

        def fail(name: str, _: object, at: str = at) -> None:
            if name == at:
                raise LookupError(name)

        with pytest.raises(LookupError, match=at):
            model.forward(PROMPT[:5], 1, fail, other)
        assert model.length == 9
        assert_same_bits(np.concatenate([begin, model.forward(PROMPT[9:], 10)]), whole)


@pytest.mark.parametrize(
    ("family", "states", "message"),
    [
        ("scout", image(48)[0], "mllama"),
        ("mllama", image(48)[0, :0], "at least one image token"),
        ("mllama", image(47)[0], r"bfloat16 \(N, 48\)"),
        ("mllama", image(48), r"bfloat16 \(N, 48\)"),
        ("mllama", image(48)[0].astype(np.float32), "got float32"),
    ],
)
def test_refused_vision_states(tmp_path: Path, family: str, states: np.ndarray, message: str) -> None:
    model = Llama.load(write_tiny(tmp_path / "model", model=family), "exact")
    for call in (lambda: model.forward(PROMPT, 1, None, states), lambda: model.generate(PROMPT, 1, None, states)):
        with pytest.raises(OpError, match=message):
            call()
    assert model.length == 0


def test_image_tokens_are_ids(tmp_path: Path) -> None:
    """[LLAMA-TOKENS]: of Mllama those up to V + 7, of others those below V."""
    model = Llama.load(write_tiny(tmp_path / "model", model="mllama"), "exact")
    model.forward([87], 1)
    with pytest.raises(OpError, match=r"id 88 .*\[0, 88\)"):
        model.forward([88], 1)


@pytest.mark.skipif(not CUDA_FUNCTIONS, reason="needs the cuda backend and a device, or the emulator")
@pytest.mark.parametrize("family", MODELS)
def test_cuda(tmp_path: Path, family: str) -> None:
    """Static experts and FP8 caches: whatever has a kernel of its own."""
    folder, images = written(tmp_path / "model", family, "tensor_static", {"kv_cache": "float8_e4m3fn"})
    cpu, cuda = (load(folder, backend=name, accumulate="sm90") for name in ("cpu", "cuda"))
    expected, got = (model.trace(PROMPT[:6], vision_states=images[-1]) for model in (cpu, cuda))
    assert list(got) == list(expected)
    assert_same_bits(got, expected)
