# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about the grouped product: where groups begin, which expert they take; and all of the scaled product."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...golden._round import FORMATS
from ._evidence import Array, Evidence
from ._golden import REFUSED, full_arguments, golden
from ._scaled_mm import hypotheses as scaled_hypotheses
from ._try import Hypothesis

Each = Callable[[dict[str, Any]], Any]
Bounds = Callable[[Array, int], Array]


def _pick(scale: Any, part: Any, many: bool) -> Any:
    array = np.asarray(scale)
    return array[part] if many else array


def grouped(call: Evidence, each: Each) -> Array | None:
    """grouped_mm with another product for each expert; None where that does not concern a group."""
    given = full_arguments(call)
    out = given.get("out")
    shape = (len(given["a"]), given["b"].shape[1])
    result = np.zeros(shape, FORMATS[given["out_dtype"]].dtype) if out is None else out.copy()
    for part, own in experts(given):
        answer = each(own)
        if answer is None:
            return None
        result[part] = answer
    return result


def experts(given: dict[str, Any]) -> Iterator[tuple[slice, dict[str, Any]]]:
    """The rows of each expert that has any, and the arguments of its product."""
    given = {name: value for name, value in given.items() if name != "out"}
    a, b, offsets = given["a"], given["b"], np.asarray(given["offsets"])
    a_scale, b_scale = (np.asarray(given[name]) for name in ("a_scale", "b_scale"))
    by_row = a_scale.ndim == 2 and len(a_scale) == len(a) and a_scale.shape != (1, 1)
    by_expert = b_scale.ndim in (1, 3) and len(b_scale) == len(b)
    for expert, (start, stop) in enumerate(itertools.pairwise(offsets.tolist())):
        if start >= stop:
            continue
        part = slice(start, stop)
        own = {
            **given,
            "a": a[part],
            "b": b[expert],
            "a_scale": _pick(a_scale, part, by_row),
            "b_scale": _pick(b_scale, expert, by_expert),
            "bias": None if given["bias"] is None else np.asarray(given["bias"])[expert],
        }
        del own["offsets"]
        yield part, own


def _offsets(change: Bounds) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        offsets, rows = np.array(call.arguments["offsets"]), len(call.arguments["a"])
        if not len(offsets):
            return None
        other = np.maximum.accumulate(np.clip(change(offsets, rows), 0, rows)).astype(offsets.dtype)
        return golden(call, offsets=other)

    return predict


OFFSETS: dict[str, Bounds] = {
    "all boundaries are a row late": lambda o, rows: o + 1,
    "all boundaries are a row early": lambda o, rows: o - 1,
    "inner boundaries are a row late": lambda o, rows: np.r_[o[:1], o[1:-1] + 1, o[-1:]] if len(o) > 1 else o,
    "inner boundaries are a row early": lambda o, rows: np.r_[o[:1], o[1:-1] - 1, o[-1:]] if len(o) > 1 else o,
    "the first group begins at row 0": lambda o, rows: np.r_[0, o[1:]],
    "the last group ends with a": lambda o, rows: np.r_[o[:-1], rows],
    "the last row of the last group is left out": lambda o, rows: np.r_[o[:-1], o[-1] - 1],
    "the first row of the first group is left out": lambda o, rows: np.r_[o[0] + 1, o[1:]],
    "empty groups are skipped with their experts": lambda o, rows: np.r_[
        o[:1], o[0] + np.cumsum(np.diff(o)[np.argsort(np.diff(o) == 0, kind="stable")])],
    "groups after the first empty one are not computed": lambda o, rows: np.minimum(
        o, o[np.flatnonzero(np.diff(o) == 0)[0]] if (np.diff(o) == 0).any() else o[-1]),
    "empty groups have one row": lambda o, rows: o[0] + np.r_[0, np.cumsum(np.maximum(np.diff(o), 1))],
    "offsets are taken to begin at row 0": lambda o, rows: o - o[0],
    "groups are of equal size": lambda o, rows: o[0] + np.arange(len(o)) * ((o[-1] - o[0]) // max(len(o) - 1, 1)),
    **{f"groups are padded to multiples of {n} rows": lambda o, rows, n=n: o[0] + np.r_[  # type: ignore[misc]
        0, np.cumsum(-(-np.diff(o) // n) * n)] for n in (2, 4, 8, 16)},
}  # fmt: skip


def _experts(change: Callable[[Array], Array], names: tuple[str, ...]) -> Callable[[Evidence], Any]:
    """Something of each expert taken from another one."""

    def predict(call: Evidence) -> Any:
        given = full_arguments(call)
        count = len(given["b"])
        order = change(np.arange(count)) if count else np.arange(0)
        found = {}
        for name in names:
            array = np.asarray(given[name]) if given[name] is not None else None
            own = array is not None and array.ndim in ((3,) if name == "b" else (1, 3) if name == "b_scale" else (2,))
            if array is not None and own and len(array) == count:
                found[name] = array[order]
        return golden(call, **found)

    return predict


TAKEN: dict[str, Callable[[Array], Array]] = {
    "of the first expert for all": np.zeros_like,
    "of the last expert for all": lambda e: np.full_like(e, len(e) - 1),
    "of the next expert": lambda e: np.minimum(e + 1, len(e) - 1),
    "of the next expert, the first after the last": lambda e: np.roll(e, -1),
    "of the expert before": lambda e: np.maximum(e - 1, 0),
    "of the expert before, the last before the first": lambda e: np.roll(e, 1),
    "of the experts in reverse order": lambda e: e[::-1],
}
WHAT: dict[tuple[str, ...], tuple[str, str]] = {
    ("b", "b_scale", "bias"): ("group_boundary", "everything"),
    ("b",): ("group_boundary", "the weights"),
    ("b_scale",): ("scale_broadcast", "b_scale"),
    ("bias",): ("group_boundary", "the bias"),
}


def _scales_from_row_0(call: Evidence) -> Any:
    """Each group reads a_scale from the first row on, not from its own."""
    given = full_arguments(call)
    scale, offsets = np.asarray(given["a_scale"]), np.asarray(given["offsets"])
    if scale.ndim != 2 or len(scale) != len(given["a"]) or not len(scale):
        return None
    row = np.arange(len(scale))
    first = offsets[np.clip(np.searchsorted(offsets, row, side="right") - 1, 0, len(offsets) - 1)]
    return golden(call, a_scale=scale[row - np.minimum(first, row)])


def _shared_rows(call: Evidence) -> Any:
    """Each group reads the rows of a from the first on."""
    given = full_arguments(call)
    offsets, row = np.asarray(given["offsets"]), np.arange(len(given["a"]))
    first = offsets[np.clip(np.searchsorted(offsets, row, side="right") - 1, 0, len(offsets) - 1)]
    return golden(call, a=given["a"][row - np.minimum(first, row)])


def hypotheses() -> Iterator[Hypothesis]:
    """All of grouped_mm."""
    for detail, change in OFFSETS.items():
        yield Hypothesis("group_boundary", detail, _offsets(change))
    for names, (kind, words) in WHAT.items():
        for detail, order in TAKEN.items():
            yield Hypothesis(kind, f"{words} {detail}", _experts(order, names))
    yield Hypothesis("scale_broadcast", "each group reads a_scale from row 0 on", _scales_from_row_0)
    yield Hypothesis("group_boundary", "each group reads a from row 0 on", _shared_rows)
    for kind, detail, wave, each in scaled_hypotheses():
        yield Hypothesis(kind, detail, _for_each(each), wave)


def _for_each(each: Each) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        try:
            return grouped(call, each)
        except REFUSED:
            return None

    return predict
