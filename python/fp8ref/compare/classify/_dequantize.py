# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about dequantize: roundings, the scale of each element, the division."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...golden import e4m3
from ...golden import quantize as golden_quantize
from ...golden._round import round_to, widen
from ...golden._rule_steps import spread
from ._evidence import Array, Evidence
from ._golden import REFUSED, full_arguments, golden, real
from ._rounding import finishes
from ._try import Hypothesis


def _spread_scale(given: dict[str, Any]) -> Array:
    codes = given["codes"]
    scale = golden_quantize.dequantize_scale(given["scale"], codes.shape)
    return np.asarray(spread(scale, codes.shape, slice(0, codes.shape[0])) if scale.ndim else scale)


def _product(change: Callable[[Array, Array, str], Array]) -> Callable[[Evidence], Any]:
    """Values of codes, the scale of each, and the type of the result."""

    def predict(call: Evidence) -> Any:
        given = full_arguments(call)
        try:
            return change(e4m3.decode(given["codes"]), _spread_scale(given), given["out_dtype"])
        except REFUSED:
            return None

    return predict


def _scale(change: Callable[[Array], Array]) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        scale = np.asarray(call.arguments["scale"]).astype(np.float32)
        if not scale.size:
            return None
        changed = np.asarray(change(scale), np.float32)
        return golden(call, scale=np.broadcast_to(changed if scale.ndim else changed.reshape(()), scale.shape))

    return predict


def dequantize() -> Iterator[Hypothesis]:
    """All of dequantize."""
    for kind, detail, last in finishes():
        yield Hypothesis(kind, detail, _product(lambda v, s, name, f=last: f(v * s, name, None)))  # type: ignore[misc]
    yield Hypothesis("missing_rounding", "code * scale is not rounded to float32",
                     _product(lambda v, s, name: round_to(real(v) * real(s), name)))  # fmt: skip
    for name in ("bfloat16", "float16"):
        yield Hypothesis("double_rounding", f"the scale is rounded to {name}", _product(
            lambda v, s, out, n=name: round_to(v * widen(round_to(s, n)), out)))  # type: ignore[misc]  # fmt: skip
    yield Hypothesis("double_rounding", "the scale is rounded to the type of the result", _product(
        lambda v, s, out: round_to(v * widen(round_to(s, out)), out)))  # fmt: skip
    yield Hypothesis("reciprocal", "codes are divided by the scale",
                     _product(lambda v, s, name: round_to(v / s, name)))  # fmt: skip
    yield Hypothesis("reciprocal", "codes are divided by RN32(1/scale)",
                     _product(lambda v, s, name: round_to(v / (np.float32(1) / s), name)))  # fmt: skip
    for detail, change in {
        "the scale is not applied": np.ones_like,
        "the first scale is applied to all": lambda s: s.reshape(-1)[:1],
        "the first row of scales is applied to all": lambda s: s[:1] if s.ndim else s,
        "the last row of scales is applied to all": lambda s: s[-1:] if s.ndim else s,
        "the first scale of each row is applied to all": lambda s: s[:, :1] if s.ndim == 2 else s,
        "scales are in reverse order": lambda s: s[::-1] if s.ndim else s,
        "scales are shifted by one row": lambda s: np.roll(s, 1, 0) if s.ndim else s,
        "scales are shifted by minus one row": lambda s: np.roll(s, -1, 0) if s.ndim else s,
        "scales are shifted by one block of K": lambda s: np.roll(s, 1, 1) if s.ndim == 2 else s,
        "scales are in the other storage order": lambda s: s.reshape(-1, order="F").reshape(s.shape),
        "scales are applied twice": lambda s: s * s,
    }.items():  # fmt: skip
        yield Hypothesis("scale_broadcast", detail, _scale(change))  # type: ignore[arg-type]
