# SPDX-License-Identifier: Apache-2.0
"""What a wrong result shows by itself: stale memory, zeros, permutations, constant factors. [CLASSIFY-SIGNS]"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._bits import alike, difference
from .._ulp import DTYPES, ulp
from ._bounds import in_float32
from ._evidence import Array, Evidence
from ._golden import real
from ._memory import FEW, free_rows, last, pairs_of, place_of, repeated, settles, stale, telling
from ._places import memory, tail, tail_of_zeros
from ._rounding import format_number, tiny
from ._try import Sign

PRODUCTS = ("scaled_mm", "grouped_mm", "linear", "mma", "attention")
CLOSE = 2.0**-7  # of the largest result of a row: errors of another order of sums are smaller
SHIFTS = 64  # rows or columns by which a tile may be off
RATIO = 2.0**-20  # how exactly a factor is held by float32 results; other types by their own rounding


def zeros(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Zeros where numbers should be."""
    del calls
    places = []
    if len(pairs_of(call)) < len(call.expected):
        return None
    for want, have, mask in pairs_of(call):
        value = real(want[mask])
        if np.any(real(have[mask]) != 0) or (tiny(want[mask]) | (value == 0)).all():
            return None
        places.append(place_of(mask))
    return f"{places[0]} are zero" if places else None


def flushed(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Zeros where subnormal numbers should be."""
    del calls
    pairs = pairs_of(call)
    small = [tiny(want[mask]) | (real(want[mask]) == 0) for want, _, mask in pairs]
    flushes = any(tiny(want[mask]).any() for want, _, mask in pairs)
    if flushes and all(x.all() for x in small) and all(np.all(real(have[mask]) == 0) for _, have, mask in pairs):
        return "subnormal results are zeros"
    return None


def special(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Only NaN, infinities and signs of zeros differ."""
    del calls
    for want, have, mask in pairs_of(call):
        if want.dtype.kind in "biu":
            return None
        one, two = real(want[mask]), real(have[mask])
        odd = ~np.isfinite(one) | ~np.isfinite(two) | ((one == 0) & (two == 0))
        if not odd.all():
            return None
    return "only NaN, infinities or signs of zeros differ"


def overflow(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Largest numbers, infinities and NaN are taken for each other, though the inputs are finite there."""
    if special(call, calls) is None:
        return None
    inputs = [x for x in call.arguments.values() if isinstance(x, np.ndarray) and x.dtype.kind not in "biu"]
    for want, _, mask in pairs_of(call):
        # An input of the result's shape is looked at where the result differs: one number makes one number.
        if not all(np.isfinite(real(x[mask] if x.shape == want.shape else x)).all() for x in inputs):
            return None
    for want, have, mask in pairs_of(call):
        top = format_number(want, "max")
        sizes = np.abs([real(want[mask]), real(have[mask])])
        if not np.all((sizes == top) | ~np.isfinite(sizes)):
            return None
    return "largest numbers, infinities and NaN are taken for each other"


def turned(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """The expected elements at other places."""
    del calls
    for want, have in [(call.expected[n], call.got[n]) for n in call.expected if n in call.got]:
        if want.dtype != have.dtype or want.size != have.size:
            return None
        if want.shape == have.shape and not telling(want):
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


def copied(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """The box of differing results holds what belongs to other rows or columns."""
    del calls
    for want, have, mask in pairs_of(call):
        if want.ndim != 2 or mask.sum() < FEW or not telling(want[mask]):
            return None
        box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(mask))
        for axis, name in ((0, "rows"), (1, "columns")):
            for shift in range(1, min(want.shape[axis], SHIFTS)):
                for step in (shift, -shift):
                    if alike(np.roll(want, step, axis)[box], have[box]):
                        return f"{place_of(mask)} are those of the {name} {-step:+d}"
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
    usable = np.isfinite(one) & np.isfinite(two) & (one != 0) & ~tiny(want) & ~tiny(have)
    if usable.sum() < FEW or len(np.unique(one[usable])) < FEW:
        return 1.0, False
    ratios = two[usable] / one[usable]
    factor = float(np.median(ratios))
    exact = want.dtype == np.float32
    step = RATIO if exact else 1.01 * format_number(want, "eps")
    return factor, bool(np.all(np.abs(ratios - factor) <= step * abs(factor)) and abs(factor - 1) > step)


def factor(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """A constant factor on all differing elements."""
    del calls
    found = []
    if len(pairs_of(call)) < len(call.expected) or call.function == "quantize":
        return None
    for want, have, mask in pairs_of(call):
        if want.dtype.kind in "biu":
            return None
        number, held = _ratio(want[mask], have[mask])
        if not held or number == 0:
            return None
        found.append(f"{place_of(mask)} are {number:.4g} times too large")
    return found[0] if found else None


def scales(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """All scales that are found are a multiple of the right ones."""
    del calls
    if call.function != "quantize":
        return None
    number, held = _ratio(call.expected["scale"].reshape(-1), call.got["scale"].reshape(-1))
    return f"scales are {number:.4g} times too large" if held else None


def by_lines(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """A factor of its own for each row, or for each column."""
    del calls
    for want, have, mask in pairs_of(call):
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
    for want, have, mask in pairs_of(call):
        if want.dtype not in DTYPES or np.any(ulp(have[mask], want[mask]) != 1):
            return None
        ways.append(np.sign(np.abs(real(have[mask])) - np.abs(real(want[mask]))))
    signs = np.concatenate(ways) if ways else np.zeros(0)
    if len(signs) < FEW or len(np.unique(signs)) != 1:
        return None
    return f"all differences are one unit in the last place {'toward' if signs[0] < 0 else 'away from'} zero"


def _k_of(call: Evidence) -> int:
    """K of a product, or 0."""
    x = call.arguments.get("a", call.arguments.get("x"))
    products = call.function in PRODUCTS and isinstance(x, np.ndarray) and x.ndim == 2
    return int(x.shape[1]) if products and x is not None else 0


def odd_k(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Only calls differ whose K is no multiple of a tile."""
    del call
    wrong, right = ([_k_of(other) for other in calls if other.equal is equal] for equal in (False, True))
    for tile in (8, 16, 32, 64, 128):
        whole = [k for k in right if k and k % tile == 0]
        if all(k % tile for k in wrong) and len(whole) > len(right) / 4 and len({*whole}) > 1:
            return f"only calls differ whose K is no multiple of {tile}"
    return None


def near(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Errors of a product are small beside the largest result of their row, as those of sums are."""
    del calls
    if call.function not in PRODUCTS:
        return None
    worst = 0.0
    for want, have, mask in pairs_of(call):
        one, two = real(want), real(have)
        if want.dtype.kind in "biu" or not np.isfinite(one[mask] - two[mask]).all():
            return None
        top = np.max(np.abs(np.where(np.isfinite(one), one, 0)), axis=-1, keepdims=True, initial=0)
        with np.errstate(all="ignore"):
            worst = max(worst, float(np.max((np.abs(one - two) / top)[mask])))
    return f"no known order of sums; errors up to {worst:.1e} of the largest result of a row" if worst < CLOSE else None


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
    Sign("stale_output", settles, 1.3),
    Sign("stale_output", last, 1.2),
    Sign("stale_output", stale, 1.0),
    Sign("layout", turned, 0.95),
    Sign("interface", form, 0.5),
)
SIGNS = (
    Sign("stale_output", settles, 1.3),
    Sign("stale_output", last, 1.2),
    Sign("stale_output", free_rows, 0.9),
    Sign("stale_output", memory, 0.95),
    Sign("stale_output", stale, 0.4),
    Sign("nondeterministic", repeated, 1.1),
    Sign("unwritten", zeros, 0.97),
    Sign("unwritten", tail_of_zeros, 0.9),
    Sign("layout", turned, 0.97),
    Sign("overflow_policy", overflow, 0.75),
    Sign("subnormal_flush", flushed, 0.8),
    Sign("special_values", special, 0.7),
    Sign("layout", copied, 0.9),
    Sign("factor", factor, 0.9),
    Sign("scale_rule", scales, 0.8),
    Sign("scale_broadcast", by_lines, 0.6),
)
WEAK = (
    Sign("stale_output", tail, 0.65),
    Sign("k_tail", odd_k, 0.6),
    Sign("truncation", one_way, 0.5),
    Sign("accumulator", in_float32, 0.6),
    Sign("accumulator", near, 0.4),
)
