# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about quantize: scales of other numbers than those of the tile, and other powers of two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ...golden import quantize as golden_quantize
from ...golden._args import FLOAT8
from ...golden._round import round_to, widen
from ...golden._rule import Rule
from ...golden._rule_steps import TILE, Scale, codes_of, spread
from ...golden._rules import RULES
from ._evidence import Array, Evidence
from ._golden import full_arguments, real
from ._try import Hypothesis


def shaped(scale: Array, call: Evidence, shape: tuple[int, ...]) -> Array:
    """A scale of coarser tiles in the form that the call expects."""
    wanted = call.expected["scale"].shape
    if scale.shape == wanted or not scale.size:
        return scale
    if scale.ndim == 0:
        return np.broadcast_to(scale, wanted).copy()
    every = np.broadcast_to(spread(scale, shape, slice(0, shape[0])), shape)
    rows, columns = wanted if len(wanted) == 2 else (1, 1)
    tall = TILE if rows != shape[0] else 1
    wide = TILE if columns > 1 else max(shape[1], 1)
    cut = every[::tall, ::wide]
    return cut.copy() if cut.shape == wanted else scale


def rule_of(call: Evidence) -> Rule:
    """The rule that a call names, which is the claimed one."""
    return RULES[call.arguments["rule"]]


def _scaled_by(change: Callable[[Array], Array]) -> Callable[[Evidence], Any]:
    """The scale of a changed x, and the codes of x by it."""

    def predict(call: Evidence) -> Any:
        row, x = rule_of(call), np.asarray(full_arguments(call)["x"])
        if row.given or x.ndim != 2 or not x.size or call.arguments.get("scale_ub") is not None:
            return None
        of = golden_quantize._computed(np.asarray(change(x)).astype(x.dtype), row, None)
        return _coded(call, x, row, of, of.s)

    return predict


def _coded(call: Evidence, x: Array, row: Rule, of: Scale, scale: Any) -> Any:
    each = Scale(*(spread(np.asarray(part), x.shape, slice(0, len(x))) for part in of))
    return codes_of(x, row, each).view(FLOAT8), shaped(np.asarray(scale, np.float32), call, x.shape)


def _powered(change: Callable[[Array], Array], codes_by: str) -> Callable[[Evidence], Any]:
    """The scale becomes a power of two in another way; codes are made with it, or with what it was before."""

    def predict(call: Evidence) -> Any:
        row, x = rule_of(call), np.asarray(full_arguments(call)["x"])
        if row.given or x.ndim != 2 or not x.size or call.arguments.get("scale_ub") is not None:
            return None
        before = golden_quantize._computed(x, replace(row, power="none"), None)
        s = np.asarray(before.s, np.float32)
        whole = (s > 0) & np.isfinite(s)
        power = np.where(whole, np.exp2(change(np.log2(np.where(whole, real(s), 1)))), s).astype(np.float32)
        used = Scale(power, np.float32(1) / power) if codes_by == "after" else before
        return _coded(call, x, row, used, power)

    return predict


def _without_last(count: Callable[[int], int]) -> Callable[[Array], Array]:
    def change(x: Array) -> Array:
        kept = np.array(x)
        kept[:, max(count(x.shape[1]), 0) :] = 0
        return kept

    return change


def _in_groups(size: int) -> Callable[[Evidence], Any]:
    """Groups of another size along K; the first of them that lies in a tile gives the scale that is returned."""

    def predict(call: Evidence) -> Any:
        row, x = rule_of(call), np.asarray(full_arguments(call)["x"])
        if row.given or row.granularity not in ("group", "block") or x.ndim != 2 or not x.size:
            return None
        if call.arguments.get("scale_ub") is not None:
            return None
        found, every = [], []
        for start in range(0, x.shape[1], size):
            part = x[:, start : start + size]
            of = golden_quantize._computed(_by_rows(part, row, size), replace(row, granularity="row"), None)
            each = Scale(*(_lines(np.asarray(value), row, size, len(x)) for value in of))
            found.append(codes_of(part, row, each))
            every.append(np.broadcast_to(each.s, (len(x), part.shape[1])))
        scale = np.concatenate(every, axis=1).astype(np.float32)
        rows = call.expected["scale"].shape[0]
        tall = 1 if rows == len(x) else TILE
        return np.concatenate(found, axis=1).astype(np.uint8).view(FLOAT8), scale[::tall, ::TILE].copy()

    return predict


def _by_rows(part: Array, row: Rule, size: int) -> Array:
    """One line for each tile: of a row, or of ``size`` rows."""
    if row.granularity == "group":
        return part
    pad = -len(part) % size
    wide = np.concatenate([part, np.zeros((pad, part.shape[1]), part.dtype)])
    return wide.reshape(len(wide) // size, -1)


def _lines(value: Array, row: Rule, size: int, rows: int) -> Array:
    """The scale of each row of a part (rows, 1)."""
    if not value.ndim or row.granularity == "group":
        return value
    return np.repeat(value, size, axis=0)[:rows]


def scales() -> Iterator[Hypothesis]:
    """Scales of other numbers than those of the tile."""
    for words, way in (("down", np.floor), ("to nearest", np.rint), ("up", np.ceil)):
        yield Hypothesis("scale_rule", f"the scale is rounded {words} to a power of two", _powered(way, "after"))
        detail = f"the scale is rounded {words} to a power of two after it was divided by"
        yield Hypothesis("scale_rule", detail, _powered(way, "before"))
    for size in (16, 32, 64, 256, 512):
        yield Hypothesis("scale_rule", f"groups have {size} elements of K", _in_groups(size))
    for n in (1, 2, 4, 8, 16, 32, 64, 128):
        yield Hypothesis("k_tail", f"amax misses the last K mod {n} columns",
                         _scaled_by(_without_last(lambda k, n=n: k // n * n)))  # type: ignore[misc]  # fmt: skip
        yield Hypothesis("k_tail", f"amax misses the last {n} columns",
                         _scaled_by(_without_last(lambda k, n=n: k - n)))  # type: ignore[misc]  # fmt: skip
    for kind, detail, change in (
        ("scale_rule", "amax is the largest number, not the largest magnitude", lambda x: np.where(real(x) < 0, 0, x)),
        ("scale_rule", "amax is made of numbers rounded to bfloat16", lambda x: widen(round_to(x, "bfloat16"))),
        ("scale_rule", "amax is made of numbers rounded to float16", lambda x: widen(round_to(x, "float16"))),
        ("scale_broadcast", "the scale of the first row is taken for all", lambda x: np.broadcast_to(x[:1], x.shape)),
        ("scale_broadcast", "the scale is that of the row before", lambda x: np.roll(x, 1, 0)),
        ("scale_broadcast", "the scale is that of the next row", lambda x: np.roll(x, -1, 0)),
        ("scale_broadcast", "the scale is that of the group before", lambda x: np.roll(x, TILE, 1)),
        ("scale_broadcast", "the scale is that of the next group", lambda x: np.roll(x, -TILE, 1)),
        ("scale_broadcast", "the scale of the first group is taken for all",
         lambda x: x[:, np.arange(x.shape[1]) % TILE]),
        ("scale_broadcast", "the scale of the first block of rows is taken for all",
         lambda x: x[np.arange(len(x)) % TILE]),
    ):  # fmt: skip
        yield Hypothesis(kind, detail, _scaled_by(change))
