# SPDX-License-Identifier: Apache-2.0
"""Speeds of a whole model at the shapes of Llama 3.1 8B: decode against the memory, prefill against transformers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu import arrays, model, timing
from gpu.part_bench import GIGA, row

if TYPE_CHECKING:
    from gpu.gate import Settings

Rows = Iterator[tuple[str, dict[str, Any]]]
LAYERS = {"quick": 4, "whole": 32}
ACCUMULATES = ("exact", "sm90")
PROMPT, NEW = 128, 96
PREFILL = (2048, 8192)


def _wall(work: Callable[[], Any], rounds: int = 3) -> float:
    """The median of wall times: a whole model's call ends with values on the host."""
    import torch

    work()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def load(settings: Settings, accumulate: str) -> Any:
    """The model on the device."""
    import fp8ref

    return fp8ref.load(model.folder(settings, LAYERS[settings.level]), backend="cuda", accumulate=accumulate)


def _decode(settings: Settings, accumulate: str) -> Rows:
    """The time of a token is the difference of two generations, so the prompt does not count."""
    from fp8ref.bench.model import per_token

    loaded, prompt = load(settings, accumulate), model.tokens(PROMPT).tolist()
    peak = timing.copy_bandwidth()
    taken = [_wall(partial(loaded.generate, prompt, count)) for count in (1, 1 + NEW)]
    token = (taken[1] - taken[0]) / NEW
    moved = per_token(loaded.config, lambda _: 1)[0]
    label = f"decode of {LAYERS[settings.level]} layers of 8B, batch 1, {accumulate}"
    yield row(
        f"{label}, GB/s of weights against a copy ({1 / token:.1f} tokens/s)", moved / token / GIGA, peak / GIGA, 0.55
    )
    ids = model.tokens(max(PREFILL))
    for count in PREFILL:

        def prefill(count: int = count) -> None:
            loaded.reset()
            loaded.forward(ids[:count], 1)

        rate = count / _wall(prefill)
        target = 1.3 if accumulate == "sm90" else None
        name = f"prefill of {count} tokens, {LAYERS[settings.level]} layers of 8B, {accumulate}, tokens/s"
        yield row(f"{name} against transformers bf16", rate, _transformers(settings.level, count), target)


_PEER: dict[str, Any] = {}


def _transformers(level: str, count: int) -> float:
    """Tokens per second of transformers' bf16 model of the same shapes, logits of the last token."""
    import torch

    if (level, count) in _PEER:
        return float(_PEER[level, count])
    if "model" not in _PEER:
        from transformers import LlamaConfig, LlamaForCausalLM

        of = model.config(LAYERS[level])
        del of["quantization_config"]
        torch.set_default_dtype(torch.bfloat16)
        with torch.device(arrays.DEVICE):
            _PEER["model"] = LlamaForCausalLM(LlamaConfig(**of)).eval()
        torch.set_default_dtype(torch.float32)
    ids = torch.from_numpy(model.tokens(count)).to(arrays.DEVICE)[None]

    def prefill() -> None:
        with torch.no_grad():
            _PEER["model"](input_ids=ids, logits_to_keep=1, use_cache=False).logits.float().cpu()

    _PEER[level, count] = count / _wall(prefill)
    return float(_PEER[level, count])


def items(settings: Settings) -> dict[str, Callable[[], Rows]]:
    """Each accumulator; sm90 is the fast mode."""
    return {f"model {accumulate}": partial(_decode, settings, accumulate) for accumulate in reversed(ACCUMULATES)}
