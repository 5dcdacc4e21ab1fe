# SPDX-License-Identifier: Apache-2.0
"""Each check as calls whose results follow from one result. spec/conformance.md, [INVARIANCE-STATES] and after it"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...golden._rules import RULES
from ..cases._stream import Array, Stream
from ..outcome import Arrays
from ._subjects import Arguments, NotDefined, Subject

Change = Callable[[Arrays], Arrays]
SIZES = (1, 7, 16, 64, 65, 128)  # batches, about the sizes of tiles
POSITIONS = ("causal", "chunked")  # masks under which a row's place counts
SPLITS, THREADS = (2, 3, 5, 8), (1, 2, 3, 5)
COLUMNS = (1, 24, 56, 184)  # zeros appended to K: within a step, to the end of one, of an interval, one more


def _same(results: Arrays) -> Arrays:
    return results


@dataclass(frozen=True)
class Variation:
    """A call, and what its results must be: ``part`` of them is what ``expected`` makes of the first call's."""

    label: str
    arguments: Arguments
    expected: Change | None = _same  # None: nothing is compared
    part: Change = _same
    threads: int = 0


def _some_rows(subject: Subject, index: Array, label: str) -> Variation:
    """Some rows, computed alone."""
    rows = subject.rows
    size, arguments = rows.size(subject.arguments), rows.take(subject.arguments, index)
    if subject.function == "grouped_mm":
        arguments["offsets"] = np.searchsorted(index, subject.arguments["offsets"]).astype(np.int32)
    return Variation(label, arguments, partial(rows.of, index=index, size=size))


def _independent_rows(subject: Subject) -> None:
    """Raises NotDefined where rows share something."""
    if subject.function != "quantize":
        return
    rule = RULES[subject.arguments["rule"]]
    if not rule.given and (rule.granularity not in ("row", "group") or rule.search != "none"):
        raise NotDefined(f"rule {rule.name}: the scale of a row depends on others")


def _cuts(subject: Subject) -> Iterator[Variation]:
    """Later queries with all keys, and a shorter sequence. [LLAMA-CUT]"""
    q, size = subject.arguments["q"], len(subject.arguments["q"])
    for count in SIZES:
        last, first = np.arange(size - count, size), np.arange(count)
        expected = [partial(subject.rows.of, index=index, size=size) for index in (last, first)]
        yield Variation(f"the last {count} queries", {**subject.arguments, "q": q[last]}, expected[0])
        short = {name: subject.arguments[name][:count] for name in "qkv"}
        yield Variation(f"the first {count} tokens", {**subject.arguments, **short}, expected[1])


def batch(subject: Subject) -> Iterator[Variation]:
    """[INVARIANCE-BATCH]"""
    _independent_rows(subject)
    if subject.arguments.get("mask") in POSITIONS:
        yield from _cuts(subject)
        return
    size = subject.rows.size(subject.arguments)
    for row in (0, 1, 63, 64, size - 3):
        yield _some_rows(subject, np.array([row]), f"row {row} alone")
    for count in SIZES[1:]:
        for start in {0, (size - count) // 2}:
            yield _some_rows(subject, np.arange(start, start + count), f"rows {start} to {start + count - 1}")


def _within_groups(s: Stream, offsets: Array, size: int) -> Array:
    order = np.arange(size)
    for start, stop in itertools.pairwise(offsets.tolist()):
        order[start:stop] = start + np.argsort(s.words((stop - start,)))
    return order


def rows(subject: Subject) -> Iterator[Variation]:
    """[INVARIANCE-ROWS]"""
    _independent_rows(subject)
    s, axis = Stream(f"invariance/rows/{subject.label}"), subject.rows
    size = axis.size(subject.arguments)
    if subject.function == "grouped_mm":
        order = _within_groups(s, subject.arguments["offsets"], size)
        axes = [("tokens of each expert", axis, order)]
    elif subject.arguments.get("mask") in POSITIONS:
        axes = []
    else:
        axes = [("rows", axis, np.argsort(s.words((size,)))), ("rows backwards", axis, np.arange(size)[::-1])]
    for other in subject.others:
        count = other.size(subject.arguments)
        axes.append(("columns or heads", other, np.roll(np.arange(count), 1)))
    for label, along, order in axes:
        total = along.size(subject.arguments)
        expected = partial(along.of, index=order, size=total)
        yield Variation(f"{label} in another order", along.take(subject.arguments, order), expected)


def split_k(subject: Subject) -> Iterator[Variation]:
    """[INVARIANCE-SPLIT-K]"""
    if subject.function not in ("scaled_mm", "grouped_mm"):
        raise NotDefined("has no split_k")
    accumulate, epilogue = (subject.policies.get(key, "") for key in ("accumulate", "epilogue"))
    if accumulate not in ("", "exact"):
        raise NotDefined(f"split_k is part of the arithmetic of {accumulate}")
    if epilogue not in ("", "a_b", "b_a", "ab"):
        raise NotDefined(f"{epilogue} has no split_k")
    for parts in SPLITS:
        yield Variation(f"split_k {parts}", {**subject.arguments, "split_k": parts})


def threads(subject: Subject) -> Iterator[Variation]:
    """[INVARIANCE-THREADS]"""
    for count in THREADS:
        yield Variation(f"{count} threads", subject.arguments, threads=count)


def _other_values(subject: Subject) -> Arguments:
    """The same shapes with other numbers: rows backwards and their signs turned, and 8 times as large."""
    arguments = subject.rows.take(subject.arguments, np.arange(subject.rows.size(subject.arguments))[::-1])
    name = next(iter(subject.rows.arguments))
    if arguments[name].dtype.kind in "iu":
        return arguments
    values = -arguments[name]
    if values.dtype.itemsize > 1:
        values = np.ldexp(values.astype(np.float32), 3).astype(values.dtype)
    return {**arguments, name: values}


def run(subject: Subject) -> Iterator[Variation]:
    """[INVARIANCE-RUN]"""
    for count in range(3):
        yield Variation(f"call {count + 2}", subject.arguments)
    yield Variation("other values", _other_values(subject), None)
    yield Variation("after a call with other values", subject.arguments)
    yield Variation("few rows", _some_rows(subject, np.arange(5, 12), "").arguments, None)
    yield Variation("after a call with fewer rows", subject.arguments)
    if subject.function in ("scaled_mm", "grouped_mm"):
        empty = {name: subject.arguments[name][..., :0] for name in "ab"}
        yield Variation("K of zero", {**subject.arguments, **empty}, None)
        yield Variation("after a call with K = 0", subject.arguments)


def _wider(subject: Subject, names: str | tuple[str, ...], more: int) -> Arguments:
    """Zeros appended to the last axis of some arguments."""
    wide = {
        name: np.concatenate(
            [
                subject.arguments[name],
                np.zeros((*subject.arguments[name].shape[:-1], more), subject.arguments[name].dtype),
            ],
            axis=-1,
        )
        for name in names
    }
    return {**subject.arguments, **wide}


def _columns_of_quantize(subject: Subject) -> Iterator[Variation]:
    """Codes of the columns that were there, and scales of their groups."""
    _independent_rows(subject)
    for more in COLUMNS:

        def part(results: Arrays) -> Arrays:
            codes, scale = results["codes"], results["scale"]
            width = subject.arguments["x"].shape[1]
            return {"codes": codes[:, :width], "scale": scale[:, : -(-width // 128)] if scale.ndim == 2 else scale}

        yield Variation(f"{more} columns of zeros", _wider(subject, ("x",), more), part=part)


def _rows_of_no_group(subject: Subject) -> Iterator[Variation]:
    """Garbage before the first group and behind the last; results in place; an expert without rows."""
    arguments, (before, after) = subject.arguments, (5, 9)
    offsets, size = arguments["offsets"], len(arguments["a"])
    padded: dict[str, Any] = {"offsets": offsets + before}
    for name, bits in (("a", 0x7F), ("a_scale", 0x7F800000)):
        one = np.array(bits, f"u{arguments[name].dtype.itemsize}").view(arguments[name].dtype)
        ends = [np.full((count, *arguments[name].shape[1:]), one) for count in (before, after)]
        middle = np.full_like(arguments[name], one)
        middle[offsets[0] : offsets[-1]] = arguments[name][offsets[0] : offsets[-1]]
        padded[name] = np.concatenate([ends[0], middle, ends[1]])
    inner = np.arange(before, before + size)
    yield Variation(
        "NaN in more rows before and behind the groups",
        {**arguments, **padded},
        part=lambda r: {"out": r["out"][inner]},
    )
    width = arguments["b"].shape[1]
    kind = np.dtype("float32") if subject.label == "float32" else arguments["b"].dtype
    if subject.label == "float32":
        kept = Stream("invariance/out").bits((size, width), kind)

        def expected(results: Arrays) -> Arrays:
            whole = kept.copy()
            whole[offsets[0] : offsets[-1]] = results["out"][offsets[0] : offsets[-1]]
            return {"out": whole}

        yield Variation("rows of no group keep what out holds", {**arguments, "out": kept}, expected)
    more = {name: np.insert(arguments[name], 2, arguments[name][0], axis=0) for name in ("b", "b_scale")}
    more["offsets"] = np.insert(offsets, 2, offsets[2])
    yield Variation("one more expert without rows", {**arguments, **more})


def padding(subject: Subject) -> Iterator[Variation]:
    """[INVARIANCE-PADDING]"""
    function = subject.function
    if function == "quantize":
        yield from _columns_of_quantize(subject)
        return
    names: Mapping[str, tuple[str, ...]] = {
        "scaled_mm": ("a", "b"),
        "grouped_mm": ("a", "b"),
        "linear": ("x", "weight"),
        "attention": ("q", "k", "v"),
    }
    if function not in names:
        raise NotDefined("zeros that are appended change the result, or are rows: see batch")
    for more in COLUMNS:

        def part(results: Arrays) -> Arrays:
            return {"out": results["out"][..., : subject.arguments["v"].shape[-1]]}

        arguments = _wider(subject, names[function], more)
        yield Variation(f"{more} columns of zeros", arguments, part=part if function == "attention" else _same)
    if function == "grouped_mm":
        yield from _rows_of_no_group(subject)


CHECKS: dict[str, Callable[[Subject], Iterator[Variation]]] = {
    "batch": batch,
    "rows": rows,
    "split_k": split_k,
    "threads": threads,
    "run": run,
    "padding": padding,
}
