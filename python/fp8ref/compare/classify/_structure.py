# SPDX-License-Identifier: Apache-2.0
"""What a wrong result shows by itself: stale memory, zeros, permutations, constant factors. [CLASSIFY-SIGNS]"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from .._bits import alike, difference
from .._ulp import DTYPES, ulp
from ._evidence import Array, Evidence
from ._golden import real
from ._try import Sign

MANY = 8  # differing elements that must be those of an earlier call
FEW = 3  # differing elements below which a pattern among them means nothing
RATIO = 2.0**-20  # how exactly a factor is held by float32 results; other types by their own rounding


def misshapen(call: Evidence) -> bool:
    """Whether what came back has not the form of a result."""
    if call.error or list(call.got) != list(call.expected):
        return True
    pairs = [(call.expected[name], call.got[name]) for name in call.expected]
    return any(want.shape != have.shape or want.dtype != have.dtype for want, have in pairs)


def _pairs(call: Evidence) -> list[tuple[Array, Array, Array]]:
    """Expected and actual results that differ, and where."""
    pairs = [(call.expected[name], call.got[name]) for name in call.expected]
    masks = [(want, have, difference(want, have)) for want, have in pairs]
    return [item for item in masks if item[2].any()]


def _earlier(call: Evidence, calls: Sequence[Evidence]) -> list[Evidence]:
    """The calls before this one, the last first."""
    index = next(i for i, other in enumerate(calls) if other is call)
    return list(reversed(calls[:index]))


def _telling(x: Array) -> bool:
    return x.size > 1 and len(np.unique(x.view(f"u{x.dtype.itemsize}"))) > 1


def _same_inputs(one: Evidence, two: Evidence) -> bool:
    """Whether the first operands of two calls have the same bits, so that equal results would mean nothing."""
    pair = [next((x for x in call.arguments.values() if isinstance(x, np.ndarray)), None) for call in (one, two)]
    if pair[0] is None or pair[1] is None or pair[0].nbytes != pair[1].nbytes:
        return False
    return np.ascontiguousarray(pair[0]).tobytes() == np.ascontiguousarray(pair[1]).tobytes()


def _old(call: Evidence, others: Sequence[Evidence]) -> str | None:
    """Results of one of these earlier calls, whole or in part."""
    haves = list(call.got.values())
    for other in others:
        for olds in (list(other.expected.values()), list(other.got.values())):
            if len(olds) == len(haves) and all(map(alike, olds, haves)) and any(map(_telling, olds)):
                return f"the result of an earlier call ({other.case})"
    if misshapen(call):
        return None
    pairs = _pairs(call)
    for other in others:
        if misshapen(other) or len(pairs) > 1:
            continue
        (want, have, mask), found = pairs[0], _of_form(other, pairs[0][0])
        for old in found:
            part = np.asarray(old)[mask]
            if mask.sum() > MANY and len(np.unique(real(part))) > FEW and not difference(old, have)[mask].any():
                return f"{_place(mask)} of an earlier call ({other.case})"
    return None


def _of_form(call: Evidence, form: Array) -> list[Array]:
    """Results of a call that have the form of another array."""
    results = (*call.expected.values(), *call.got.values())
    return [x for x in results if x.shape == form.shape and x.dtype == form.dtype]


def last(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """The result of the call before, or of the last one of this form; what ``out`` held."""
    if call.error or not call.got:
        return None
    out = call.arguments.get("out")
    for name, have in call.got.items():
        want = call.expected.get(name)
        if want is None or want.shape != have.shape or want.dtype != have.dtype:
            continue
        mask = difference(want, have)
        if mask.any() and isinstance(out, np.ndarray) and out.shape == want.shape and out.dtype == want.dtype:
            return None if difference(out, have)[mask].any() else "what out held before"
    earlier = _earlier(call, calls)
    form = [x.shape for x in call.expected.values()], [x.dtype for x in call.expected.values()]
    alike_form = [o for o in earlier if ([x.shape for x in o.got.values()], [x.dtype for x in o.got.values()]) == form]
    return _old(call, [o for o in (*earlier[:1], *alike_form[:1]) if not _same_inputs(call, o)])


def stale(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """The result of any earlier call."""
    if call.error or not call.got:
        return None
    return _old(call, [o for o in _earlier(call, calls) if not _same_inputs(call, o)])


def free_rows(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Rows of no group that hold something. [GROUPED-ROWS]"""
    del calls
    offsets = call.arguments.get("offsets")
    if offsets is None or not len(offsets):
        return None
    _, have, mask = _pairs(call)[0]
    rows = np.arange(len(have))
    free = (rows < offsets[0]) | (rows >= offsets[-1])
    return "rows of no group are not cleared" if not mask[~free].any() else None


def repeated(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Whether the same call gave other bits; what one call shows is believed of the others."""
    del call
    for other in calls:
        for again in other.again:
            if any(name not in again or not alike(array, again[name]) for name, array in other.again[0].items()):
                return f"the same call does not give the same bits ({other.case})"
    return None


def _place(mask: Array) -> str:
    """Where differing elements lie: all, or the smallest box around them."""
    if mask.ndim == 0 or mask.all():
        return "all results"
    box = [(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(mask)]
    return "results[" + ", ".join(f"{low}:{high}" for low, high in box) + "]"


def zeros(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Zeros where numbers should be."""
    del calls
    places = []
    if len(_pairs(call)) < len(call.expected):
        return None
    for want, have, mask in _pairs(call):
        value = real(want[mask])
        if np.any(real(have[mask]) != 0) or np.all(value == 0) or _subnormal(want[mask]).all():
            return None
        places.append(_place(mask))
    return f"{places[0]} are zero" if places else None


def _subnormal(x: Array) -> Array:
    if x.dtype.kind in "biu":
        return np.zeros(x.shape, np.bool_)
    size = np.abs(real(x))
    return (size > 0) & (size < float(ml_dtypes.finfo(x.dtype).smallest_normal))


def flushed(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Zeros where subnormal numbers should be."""
    del calls
    pairs = _pairs(call)
    if all(np.all(real(have[mask]) == 0) and _subnormal(want[mask]).all() for want, have, mask in pairs):
        return "subnormal results are zeros"
    return None


def special(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Only NaN, infinities and signs of zeros differ."""
    del calls
    for want, have, mask in _pairs(call):
        if want.dtype.kind in "biu":
            return None
        one, two = real(want[mask]), real(have[mask])
        odd = ~np.isfinite(one) | ~np.isfinite(two) | ((one == 0) & (two == 0))
        if not odd.all():
            return None
    return "only NaN, infinities or signs of zeros differ"


def overflow(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Largest numbers, infinities and NaN are taken for each other, though all inputs are finite."""
    if special(call, calls) is None:
        return None
    inputs = [x for x in call.arguments.values() if isinstance(x, np.ndarray) and x.dtype.kind not in "biu"]
    if not all(np.isfinite(real(x)).all() for x in inputs):
        return None
    for want, have, mask in _pairs(call):
        top = float(ml_dtypes.finfo(want.dtype).max)
        sizes = np.abs([real(want[mask]), real(have[mask])])
        if not np.all((sizes == top) | ~np.isfinite(sizes)):
            return None
    return "largest numbers, infinities and NaN are taken for each other"


def turned(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """The expected elements at other places."""
    del calls
    for want, have in [(call.expected[n], call.got[n]) for n in call.expected if n in call.got]:
        if want.dtype != have.dtype or want.size != have.size or not _telling(want):
            return None
        words = f"u{want.dtype.itemsize}"
        for name, other in _rearranged(want):
            if alike(np.ascontiguousarray(other).reshape(have.shape), have) and not alike(want, have):
                return name
        if want.shape == have.shape and difference(want, have).any():
            one, two = np.sort(want.view(words), axis=None), np.sort(have.view(words), axis=None)
            if np.array_equal(one, two) and len(np.unique(one)) > FEW:
                return "elements are permuted"
            return None
    return None


def _rearranged(x: Array) -> list[tuple[str, Array]]:
    found: list[tuple[str, Array]] = []
    if x.ndim >= 2:
        found += [
            ("results are transposed", np.swapaxes(x, -1, -2)),
            ("rows are in reverse order", x[::-1]),
            ("columns are in reverse order", x[..., ::-1]),
            ("results are stored column by column", np.asfortranarray(x).reshape(-1, order="F")),
            *((f"rows are shifted by {n}", np.roll(x, n, 0)) for n in (1, -1)),
            *((f"columns are shifted by {n}", np.roll(x, n, -1)) for n in (1, -1)),
        ]
    return [*found, ("results are in reverse order", x.reshape(-1)[::-1])]


def _ratio(want: Array, have: Array) -> tuple[float, bool]:
    """The one factor between two arrays, and whether all elements keep it within a rounding of their type."""
    one, two = real(want), real(have)
    usable = np.isfinite(one) & np.isfinite(two) & (one != 0) & ~_subnormal(want) & ~_subnormal(have)
    if usable.sum() < FEW or len(np.unique(one[usable])) < FEW:
        return 1.0, False
    ratios = two[usable] / one[usable]
    factor = float(np.median(ratios))
    exact = want.dtype == np.float32
    step = RATIO if exact else 1.01 * float(ml_dtypes.finfo(want.dtype).eps)
    return factor, bool(np.all(np.abs(ratios - factor) <= step * abs(factor)) and abs(factor - 1) > step)


def factor(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """A constant factor on all differing elements."""
    del calls
    found = []
    if len(_pairs(call)) < len(call.expected):
        return None
    for want, have, mask in _pairs(call):
        if want.dtype.kind in "biu":
            return None
        number, held = _ratio(want[mask], have[mask])
        if not held or number == 0:
            return None
        found.append(f"{_place(mask)} are {number:.4g} times too large")
    return found[0] if found else None


def by_lines(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """A factor of its own for each row, or for each column."""
    del calls
    for want, have, mask in _pairs(call):
        if want.ndim != 2 or want.dtype.kind in "biu" or min(want.shape) < FEW:
            return None
        for axis, name in ((0, "row"), (1, "column")):
            lines: list[tuple[Any, Any]] = [
                (np.take(want, i, axis), np.take(have, i, axis)) for i in np.flatnonzero(mask.any(axis=1 - axis))
            ]
            if len(lines) > 1 and all(_ratio(*line)[1] for line in lines):
                return f"every {name} is multiplied by a factor of its own"
        return None
    return None


def one_way(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """All differences are one step of the format, in one direction."""
    del calls
    ways: list[Array] = []
    for want, have, mask in _pairs(call):
        if want.dtype not in DTYPES or np.any(ulp(have[mask], want[mask]) != 1):
            return None
        ways.append(np.sign(np.abs(real(have[mask])) - np.abs(real(want[mask]))))
    signs = np.concatenate(ways) if ways else np.zeros(0)
    if len(signs) < FEW or len(np.unique(signs)) != 1:
        return None
    return f"all differences are one unit in the last place {'toward' if signs[0] < 0 else 'away from'} zero"


def form(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """What is wrong with the form of a result."""
    del calls
    if call.error:
        return f"raises {call.error}"
    if list(call.got) != list(call.expected):
        return f"gives {len(call.got)} results instead of {len(call.expected)}"
    for name, want in call.expected.items():
        have = call.got[name]
        if want.shape != have.shape or want.dtype != have.dtype:
            return f"{name} is {have.dtype.name}{have.shape}, not {want.dtype.name}{want.shape}"
    return None


SHAPES = (
    Sign("stale_output", last, 1.2),
    Sign("stale_output", stale, 1.0),
    Sign("layout", turned, 0.95),
    Sign("interface", form, 0.9),
)
SIGNS = (
    Sign("stale_output", last, 1.2),
    Sign("stale_output", free_rows, 0.9),
    Sign("stale_output", stale, 0.4),
    Sign("nondeterministic", repeated, 1.1),
    Sign("unwritten", zeros, 0.97),
    Sign("layout", turned, 0.97),
    Sign("overflow_policy", overflow, 0.75),
    Sign("subnormal_flush", flushed, 0.8),
    Sign("special_values", special, 0.7),
    Sign("factor", factor, 0.9),
    Sign("scale_broadcast", by_lines, 0.6),
)
WEAK = (Sign("truncation", one_way, 0.5),)
