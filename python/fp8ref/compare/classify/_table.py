# SPDX-License-Identifier: Apache-2.0
"""The hypotheses of each function, in order of precedence. [CLASSIFY-PRECEDENCE]"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from . import _dequantize, _encode, _experts, _grouped_mm, _mma, _nn, _positions, _quantize, _scaled_mm
from ._evidence import Evidence
from ._golden import full_arguments
from ._plausible import sums
from ._rounding import edges
from ._try import Hypothesis


def _scaled() -> Iterator[Hypothesis]:
    for kind, detail, wave, each in _scaled_mm.hypotheses():

        def predict(call: Evidence, each: Callable[[dict[str, Any]], Any] = each) -> Any:
            return each(full_arguments(call))

        yield Hypothesis(kind, detail, predict, wave)


TABLE: dict[str, Callable[[], Iterator[Hypothesis]]] = {
    "encode": _encode.encode,
    "decode": _encode.decode,
    "quantize": _quantize.quantize,
    "dequantize": _dequantize.dequantize,
    "mma": _mma.hypotheses,
    "scaled_mm": _scaled,
    "grouped_mm": _grouped_mm.hypotheses,
    "linear": _nn.linear,
    "rmsnorm": _nn.rmsnorm,
    "rope_frequencies": _positions.rope_frequencies,
    "rope_table": _positions.rope_table,
    "rope": _positions.rope,
    "temperature_factors": _experts.temperature_factors,
    "temperature": _experts.temperature,
    "attention": _positions.attention,
    "route": _experts.route,
    "dispatch": _experts.dispatch,
    "combine": _experts.combine,
    "silu_mul": _nn.silu_mul,
    "residual": _nn.residual,
    "gated_residual": _experts.gated_residual,
    "sample": _nn.sample,
}


@cache
def ideas_of(function: str) -> tuple[Hypothesis, ...]:
    """All hypotheses about a function, its own before those of every function."""
    own = TABLE.get(function)
    return (*map(_tested, own() if own else ()), *edges())


def _tested(idea: Hypothesis) -> Hypothesis:
    """Costly sums are tried only where errors are as small as those of sums."""
    return replace(idea, concerns=sums) if idea.wave and idea.kind == "accumulator" else idea
