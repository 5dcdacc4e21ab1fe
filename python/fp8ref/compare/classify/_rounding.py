# SPDX-License-Identifier: Apache-2.0
"""How a careless implementation rounds, and what it does to special values: changes of results and of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

from ...golden import e4m3
from ...golden._args import FLOAT8
from ...golden._round import FORMATS, round_to
from ._evidence import Array, Evidence
from ._golden import full_arguments, golden, is_code, is_float, real
from ._try import Hypothesis

Change = Callable[[Array], Array]


def _ties(other: Change) -> Change:
    """To nearest, and midpoints as ``other`` has them."""

    def rounded(x: Array) -> Array:
        tie = np.abs(x - np.trunc(x)) == 0.5
        return np.where(tie, other(x), np.rint(x))

    return rounded


def _away(x: Array) -> Array:
    return np.copysign(np.ceil(np.abs(x)), x)


# Other ways to an integer number of units in the last place, with their kinds.
DIRECTIONS: dict[str, tuple[str, Change]] = {
    "midpoints go away from zero": ("tie_rule", _ties(_away)),
    "midpoints go toward zero": ("tie_rule", _ties(np.trunc)),
    "midpoints go up": ("tie_rule", _ties(np.ceil)),
    "midpoints go down": ("tie_rule", _ties(np.floor)),
    "midpoints go to the odd neighbour": ("tie_rule", _ties(lambda x: 2 * np.rint((x - 1) / 2) + 1)),
    "results are cut toward zero": ("truncation", np.trunc),
    "results are rounded away from zero": ("truncation", _away),
    "results are rounded up": ("truncation", np.ceil),
    "results are rounded down": ("truncation", np.floor),
}
THROUGH = ("float32", "float16", "bfloat16")


def on_grid(x: Array, name: str, direction: Change) -> Array:
    """float64 numbers on the grid of a format, by one step in a direction; infinities and NaN stay."""
    form = FORMATS[name]
    quantum = np.maximum(np.frexp(x)[1] - form.precision, form.smallest_exponent)
    scaled = np.ldexp(np.ldexp(x, -quantum // 2), -quantum - (-quantum // 2))
    return np.where(np.isfinite(x), np.ldexp(direction(scaled), quantum), x)


def cast(x: Array, name: str, overflow: str | None) -> Array:
    """Numbers in a format, E4M3 too. [ROUND-NEAREST]"""
    return e4m3.encode(x, overflow or "saturate") if name == FLOAT8.name else round_to(x, name)


def directed(x: Array, name: str, direction: Change, overflow: str | None = None) -> Array:
    """Numbers in a format, rounded in a direction; what is cut stays finite."""
    wide = real(x)
    y = on_grid(wide, name, direction)
    if direction is np.trunc and name != FLOAT8.name:
        largest = FORMATS[name].largest
        y = np.where(np.isfinite(wide), np.clip(y, -largest, largest), y)
    return cast(y, name, overflow)


def _saturated(x: Array, name: str, overflow: str | None) -> Array:
    """Finite numbers and infinities beyond the largest number of a format become that."""
    if name == FLOAT8.name:
        return cast(x, name, "saturate")
    largest = FORMATS[name].largest
    return cast(np.clip(real(x), -largest, largest), name, overflow)


def shortened(x: Array, bits: int) -> Array:
    """float64 numbers cut to so many significant bits."""
    fraction, exponent = np.frexp(x)
    return np.where(np.isfinite(x), np.ldexp(np.trunc(np.ldexp(fraction, bits)), exponent - bits), x)


def finishes() -> Iterator[tuple[str, str, Callable[[Array, str, str | None], Array]]]:
    """Wrong last roundings: kind, detail, and a function of what is rounded, the format and the overflow policy."""
    for detail, (kind, direction) in DIRECTIONS.items():
        yield kind, detail, lambda x, name, overflow, d=direction: directed(x, name, d, overflow)  # type: ignore[misc]
    yield "overflow_policy", "results beyond the largest number saturate", _saturated
    for through in THROUGH:

        def twice(x: Array, name: str, overflow: str | None, through: str = through) -> Array:
            return cast(real(round_to(x, through)), name, overflow)

        def clamped(x: Array, name: str, overflow: str | None, through: str = through) -> Array:
            if through == name:  # no second rounding: a policy
                return cast(x, name, overflow)
            largest = FORMATS[through].largest
            return cast(np.clip(real(round_to(np.clip(real(x), -largest, largest), through)), -largest, largest), name,
                        overflow)  # fmt: skip

        def cut(x: Array, name: str, overflow: str | None, through: str = through) -> Array:
            return cast(real(directed(x, through, np.trunc)), name, overflow)

        def odd(x: Array, name: str, overflow: str | None, through: str = through) -> Array:
            return directed(real(round_to(x, through)), name, np.trunc, overflow)

        yield "double_rounding", f"results are rounded through {through}", twice
        yield "double_rounding", f"results are rounded through {through}, which saturates", clamped
        yield "double_rounding", f"results are cut to {through} and then rounded", cut
        yield "truncation", f"results are rounded to {through} and then cut", odd

    def eighth(x: Array, name: str, overflow: str | None) -> Array:
        return cast(real(e4m3.decode(e4m3.encode(real(x), "saturate"))), name, overflow)

    yield "double_rounding", "results are rounded through float8_e4m3fn", eighth


# ---- results and inputs changed afterwards and before --------------------------------------------------------------


def format_number(x: Array, name: str) -> float:
    """A number of the type of an array: ``max``, ``eps``, ``smallest_normal``."""
    return float(getattr(ml_dtypes.finfo(x.dtype), name))  # type: ignore[no-untyped-call]


def tiny(x: Array) -> Array:
    """Where a number is subnormal in its type."""
    if x.dtype.kind in "biu":
        return np.zeros(x.shape, np.bool_)
    value = np.abs(real(x))
    return np.asarray((value > 0) & (value < format_number(x, "smallest_normal")))


def _where(x: Array, mask: Array, value: Any) -> Array:
    return np.where(mask, np.asarray(value).astype(x.dtype), x)


def _largest(x: Array) -> float:
    return format_number(x, "max")


def _sign(x: Array, size: float) -> Array:
    return np.copysign(size, real(x))


EDGES: dict[str, tuple[str, Change]] = {
    "subnormal {} become zeros": ("subnormal_flush", lambda x: _where(x, tiny(x), _sign(x, 0.0))),
    "subnormal {} become +0": ("subnormal_flush", lambda x: _where(x, tiny(x), 0.0)),
    "subnormal {} and zeros become +0": (
        "subnormal_flush", lambda x: _where(x, tiny(x) | (real(x) == 0), 0.0)),
    "-0 among {} becomes +0": ("special_values", lambda x: _where(x, real(x) == 0, 0.0)),
    "zeros among {} become -0": ("special_values", lambda x: _where(x, real(x) == 0, -0.0)),
    "NaN among {} becomes 0": ("special_values", lambda x: _where(x, np.isnan(real(x)), 0.0)),
    "NaN among {} becomes the largest number": ("special_values", lambda x: _where(x, np.isnan(real(x)), _largest(x))),
    "NaN among {} becomes the smallest number": (
        "special_values", lambda x: _where(x, np.isnan(real(x)), -_largest(x))),
    "infinite {} become the largest number": (
        "special_values", lambda x: _where(x, np.isinf(real(x)), _sign(x, _largest(x)))),
    "infinite {} become NaN": ("special_values", lambda x: _where(x, np.isinf(real(x)), np.nan)),
    "infinite {} become zeros": ("special_values", lambda x: _where(x, np.isinf(real(x)), 0.0)),
    "NaN and infinite {} become finite": (
        "special_values",
        lambda x: _where(_where(x, np.isinf(real(x)), _sign(x, _largest(x))), np.isnan(real(x)), 0.0)),
}  # fmt: skip


def _of_results(change: Change) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        if any(array.dtype.kind in "biu" for array in call.expected.values()):
            return None
        return {name: change(array) for name, array in call.expected.items()}

    return predict


def _of_inputs(change: Change, chosen: Callable[[Any], bool]) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        arguments = full_arguments(call)
        found = {name: np.asarray(change(x)).reshape(x.shape) for name, x in arguments.items()
                 if name not in ("out", "c") and chosen(x)}  # fmt: skip
        return golden(call, **found) if found else None

    return predict


# What an infinite result becomes is a policy, whatever made it infinite.
POLICY = ("infinite {} become the largest number", "infinite {} become NaN")


def edges() -> Iterator[Hypothesis]:
    """Subnormal and special values among inputs and results, of every function."""
    for which, chosen in (("codes", is_code), ("inputs", is_float)):
        for detail, (kind, change) in EDGES.items():
            if which == "inputs" or not detail.startswith(("-0", "zeros")):
                yield Hypothesis(kind, detail.format(which), _of_inputs(change, chosen))
    for detail, (kind, change) in EDGES.items():
        yield Hypothesis("overflow_policy" if detail in POLICY else kind, detail.format("results"), _of_results(change))
