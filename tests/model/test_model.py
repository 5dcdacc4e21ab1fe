# SPDX-License-Identifier: Apache-2.0
"""The loaded model: generation, trace, cache, and typed errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fp8ref.errors import BackendError, CheckpointError, OpError
from fp8ref.model import Model, load
from model.tiny import write_tiny

PROMPT = [3, 1, 4, 1, 5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(folder, backend="golden")


def free_run(model: Model, count: int) -> list[int]:
    """What greedy generation is by its definition: the whole sequence again for every token."""
    ids = list(PROMPT)
    for _ in range(count):
        ids.append(int(np.argmax(model.logits(ids)[-1])))
    return ids[len(PROMPT) :]


def test_generate_follows_the_logits(model: Model) -> None:
    seen: list[int] = []
    new = model.generate(PROMPT, max_new_tokens=6, on_token=seen.append)
    assert new == seen == free_run(model, len(new))
    assert len(new) == 6 or new[-1] in model.config.eos_token_ids


@pytest.mark.parametrize("spelling", ["int", "list", "generation_config"])
def test_generate_stops_at_eos(tmp_path: Path, model: Model, spelling: str) -> None:
    expected = free_run(model, 4)
    eos = expected[2]
    stop = expected.index(eos) + 1
    changes: dict[str, Any] = {"eos_token_id": [79, eos] if spelling == "list" else eos}
    if spelling == "generation_config":
        changes = {"eos_token_id": expected[0]}  # generation_config.json decides, not this
    again = write_tiny(tmp_path / "model", **changes)
    if spelling == "generation_config":
        (again / "generation_config.json").write_text(f'{{"eos_token_id": [{eos}]}}')
    assert load(again, backend="golden").generate(PROMPT, max_new_tokens=8) == expected[:stop]


def test_generate_stops_at_the_last_position(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "model", max_position_embeddings=8, eos_token_id=[])
    model = load(folder, backend="golden")
    assert len(model.generate(PROMPT, max_new_tokens=100)) == 3
    assert model.generate(list(range(8)), max_new_tokens=100) == []


def test_generate_nothing(model: Model) -> None:
    assert model.generate(PROMPT, max_new_tokens=0) == []


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "at least one"),
        ([[1, 2]], "list of at least one"),
        ([1.5], "must be integers"),
        (["a"], "must be integers"),
        ([True], "must be integers"),
        ([1, -1], "token id -1 is outside"),
        ([1, 80], "token id 80 is outside"),
        (list(range(65)), "exceed max_position_embeddings=64"),
    ],
)
def test_bad_prompts_are_refused(model: Model, tokens: Any, message: str) -> None:
    for call in (model.logits, model.trace, lambda t: model.generate(t, 4)):
        with pytest.raises(OpError, match=f"llama: .*{message}"):
            call(tokens)


@pytest.mark.parametrize("count", [-1, 1.5, True, None])
def test_bad_max_new_tokens_is_refused(model: Model, count: Any) -> None:
    with pytest.raises(OpError, match="max_new_tokens"):
        model.generate(PROMPT, count)


def test_bad_chunk_and_rows_are_refused(model: Model) -> None:
    with pytest.raises(OpError, match="chunk"):
        model.logits(PROMPT, chunk=0)
    for rows in (-1, 6):
        with pytest.raises(OpError, match="logits_rows"):
            model.forward(PROMPT, logits_rows=rows)


def test_a_refused_forward_leaves_the_cache(model: Model) -> None:
    model.reset()
    model.forward(PROMPT)
    with pytest.raises(OpError):
        model.forward([80])
    assert model.length == len(PROMPT)
    assert np.array_equal(model.forward([9]), model.logits([*PROMPT, 9])[-1:])


def test_logits_rows(model: Model) -> None:
    whole = model.logits(PROMPT)
    for rows in (0, 2):
        model.reset()
        some = model.forward(PROMPT, logits_rows=rows)
        assert some.dtype == np.float32 and np.array_equal(some, whole[len(PROMPT) - rows :])


def test_trace_has_every_name_in_order(model: Model) -> None:
    half = ["input_layernorm", *fp8("q_proj"), *fp8("k_proj"), *fp8("v_proj"), "q_rope", "k_rope", "attention"]
    half += [*fp8("o_proj"), "attention_residual", "post_attention_layernorm", *fp8("gate_proj"), *fp8("up_proj")]
    half += ["silu_mul", *fp8("down_proj"), "mlp_residual"]
    names = ["embed_tokens", *(f"layers.{i}.{n}" for i in range(2) for n in half), "norm", "logits"]
    trace = model.trace(PROMPT)
    assert list(trace) == names
    assert all(value.ndim == 2 and len(value) == len(PROMPT) for value in trace.values())
    kinds = {name.rpartition(".")[2]: value.dtype.name for name, value in trace.items()}
    assert {kinds.pop("input_codes"), kinds.pop("input_scale"), kinds.pop("logits")} == {"uint8", "float32"}
    assert set(kinds.values()) == {"bfloat16"}
    assert trace["layers.1.q_rope"].shape == (5, 48) and trace["layers.1.k_rope"].shape == (5, 16)
    assert np.array_equal(trace["logits"], model.logits(PROMPT))


def fp8(name: str) -> list[str]:
    return [f"{name}.input_codes", f"{name}.input_scale", name]


def test_trace_of_static_scales(tmp_path: Path) -> None:
    trace = load(write_tiny(tmp_path / "model", "tensor_static"), backend="golden").trace(PROMPT)
    assert trace["layers.0.q_proj.input_scale"].shape == (1, 1)


def test_load_refuses_what_it_does_not_know(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="'tpu'"):
        load(folder, backend="tpu")
    with pytest.raises(OpError, match="accumulate='fast'"):
        load(folder, backend="golden", accumulate="fast")
    with pytest.raises(CheckpointError, match="nowhere"):
        load(tmp_path / "nowhere", backend="golden")


def test_golden_needs_no_extension(folder: Path) -> None:
    import subprocess
    import sys

    code = f"import sys, fp8ref; m = fp8ref.load({str(folder)!r}, backend='golden'); m.generate([1], 1)"
    code += "; sys.exit('fp8ref._ext' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
