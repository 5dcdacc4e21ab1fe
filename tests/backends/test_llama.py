# SPDX-License-Identifier: Apache-2.0
"""The C++ Llama: threads, instruction sets, cuts and alignment change no bit; whatever fails leaves it usable."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from bits import assert_same_bits
from checkpoint.damage import Damaged, joined
from everywhere import HAS_MXCSR, INSTRUCTION_SETS, execution, hostile_environment
from fp8ref import load
from fp8ref.backends.cpu.llama import Llama
from fp8ref.errors import CheckpointError, OpError
from model.tiny import SCHEMES, write_tiny
from model.tiny_families import MODELS

PROMPT = np.random.default_rng(21).integers(0, 80, 24)


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """Write a tiny checkpoint, ``tiny(scheme, **changes of config.json)``."""
    return lambda *args, **changes: write_tiny(tmp_path / "model", *args, **changes)


@pytest.mark.parametrize("accumulate", ["exact", "sm90_wgmma"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_threads_instruction_sets_and_cuts_change_no_bit(tiny: Callable[..., Path], scheme: str, accumulate: str):
    folder = tiny(scheme)
    expected = load(folder, backend="golden", accumulate=accumulate).logits(PROMPT)
    model = load(folder, accumulate=accumulate)
    for isa, threads, chunk in itertools.product(INSTRUCTION_SETS, (1, 2), (None, 7, 1)):
        with execution(isa, threads):
            assert_same_bits(model.logits(PROMPT, chunk=chunk), expected, f"{isa}, {threads} threads, chunk {chunk}")


@pytest.mark.skipif(not HAS_MXCSR, reason="needs x86-64 Linux")
def test_a_hostile_environment_changes_no_bit(tiny: Callable[..., Path]) -> None:
    folder = tiny("channel_token", rms_norm_eps=1.1e-5, rope_theta=10000.1)
    expected = load(folder, backend="golden").trace(PROMPT)
    actual: dict[str, np.ndarray] = {}
    with hostile_environment():
        Llama.load(folder, "exact").forward(PROMPT, len(PROMPT), actual.__setitem__)
    assert_same_bits(actual, expected)


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_tensors_at_odd_addresses(tmp_path: Path, shift: int) -> None:
    """The format lets a header have any length and a tensor follow another of an odd size."""
    tiny = Damaged(tmp_path / "model", "mixed")
    expected = load(tiny.folder, backend="golden").logits(PROMPT)
    header = json.dumps(tiny.header).encode()
    header += b" " * (-len(header) % 8 + shift)
    tiny.file.write_bytes(joined(header, tiny.data))
    assert_same_bits(load(tiny.folder).logits(PROMPT), expected)


def test_a_prompt_of_several_internal_chunks(tiny: Callable[..., Path]) -> None:
    """Long prompts go through the layers in pieces of 512 tokens; a trace goes at once."""
    ids = np.random.default_rng(3).integers(0, 80, 1100)
    model = load(tiny("channel_token", max_position_embeddings=2048))
    whole = model.logits(ids)
    assert_same_bits(model.logits(ids, chunk=300), whole)
    assert_same_bits(model.trace(ids)["logits"], whole)
    for rows in (0, 1, 76, 77, 600):
        model.reset()
        assert_same_bits(model.forward(ids, logits_rows=rows), whole[len(ids) - rows :])


@pytest.mark.parametrize("eos", [[], [79], list(range(40))], ids=["none", "one", "many"])
def test_generation_in_cpp_is_that_of_python(tiny: Callable[..., Path], eos: list[int]) -> None:
    folder = tiny("channel_token", eos_token_id=eos)
    expected = load(folder, backend="golden").generate(PROMPT, 60)
    model = Llama.load(folder, "exact")
    for count in (0, 1, 3, 60):
        seen: list[int] = []
        assert model.generate(PROMPT, count, seen.append) == expected[:count] == seen


@pytest.mark.parametrize("family", MODELS)
def test_config_is_that_of_the_python_reader(tiny: Callable[..., Path], family: str) -> None:
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    changes = {"rope_scaling": {"rope_type": "llama3"} | scaling, "eos_token_id": [7, 9, 7]}
    folder = tiny("tensor_token", model=family, **changes | ({"mlp_bias": True} if family == "llama" else {}))
    config = Llama.load(folder, "exact").config
    python = load(folder, backend="golden").config
    layers = [asdict(python.layer(i)) for i in range(python.num_hidden_layers)]
    expected = asdict(python) | {
        "embedding_rows": python.token_ids,
        "moe": python.moe and {key: value for key, value in asdict(python.moe).items() if key != "layers"},
        "layers": [layer | {"temperature": layer["temperature"] is not None} for layer in layers],
    }
    of_layers = {"no_rope_layers", "attention_chunk_size", "qk_norm", "cross_attention_layers"}  # said layer by layer
    assert config | {"eos_token_ids": tuple(config["eos_token_ids"])} == {
        key: value for key, value in expected.items() if key not in of_layers
    }


@pytest.fixture
def filled(tiny: Callable[..., Path]) -> Iterator[Llama]:
    """A model with the first tokens of PROMPT in its cache; afterwards they must still be there, and nothing else."""
    model = Llama.load(tiny("channel_token", max_position_embeddings=1 << 20), "exact")
    whole = model.forward(PROMPT, len(PROMPT))
    model.reset()
    model.forward(PROMPT[:9], 0)
    yield model
    assert model.length == 9
    assert_same_bits(model.forward(PROMPT[9:], len(PROMPT) - 9), whole[9:])


@pytest.mark.parametrize("at", ["embed_tokens", "layers.0.k_rope", "layers.1.mlp_residual", "logits"])
def test_a_failing_callback(filled: Llama, at: str) -> None:
    def fail(name: str, _: object) -> None:
        if name == at:
            raise LookupError(name)

    with pytest.raises(LookupError, match=at):
        filled.forward(PROMPT[::-1].copy(), 1, fail)


@pytest.mark.parametrize(
    ("tokens", "rows", "message"),
    [([], 0, "at least one"), ([3, 80], 1, "id 80"), ([-1], 1, "id -1"), ([3], 2, "logits_rows")],
)
def test_refused_tokens(filled: Llama, tokens: list[int], rows: int, message: str) -> None:
    with pytest.raises(OpError, match=f"llama: .*{message}"):
        filled.forward(tokens, rows)


def test_refused_positions_and_counts(tiny: Callable[..., Path]) -> None:
    model = Llama.load(tiny("channel_token"), "exact")
    model.forward(np.zeros(60, np.int64), 0)
    with pytest.raises(OpError, match="60 tokens so far and 5 new ones exceed max_position_embeddings=64"):
        model.forward(np.zeros(5, np.int64), 0)
    with pytest.raises(OpError, match="max_new_tokens"):
        model.generate(PROMPT, -1)
    assert model.length == 60
    model.forward(np.zeros(4, np.int64), 1)


def test_a_callback_that_calls_the_model(filled: Llama) -> None:
    """It must neither hang nor disturb the forward that it came from."""
    errors: list[OpError] = []

    def call_back(name: str, _: object) -> None:
        with pytest.raises(OpError, match="already running") as caught:
            filled.reset()
        errors.append(caught.value)

    with pytest.raises(StopIteration):
        filled.generate(PROMPT[:4], 3, lambda _: next(iter(())))
    filled.reset()
    filled.forward(PROMPT[:9], 1, call_back)
    assert len(errors) > 30


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_interrupting_a_long_forward(filled: Llama) -> None:
    """Ctrl-C ends it within a layer."""
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.3, signal.pthread_kill, [main, signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        filled.forward(np.zeros(1 << 19, np.int64), 0)
    timer.join()


def test_a_file_name_that_is_not_text(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("the file system has no such names")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        Llama.load(folder, "exact")
