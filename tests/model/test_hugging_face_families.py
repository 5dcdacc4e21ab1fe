# SPDX-License-Identifier: Apache-2.0
"""Every family against Hugging Face: tiny checkpoints that it and llm-compressor write, run by both.

First the judge itself: its logits move by more than the bound when a part of the model is wrong, and by less when only
the arithmetic differs. Without that the comparisons after it would say nothing.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

import fp8ref
from bits import assert_same_bits
from fp8ref.model import Model
from model import ablations
from model import hugging_face_judge as judge
from model.hugging_face_tiny import KINDS, bf16, text_only
from model.hugging_face_tiny_fp8 import RECIPES, fp8

pytestmark = pytest.mark.hf

FAMILIES = ("scout", "maverick", "top2", "mllama")
NAMES = (*FAMILIES, *RECIPES)
CASES = [(name, image) for name in NAMES for image in judge.IMAGES[judge.kind_of(name)]]
OWN = 1.2  # at most so many times Hugging Face's own distance
SHORT = 24  # tokens, past the first chunk

# Modules whose weights are FP8.
ROUTED = r"language_model\.model\.layers\.\d+\.feed_forward\.experts\.\d+\.\w+_proj"
MLLAMA_TEXT = r"language_model\.model\.layers\.\d+\.(self_attn|cross_attn|mlp)\.\w+_proj"
LLAMA_TEXT = r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"
FP8_MODULES = {
    "scout-fp8": ROUTED.replace(r"experts\.\d+", r"(experts\.\d+|shared_expert)"),
    "maverick-fp8": ROUTED,
    "top2-fp8": ROUTED,
    "mllama-fp8": MLLAMA_TEXT,
    "mllama-card-fp8": rf"{MLLAMA_TEXT}|vision_model\..*|multi_modal_projector",
    **{name: LLAMA_TEXT for name in RECIPES if name.startswith("llama")},
}


def _folder(name: str) -> Any:
    return fp8(name) if name in RECIPES else bf16(name)


@functools.cache
def _model(name: str, backend: str = "cpu") -> Model:
    return fp8ref.load(_folder(name), backend=backend)


def _states(image: str) -> Any:
    return judge.vision_states() if image == "states" else None


def _arguments(image: str) -> dict[str, Any]:
    return {} if image == "none" else {"vision_states": _states(image)}


@functools.cache
def _ours(name: str, image: str) -> Any:
    """float32 (PROMPTS, LENGTH, V), all prompts one after the other on one model."""
    model = _model(name)
    return np.stack([model.logits(row, **_arguments(image)) for row in judge.prompts()])


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name, table in ablations.ABLATIONS.items() for mistake in table]
)
def test_hugging_face_sees_the_mistake(name: str, mistake: str) -> None:
    import torch

    ablation = ablations.ABLATIONS[name][mistake]
    kind = judge.kind_of(name)
    image = judge.IMAGES[kind][-1]
    model = judge.judge(name)
    with torch.no_grad():
        ablation.change(model)
    cosines = judge.cosines(judge.reference(kind, image), judge.logits(model, _states(image)))
    found = ablation.statistic(cosines, judge.kept(kind))
    print(f"{name}, {mistake}: {found:.4f}")
    assert found < (ablation.below or judge.BOUNDS[kind])


def test_hugging_face_sees_the_image() -> None:
    assert judge.agreement("mllama", judge.reference("mllama"), "states") < judge.BOUNDS["mllama"]


@pytest.mark.parametrize("kind", KINDS)
def test_most_positions_are_compared(kind: str) -> None:
    """And those left out are a few, so that a median cannot hide behind them."""
    assert float(judge.kept(kind).double().mean()) > 0.75


@pytest.mark.parametrize("name", RECIPES)
def test_what_llm_compressor_writes(name: str) -> None:
    """The FP8 modules are those of the recipe: a renamed module would silently be left out of the comparison."""
    with safe_open(fp8(name) / "model.safetensors", "np") as file:
        types = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    quantized = {key.removesuffix(".weight") for key, dtype in types.items() if dtype == "F8_E4M3"}
    weights = {key.removesuffix(".weight") for key in types if key.endswith(".weight")}
    linear = {module for module in weights if f"{module}.weight_scale" in types}
    assert quantized == linear
    pattern = FP8_MODULES[name]
    assert quantized
    assert all(re.fullmatch(pattern, module) for module in quantized)
    text = pattern.split("|vision")[0]
    assert {module for module in weights if re.fullmatch(text, module)} <= quantized
    config = json.loads((fp8(name) / "config.json").read_text())["quantization_config"]
    assert ("model.layers.0.self_attn.k_scale" in types) == (config["kv_cache_scheme"] is not None)


@pytest.mark.parametrize(("name", "image"), [case for case in CASES if case[0] in RECIPES])
def test_hugging_face_agrees_with_itself(name: str, image: str) -> None:
    """Its own FP8 run is within the bound, so the bound asks nothing that FP8 cannot give."""
    found = judge.agreement(name, judge.reference(name, image), image)
    print(f"{name}, image {image}: {found:.5f}")
    assert found >= judge.BOUNDS[judge.kind_of(name)]


@pytest.mark.parametrize(("name", "image"), CASES)
def test_it_agrees_with_hugging_face(name: str, image: str, record_property: pytest.RecordProperty) -> None:
    import torch

    kind = judge.kind_of(name)
    ours = torch.from_numpy(_ours(name, image))
    found = judge.agreement(name, ours, image)
    theirs = judge.reference(name, image)
    own = judge.agreement(name, theirs, image)
    between = float(judge.cosines(ours, theirs)[judge.kept(kind)].median())
    record_property("median_cosine", {"bf16": found, "theirs": own, "between": between})
    print(f"{name}, image {image}: with bf16 {found:.5f} (theirs {own:.5f}), with their own run {between:.5f}")
    bound = judge.BOUNDS[kind] if name in RECIPES else judge.SAME_WEIGHTS
    assert min(found, between) >= bound
    if name in RECIPES:
        assert 1 - found <= OWN * (1 - own)


@pytest.mark.parametrize(("name", "image"), CASES)
def test_golden_and_cpu_have_the_same_bits(name: str, image: str) -> None:
    """Of every intermediate of one prompt, and of the logits of another."""
    golden, cpu = (_model(name, backend) for backend in ("golden", "cpu"))
    first, second, *_ = judge.prompts()
    assert_same_bits(cpu.trace(first, **_arguments(image)), golden.trace(first, **_arguments(image)))
    assert_same_bits(cpu.logits(second, **_arguments(image)), golden.logits(second, **_arguments(image)))


@pytest.mark.parametrize(("name", "image"), CASES)
def test_other_tokens_change_no_bit(name: str, image: str) -> None:
    """A prompt on a model that has seen nothing else, in pieces, and as the beginning of a longer one."""
    ids, arguments = judge.prompts()[-1], _arguments(image)
    expected = _ours(name, image)[-1]
    alone = fp8ref.load(_folder(name), backend="cpu")
    for chunk in (None, 7):
        assert_same_bits(alone.logits(ids, chunk=chunk, **arguments), expected)
    assert_same_bits(alone.logits(ids[:SHORT], **arguments), expected[:SHORT])


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_text_model_alone(kind: str) -> None:
    """Hugging Face's other spelling of the same model, without a prefix, has the same bits."""
    alone = fp8ref.load(text_only(kind), backend="cpu")
    image = judge.IMAGES[kind][-1]
    assert_same_bits(alone.logits(judge.prompts()[0], **_arguments(image)), _ours(kind, image)[0])


def test_the_vision_tower_is_no_concern_of_the_text() -> None:
    """The card's recipe quantizes it under transformers 5; the text's tensors are the same."""
    assert_same_bits(_ours("mllama-card-fp8", "states"), _ours("mllama-fp8", "states"))
