# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about quantize and dequantize: other rules by name, one choice of the rule changed, other roundings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ...golden import _rule, e4m3
from ...golden import quantize as golden_quantize
from ...golden._args import FLOAT8
from ...golden._round import round_to, widen
from ...golden._rule import Rule
from ...golden._rule_steps import QUOTIENTS, Scale, amax, codes_of, spread, type_of
from ...golden._rules import RULES
from ._evidence import Array, Evidence
from ._golden import full_arguments, golden, real
from ._rounding import finishes
from ._scales import rule_of, scales, shaped
from ._try import Hypothesis

# What kind of reason it is to have another word in a field of a rule.
FIELDS: dict[str, str] = {
    "granularity": "scale_broadcast",
    "amax_nan": "special_values",
    "amax_type": "missing_rounding",
    "upper_bound": "scale_rule",
    "scale": "scale_rule",
    "scale_type": "missing_rounding",
    "unit_amax": "special_values",
    "infinite_multiplier": "special_values",
    "zero_scale": "scale_rule",
    "power": "scale_rule",
    "search": "scale_rule",
    "quantize": "reciprocal",
    "quantize_type": "double_rounding",
    "zero": "special_values",
}
NUMBERS: dict[str, tuple[str, tuple[float, ...]]] = {
    "amax_floor": ("scale_rule", (0.0, 1e-12, 1e-10, 1e-5, 1e-4)),
    "scale_floor": ("scale_rule", (0.0, _rule.MINS, 1e-12, 1e-10, 1e-6, 2.0**-23, 2.0**-126)),
    "nan_code": ("special_values", (_rule.LARGEST, _rule.SMALLEST, _rule.NAN, 0x00, 0xFF)),
}


def by_row(call: Evidence, row: Rule, codes: Callable[[Array, Rule, Scale], Array] = codes_of) -> Any:
    """quantize by a rule that has no name; the scale in the shape that the call expects, if it can be spread."""
    given = full_arguments(call)
    x = np.asarray(given["x"])
    if row.given != (given["scale"] is not None) or x.ndim == 0 or (x.ndim != 2 and row.granularity != "tensor"):
        return None
    if row.search != "none" and row.granularity == "block":
        return None  # no rule looks for the scale of a block of rows
    if row.zero_scale == "epsilon" and row.scale_type == "float64":
        return None
    flat = x.reshape(-1, x.shape[-1]) if x.size else x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])
    bound = (
        None
        if given["scale_ub"] is None or row.upper_bound == "none"
        else np.asarray(given["scale_ub"]).astype(np.float32)
    )
    if bound is not None and row.amax_type == "float64":
        return None
    of = (
        golden_quantize._computed(flat, row, bound)
        if given["scale"] is None
        else golden_quantize._given(given["scale"], row)
    )
    shape = flat.shape
    each = Scale(*(spread(np.asarray(part), shape, slice(0, shape[0])) for part in of))
    found = np.asarray(codes(flat, row, each)).astype(np.uint8).reshape(x.shape).view(FLOAT8)
    return found, shaped(np.asarray(of.s, np.float32), call, shape)


def _named(name: str) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        row = RULES[name]
        if name == call.arguments["rule"] or row.given != rule_of(call).given:
            return None
        if call.arguments.get("scale_ub") is not None and row.upper_bound == "none":
            row = replace(row, upper_bound="none")
        return by_row(call, row)

    return predict


def _with(name: str, value: Any) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        row = rule_of(call)
        return None if getattr(row, name) == value else by_row(call, replace(row, **{name: value}))

    return predict


def _recoded(change: Callable[[Array], Array]) -> Callable[[Evidence], Any]:
    """Golden's scales, and codes of its quotients by another encode."""

    def codes(x: Array, row: Rule, of: Scale) -> Array:
        y = QUOTIENTS[row.quantize](widen(x), of, type_of(row.quantize_type, x))
        y = y + np.float32(0) if row.zero == "positive" else y
        found = np.asarray(change(y)).view(np.uint8).copy()
        found[np.isnan(y)] = row.nan_code
        return found

    return lambda call: by_row(call, rule_of(call), codes)


def _finished(last: Callable[[Array, str, str | None], Array]) -> Callable[[Array], Array]:
    return lambda y: last(y, FLOAT8.name, "saturate")


def _exact_quotient(x: Array, row: Rule, of: Scale) -> Array:
    """x / s or x * a in float64, rounded to E4M3 alone."""
    y = real(widen(x)) * real(of.a) if row.quantize == "x*a" else real(widen(x)) / real(of.s)
    found = e4m3.encode(y, "saturate").view(np.uint8).copy()
    found[np.isnan(y)] = row.nan_code
    return found


def _through_inverse(x: Array, row: Rule, of: Scale) -> Array:
    """x * RN32(1/s), the reciprocal in the type of x."""
    name = x.dtype.name
    inverse = widen(round_to(np.float32(1) / widen(of.s), name))
    y = widen(round_to(widen(x) * inverse, "float32"))
    found = e4m3.encode(y, "saturate").view(np.uint8).copy()
    found[np.isnan(y)] = row.nan_code
    return found


def _pairs() -> Iterator[Hypothesis]:
    """Two choices of the rule changed at once."""
    single: list[tuple[str, Any, str]] = []
    for field, kind in FIELDS.items():
        if field not in ("granularity", "search"):
            words = [word for word in _rule.VOCABULARY[field] if not word.startswith("given")]
            single += [(field, word, kind) for word in words]
    single += [(field, value, kind) for field, (kind, values) in NUMBERS.items() for value in values]
    for (one, x, kind), (two, y, other) in itertools.combinations(single, 2):
        if one != two:
            named = kind if "scale_rule" not in (kind, other) else "scale_rule"
            yield Hypothesis(named, f"{one} is {x!r}, {two} is {y!r}", _with_two({one: x, two: y}), 1)


def _with_two(changes: dict[str, Any]) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        row = rule_of(call)
        if any(getattr(row, name) == value for name, value in changes.items()):
            return None
        return by_row(call, replace(row, **changes))

    return predict


LARGEST: dict[str, float] = {
    "the largest number is taken as 240": 240.0,
    "the largest number is taken as 480": 480.0,
    "the largest number is taken as 57344": 57344.0,
    "the largest number is taken as 256": 256.0,
    "the largest number is taken as 127": 127.0,
}


def _largest(top: float) -> Callable[[Evidence], Any]:
    """amax / top instead of amax / 448."""

    def predict(call: Evidence) -> Any:
        row = rule_of(call)
        x = np.asarray(full_arguments(call)["x"])
        if row.given or x.ndim != 2:
            return None
        scale = np.asarray(amax(x, row) / np.float32(top), np.float32)
        each = Scale(*(spread(scale, x.shape, slice(0, len(x))),) * 2)
        codes = codes_of(x, replace(row, quantize="x/s"), each).view(FLOAT8)
        return codes, scale

    return predict


def _scale_only(change: Callable[[Array, Evidence], Array | None]) -> Callable[[Evidence], Any]:
    """Golden's codes, and another scale."""

    def predict(call: Evidence) -> Any:
        scale = change(call.expected["scale"], call)
        return None if scale is None else (call.expected["codes"], np.asarray(scale, np.float32))

    return predict


def quantize() -> Iterator[Hypothesis]:
    """All of quantize."""
    for name in RULES:
        yield Hypothesis("scale_rule", name, _named(name))
    for field, kind in FIELDS.items():
        for word in _rule.VOCABULARY[field]:
            if not word.startswith("given"):
                yield Hypothesis(kind, f"{field} is {word!r}", _with(field, word))
    for field, (kind, values) in NUMBERS.items():
        for value in values:
            words = f"0x{int(value):02X}" if field == "nan_code" else f"{value:g}"
            yield Hypothesis(kind, f"{field} is {words}", _with(field, value))
    for kind, detail, last in finishes():
        yield Hypothesis(kind, f"codes: {detail}", _recoded(_finished(last)))
        clamp = lambda y, f=last: f(np.clip(y, -448, 448), FLOAT8.name, "saturate")  # noqa: E731
        yield Hypothesis(kind, f"codes: {detail}", _recoded(clamp), 1)
    yield Hypothesis("overflow_policy", "codes beyond 448 are NaN", _recoded(lambda y: e4m3.encode(y, "nan")))
    tiny = lambda y: e4m3.encode(np.where(np.abs(y) < 2.0**-6, y * 0, y), "saturate")  # noqa: E731
    yield Hypothesis("subnormal_flush", "subnormal codes become zeros", _recoded(tiny))
    yield Hypothesis("missing_rounding", "the quotient is not rounded before it is encoded",
                     lambda call: by_row(call, rule_of(call), _exact_quotient))  # fmt: skip
    yield Hypothesis("reciprocal", "the reciprocal of the scale is rounded to the type of x",
                     lambda call: by_row(call, rule_of(call), _through_inverse))  # fmt: skip
    yield from scales()
    yield from _pairs()
    for detail, top in LARGEST.items():
        yield Hypothesis("scale_rule", detail, _largest(top))
    yield Hypothesis("scale_rule", "scale_ub is ignored", lambda call: golden(call, scale_ub=None))
    for name in ("bfloat16", "float16"):
        yield Hypothesis("double_rounding", f"the scale that is returned is rounded to {name}",
                         _scale_only(lambda s, call, n=name: round_to(s, n)))  # type: ignore[misc]  # fmt: skip
    yield Hypothesis("reciprocal", "the reciprocal of the scale is returned",
                     _scale_only(lambda s, call: np.float32(1) / s))  # fmt: skip
