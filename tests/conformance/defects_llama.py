# SPDX-License-Identifier: Apache-2.0
"""Wrong models: the golden composition with one operation exchanged, or one policy ignored."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

from fp8ref.checkpoint import Checkpoint, LlamaReader, write_checkpoint
from fp8ref.conformance import ModelCase, Outcome
from fp8ref.golden import llama
from fp8ref.golden._units import MODES

from .defects_families import FAMILIES
from .wrong_llama import RIGHT, Wrong, ops


def run(case: ModelCase, wrong: Wrong = RIGHT) -> Outcome:
    """Every traced value of the case on the golden composition, with a mistake in it."""
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(folder, case.config, case.tensors)
        reader = LlamaReader(Checkpoint(folder))
        values: dict[str, Any] = {}
        starts, chunks, images = zip(*case.forwards(), strict=True)

        def keep(n: int, key: str, value: Any) -> None:
            values[f"token {starts[n]}: {key}"] = np.array(value)

        forwards = [(chunk, None, image) for chunk, image in zip(chunks, images, strict=True)]
        wrong.run(reader.config, llama.prepare(reader.weights()), case.accumulate, forwards, keep)
        return Outcome(values)


def _positions_restart(positions: Any, frequencies: Any) -> Any:
    return llama.GOLDEN.rope_table(np.asarray(positions) - np.min(positions), frequencies)


def _rule_of_weights(x: Any, rule: str, scale: Any = None) -> Any:
    return llama.GOLDEN.quantize(x, "compressed_tensors.channel" if rule == "vllm.per_token" else rule, scale)


def _static_as_dynamic(x: Any, rule: str, scale: Any = None) -> Any:
    static = rule == "vllm.per_tensor_static"
    return llama.GOLDEN.quantize(x, "vllm.per_token") if static else llama.GOLDEN.quantize(x, rule, scale)


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


def _exact_attention(q: Any, k: Any, v: Any, accumulate: str, **how: Any) -> Any:
    del accumulate
    return llama.GOLDEN.attention(q, k, v, **how)


def _exact_linear(x: Any, weight: Any, bias: Any = None, accumulate: str = "exact") -> Any:
    del accumulate
    return llama.GOLDEN.linear(x, weight, bias)


LLAMA3: dict[str, Wrong] = {
    "positions_restart_with_each_chunk": ops(rope_table=_positions_restart),
    "activations_by_the_rule_of_weights": ops(quantize=_rule_of_weights),
    "static_scales_ignored": ops(quantize=_static_as_dynamic),
    "norm_weights_ignored": ops(rmsnorm=_weightless),
    "eps_a_little_off": ops(rmsnorm=_other_eps),
    "rope_scaling_ignored": ops(rope_frequencies=_scaling_ignored),
    "biases_forgotten": ops(scaled_mm=_biases_forgotten),
    "accumulator_ignored": Wrong(accumulate=lambda name: "exact"),
    "a_mode_means_fp8_products_alone": Wrong(
        accumulate=lambda name: MODES[name].fp8 or "exact" if name in MODES else name
    ),
    "a_mode_leaves_attention_exact": ops(attention=_exact_attention),
    "a_mode_leaves_linear_exact": ops(linear=_exact_linear),
}
# By the word in the names of the cases that they concern; those without a word are in every scheme.
MODELS = {"": LLAMA3, **FAMILIES}
