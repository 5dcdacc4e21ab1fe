# SPDX-License-Identifier: Apache-2.0
"""How a wrong model runs: the golden composition with other operations, or with another reading of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from fp8ref.golden import llama
from fp8ref.golden._llama_config import LayerKind
from fp8ref.golden.llama import GOLDEN, KVCache, LayerWeights, LlamaConfig, LlamaWeights

Model = tuple[LlamaConfig, LlamaWeights]
Forward = tuple[Sequence[int], int | None, Any]  # tokens, rows of logits, vision states


@dataclass(frozen=True)
class Wrong:
    """One mistake.

    Attributes:
        ops: makes the operations that it exchanges; afresh for each run, since some of them remember something.
        model: what it takes a configuration and its weights for.
        cache: what it keeps.
        accumulate: what it takes the accumulator for.
    """

    ops: Callable[[], Mapping[str, Callable[..., Any]]] = dict
    model: Callable[[LlamaConfig, LlamaWeights], Model] = lambda config, weights: (config, weights)
    cache: type[KVCache] = KVCache
    accumulate: Callable[[str], str] = str

    def run(
        self,
        config: LlamaConfig,
        weights: LlamaWeights,
        accumulate: str,
        forwards: Iterable[Forward],
        note: Callable[[int, str, Any], None],
    ) -> None:
        """Forwards one after the other; ``note`` gets the forward's number, and name and value of what it computes."""
        config, weights = self.model(config, weights)
        ops, cache = SimpleNamespace(**{**vars(GOLDEN), **self.ops()}), self.cache(config)
        how: dict[str, Any] = {"ops": ops, "accumulate": self.accumulate(accumulate)}
        for n, (tokens, rows, vision) in enumerate(forwards):

            def trace(name: str, value: Any, n: int = n) -> None:
                note(n, name, value)

            more = {"trace": trace, "logits_rows": rows, "vision_states": vision}
            llama.forward(config, weights, tokens, cache, **how, **more)


RIGHT = Wrong()


def ops(**change: Callable[..., Any]) -> Wrong:
    """Operations that remember nothing."""
    return Wrong(ops=lambda: change)


def kinds(change: Callable[[LayerKind], LayerKind]) -> Wrong:
    """Layers that are something else."""

    def model(config: LlamaConfig, weights: LlamaWeights) -> Model:
        class Changed(LlamaConfig):
            def layer(self, index: int) -> LayerKind:
                return change(super().layer(index))

        return Changed(**vars(config)), weights

    return Wrong(model=model)


def layers(change: Callable[[LayerWeights], LayerWeights]) -> Wrong:
    """Weights that are something else."""
    return Wrong(model=lambda config, weights: (config, replace(weights, layers=tuple(map(change, weights.layers)))))
