# SPDX-License-Identifier: Apache-2.0
"""Wrong models: the golden composition with one operation exchanged, or one policy ignored."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from fp8ref.checkpoint import Checkpoint, LlamaReader, write_checkpoint
from fp8ref.conformance import ModelCase, Outcome
from fp8ref.golden import llama
from fp8ref.golden._units import MODES


def _ops(**change: Callable[..., Any]) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(llama.GOLDEN), **change})


def run(case: ModelCase, ops: Any = llama.GOLDEN, accumulate: str = "") -> Outcome:
    """Every traced value of the case on the golden composition, with other operations."""
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(folder, case.config, case.tensors)
        reader = LlamaReader(Checkpoint(folder))
        weights, cache = llama.prepare(reader.weights()), llama.KVCache(reader.config)
        values: dict[str, Any] = {}
        for start in range(0, len(case.tokens), case.cut):

            def keep(key: str, value: Any, start: int = start) -> None:
                values[f"token {start}: {key}"] = np.array(value)

            chunk = case.tokens[start : start + case.cut]
            how = accumulate or case.accumulate
            llama.forward(reader.config, weights, chunk, cache, ops=ops, accumulate=how, trace=keep)
        return Outcome(values)


def _positions_restart(positions: Any, frequencies: Any) -> Any:
    return llama.GOLDEN.rope_table(np.asarray(positions) - np.min(positions), frequencies)


def _rule_of_weights(x: Any, rule: str, scale: Any = None) -> Any:
    return llama.GOLDEN.quantize(x, "compressed_tensors.channel" if rule == "vllm.per_token" else rule, scale)


def _static_as_dynamic(x: Any, rule: str, scale: Any = None) -> Any:
    return llama.GOLDEN.quantize(x, "vllm.per_token") if scale is not None else llama.GOLDEN.quantize(x, rule)


def _weightless(x: Any, weight: Any, eps: float) -> Any:
    del weight
    return llama.GOLDEN.rmsnorm(x, None, eps)


def _other_eps(x: Any, weight: Any, eps: float) -> Any:
    return llama.GOLDEN.rmsnorm(x, weight, 1.1 * eps)


def _scaling_ignored(head_dim: int, base: float, scaling: Any = None) -> Any:
    del scaling
    return llama.GOLDEN.rope_frequencies(head_dim, base)


def _biases_forgotten(*arguments: Any, bias: Any = None, **more: Any) -> Any:
    del bias
    return llama.GOLDEN.scaled_mm(*arguments, **more)


def _exact_attention(q: Any, k: Any, v: Any, mask: str, accumulate: str) -> Any:
    del accumulate
    return llama.GOLDEN.attention(q, k, v, mask=mask)


def _exact_linear(x: Any, weight: Any, bias: Any = None, accumulate: str = "exact") -> Any:
    del accumulate
    return llama.GOLDEN.linear(x, weight, bias)


MODELS: dict[str, Callable[[ModelCase], Outcome]] = {
    "positions_restart_with_each_chunk": lambda case: run(case, _ops(rope_table=_positions_restart)),
    "activations_by_the_rule_of_weights": lambda case: run(case, _ops(quantize=_rule_of_weights)),
    "static_scales_ignored": lambda case: run(case, _ops(quantize=_static_as_dynamic)),
    "norm_weights_ignored": lambda case: run(case, _ops(rmsnorm=_weightless)),
    "eps_a_little_off": lambda case: run(case, _ops(rmsnorm=_other_eps)),
    "rope_scaling_ignored": lambda case: run(case, _ops(rope_frequencies=_scaling_ignored)),
    "biases_forgotten": lambda case: run(case, _ops(scaled_mm=_biases_forgotten)),
    "accumulator_ignored": lambda case: run(case, accumulate="exact"),
    "a_mode_means_fp8_products_alone": lambda case: (
        run(case, accumulate=MODES[case.accumulate].fp8 or "exact") if case.accumulate in MODES else run(case)
    ),
    "a_mode_leaves_attention_exact": lambda case: run(case, _ops(attention=_exact_attention)),
    "a_mode_leaves_linear_exact": lambda case: run(case, _ops(linear=_exact_linear)),
}
