# SPDX-License-Identifier: Apache-2.0
"""How much memory a checkpoint of many experts takes on the cpu backend. [LLAMA-STREAM] [CKPT-STREAM]"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fp8ref.checkpoint import write_checkpoint
from fp8ref.errors import OpError
from fp8ref.model import load
from model.tiny import bf16, bf16_tensors, quantized, write_tiny
from model.tiny_families import SCOUT

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists() or importlib.util.find_spec("fp8ref._ext") is None,
    reason="needs Linux, and the compiled extension",
)

EXPERTS, HIDDEN, INNER, LAYERS = 24, 1024, 2048, 2
EXPERT = 3 * HIDDEN * INNER  # bytes of its codes
PROMPT = 32  # tokens

# Resident bytes by the time: before, loaded, after one token, and the most by the end of a prompt.
PROGRAM = """
import hashlib, json, sys
import numpy as np
import fp8ref
from fp8ref import _ext

_ext.set_threads(2)

def resident(key):
    return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1]) * 1024

fp8ref.load(sys.argv[2]).logits([1])  # the library's own pages
seen = {"before": resident("VmRSS:")}
model = fp8ref.load(sys.argv[1], weights=sys.argv[3])
seen["loaded"] = resident("VmRSS:")
model.forward([7], logits_rows=1)
seen["one"] = resident("VmHWM:")
logits = model.logits(np.arange(int(sys.argv[4])) % 80)
seen["most"] = resident("VmHWM:")
print(json.dumps({**seen, "digest": hashlib.sha256(logits.tobytes()).hexdigest()}))
"""


def experts(tensors: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Experts 1 to EXPERTS - 1 of each layer: the codes of expert 0, turned round."""
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".experts.0.")
        if rest:
            for e in range(1, EXPERTS):
                yield f"{first}.experts.{e}.{rest}", np.roll(tensor, 7 * e)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Llama 4 with 300 MB of experts, and a tiny one."""
    path = tmp_path_factory.mktemp("streaming")
    size = {"hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS}
    text = SCOUT | size | {"num_local_experts": 1, "no_rope_layers": [1, 0]}
    method, tensors = quantized(text, bf16_tensors(text), "channel_token", ("self_attn.",))
    tensors |= dict(experts(tensors))
    random = np.random.default_rng(2)
    for layer in range(LAYERS):
        router = f"model.layers.{layer}.feed_forward.router.weight"
        tensors[router] = bf16(random.standard_normal((EXPERTS, HIDDEN)))
    write_checkpoint(path / "large", text | {"num_local_experts": EXPERTS, "quantization_config": method}, tensors)
    return path / "large", write_tiny(path / "tiny", model="scout")


@pytest.fixture(scope="module")
def runs(folders: tuple[Path, Path]) -> dict[str, dict[str, Any]]:
    """What a process of its own sees, with each word."""
    out = {}
    for weights in ("mapped", "streamed"):
        command = [sys.executable, "-c", PROGRAM, *map(str, folders), weights, str(PROMPT)]
        out[weights] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return out


def test_streamed_weights_take_little_memory(runs: dict[str, dict[str, Any]]) -> None:
    """Below one expert of each of two threads and as much for all else, and far below the experts of one layer.

    Mapped, as streamed would be if it gave nothing back, the same run keeps the experts of both layers.
    """
    bound = 4 * EXPERT
    assert bound < EXPERTS * EXPERT / 4
    used = {weights: seen["most"] - seen["before"] for weights, seen in runs.items()}
    assert used["streamed"] < bound < used["mapped"], used
    assert runs["streamed"]["digest"] == runs["mapped"]["digest"]


def test_a_token_touches_the_experts_that_it_chose(runs: dict[str, dict[str, Any]]) -> None:
    """Opening reads no expert, and a token, in each layer, one routed expert and the shared one."""
    seen = runs["mapped"]
    assert seen["loaded"] - seen["before"] < 2 * EXPERT  # embeddings, attention and lm_head
    assert LAYERS * 2 * EXPERT * 0.9 < seen["one"] - seen["loaded"] < LAYERS * 3 * EXPERT


def test_the_word(folders: tuple[Path, Path]) -> None:
    with pytest.raises(OpError, match="weights"):
        load(folders[1], backend="cpu", weights="resident")
    with pytest.raises(OpError, match="golden"):
        load(folders[1], backend="golden", weights="streamed")
