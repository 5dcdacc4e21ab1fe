# SPDX-License-Identifier: Apache-2.0
"""The MLP of a layer: one for all tokens, or a mixture of experts. [LLAMA-MLP] [LLAMA-MOE]"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ._args import Array
from ._llama_run import Run
from ._llama_weights import Mlp, Moe


def mlp(run: Run, at: str, weights: Mlp, h: Array) -> Array:
    """A gated MLP. [LLAMA-MLP]"""
    gate = run.project(at + "gate_proj", weights.gate_proj, h)
    up = run.project(at + "up_proj", weights.up_proj, h)
    product = run.record(at + "silu_mul", run.ops.silu_mul(gate, up))
    return run.project(at + "down_proj", weights.down_proj, product)


def moe(run: Run, at: str, weights: Moe, h: Array) -> Array:
    """A mixture of experts: each token through those that it chose, and through the shared one. [LLAMA-MOE]"""
    assert run.config.moe is not None
    logits = run.record(at + "router", run.linear(h, weights.router))
    experts, scores = run.ops.route(logits, run.config.moe.num_experts_per_tok)
    run.record(at + "experts", experts)
    run.record(at + "scores", scores)
    shared = mlp(run, at + "shared_expert.", weights.shared_expert, h)
    inputs, order, offsets = run.ops.dispatch(h, experts, scores, run.config.moe.num_local_experts)
    parts = Parts(run, inputs)
    outputs = []
    for expert, (start, stop) in enumerate(itertools.pairwise(offsets.tolist())):
        if start < stop:  # the weights of an expert without rows are not read [CKPT-STREAM]
            rows = inputs[start:stop]
            outputs.append(mlp(parts.of(rows), "", weights.experts[expert], rows))
    parts.show(at + "experts.", order, len(h))
    return run.record(at + "combine", run.ops.combine(np.concatenate(outputs), order, shared))


class Parts:
    """Collects what experts compute, for the trace: a row for each token, its choices side by side. [LLAMA-TRACE]"""

    def __init__(self, run: Run, inputs: Array) -> None:
        self._run = run
        self._values: dict[str, list[Array]] = {} if run.trace is None else {"inputs": [inputs]}

    def of(self, rows: Array) -> Run:
        """The run of one expert, on its rows."""

        def keep(name: str, value: Array) -> None:
            each = np.broadcast_to(value, (len(rows), value.shape[1]))  # a static scale is that of all its rows
            self._values.setdefault(name, []).append(each)

        return self._run if self._run.trace is None else replace(self._run, trace=keep)

    def show(self, at: str, order: Array, tokens: int) -> None:
        """Hand all of it to the trace."""
        for name, values in self._values.items():
            by_expert = np.concatenate(values)
            by_choice = np.empty_like(by_expert)
            by_choice[order] = by_expert
            self._run.record(at + name, by_choice.reshape(tokens, -1))


MLP: dict[str, Callable[..., Array]] = {"dense": mlp, "moe": moe}
