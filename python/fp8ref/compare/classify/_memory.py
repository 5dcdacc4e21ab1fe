# SPDX-License-Identifier: Apache-2.0
"""Signs of memory: results of earlier calls, what ``out`` held, calls that differ when made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .._bits import alike, difference
from ._evidence import Array, Evidence
from ._golden import real

MANY = 8  # differing elements that must be those of an earlier call
FEW = 3  # differing elements below which a pattern among them means nothing


def misshapen(call: Evidence) -> bool:
    """Whether what came back has not the form of a result."""
    if call.error or list(call.got) != list(call.expected):
        return True
    pairs = [(call.expected[name], call.got[name]) for name in call.expected]
    return any(want.shape != have.shape or want.dtype != have.dtype for want, have in pairs)


def pairs_of(call: Evidence) -> list[tuple[Array, Array, Array]]:
    """Expected and actual results that differ, and where."""
    pairs = [(call.expected[name], call.got[name]) for name in call.expected]
    masks = [(want, have, difference(want, have)) for want, have in pairs]
    return [item for item in masks if item[2].any()]


def place_of(mask: Array) -> str:
    """Where differing elements lie: all, or the smallest box around them."""
    if mask.ndim == 0 or mask.all():
        return "all results"
    box = [(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(mask)]
    return "results[" + ", ".join(f"{low}:{high}" for low, high in box) + "]"


def _earlier(call: Evidence, calls: Sequence[Evidence]) -> list[Evidence]:
    """The calls before this one, the last first."""
    index = next(i for i, other in enumerate(calls) if other is call)
    return list(reversed(calls[:index]))


def telling(x: Array) -> bool:
    """Whether an array is more than one value, so that to be equal to it means something."""
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
            if len(olds) == len(haves) and all(map(alike, olds, haves)) and any(map(telling, olds)):
                return f"the result of an earlier call ({other.case})"
    if misshapen(call):
        return None
    pairs = pairs_of(call)
    for other in others:
        if misshapen(other) or len(pairs) > 1:
            continue
        (_, have, mask), found = pairs[0], _of_form(other, pairs[0][0])
        for old in found:
            part = np.asarray(old)[mask]
            if mask.sum() > MANY and len(np.unique(real(part))) > FEW and not difference(old, have)[mask].any():
                return f"{place_of(mask)} of an earlier call ({other.case})"
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
    _, have, mask = pairs_of(call)[0]
    rows = np.arange(len(have))
    free = (rows < offsets[0]) | (rows >= offsets[-1])
    return "rows of no group are not cleared" if not mask[~free].any() else None


def _agree(one: Mapping[str, Array], two: Mapping[str, Array]) -> bool:
    return list(one) == list(two) and all(alike(array, two[name]) for name, array in one.items())


def repeated(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Whether the same call gave other bits; what one call shows is believed of the others. [CLASSIFY-AGAIN]"""
    del call
    for other in calls:
        if any(not _agree(other.again[1], again) for again in other.again[2:]):
            return f"the same call does not give the same bits ({other.case})"
    return None


def settles(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Whether repetitions of wrong calls are right: then what is wrong is memory of other calls. [CLASSIFY-AGAIN]"""
    del call
    made = [other for other in calls if len(other.again) > 1]
    if made and all(_agree(other.expected, again) for other in made for again in other.again[1:]):
        return "what the memory held from other calls: the same call made again is right"
    return None
