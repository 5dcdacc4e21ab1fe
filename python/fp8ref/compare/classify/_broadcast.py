# SPDX-License-Identifier: Apache-2.0
"""Operands and scales that are read wrongly: other rows, other blocks, other formats, another K."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from ...golden._args import E5M2, FLOAT8
from ...golden._blocks import BLOCK
from ...golden._round import round_to
from ._evidence import Array
from ._golden import real

Arguments = dict[str, Any]
Change = Callable[[Arguments], Arguments | None]
SIDES = ("a", "b")
PADS = (4, 8, 16, 32, 64, 128)  # what a kernel's K must be a multiple of


def _spread(scale: Array, rows: int) -> Array:
    """One value for each row (rows, 1)."""
    return np.broadcast_to(scale.reshape(-1, 1) if scale.size == rows else scale.reshape(1, 1), (rows, 1))


def _of(side: str, change: Callable[[Array], Array]) -> Change:
    """One operand's scales changed; the result keeps their shape."""

    def changed(arguments: Arguments) -> Arguments | None:
        scale = np.asarray(arguments[f"{side}_scale"]).astype(np.float32)
        if not scale.size:
            return arguments
        found = np.asarray(change(scale), np.float32)
        return {**arguments, f"{side}_scale": np.broadcast_to(found, scale.shape).copy()}

    return changed


def _both(change: Callable[[Array], Array]) -> Change:
    first, second = (_of(side, change) for side in SIDES)

    def changed(arguments: Arguments) -> Arguments | None:
        found = first(arguments)
        return None if found is None else second(found)

    return changed


def _matrix(change: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda scale: change(scale) if scale.ndim == 2 else scale


def _power(scale: Array, way: Callable[[Array], Array]) -> Array:
    return np.where((scale > 0) & np.isfinite(scale), np.exp2(way(np.log2(np.where(scale > 0, scale, 1)))), scale)


ONE_SIDE: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "is not applied": ("scale_broadcast", np.ones_like),
    "of the first row is applied to all": ("scale_broadcast", lambda s: s[:1] if s.ndim else s),
    "of the last row is applied to all": ("scale_broadcast", lambda s: s[-1:] if s.ndim else s),
    "is its largest value for all": ("scale_broadcast", np.max),
    "is its first value for all": ("scale_broadcast", lambda s: s.reshape(-1)[0]),
    "is in reverse order": ("scale_broadcast", lambda s: s[::-1] if s.ndim else s),
    "is shifted by one row": ("scale_broadcast", lambda s: np.roll(s, 1, 0) if s.ndim else s),
    "is shifted by minus one row": ("scale_broadcast", lambda s: np.roll(s, -1, 0) if s.ndim else s),
    "is shifted by minus one row and stays at the end": (
        "scale_broadcast", lambda s: np.concatenate([s[1:], s[-1:]]) if s.ndim else s),
    "is shifted by one row and stays at the start": (
        "scale_broadcast", lambda s: np.concatenate([s[:1], s[:-1]]) if s.ndim else s),
    "is taken for the rows of pairs": (
        "scale_broadcast", lambda s: s[np.arange(len(s)) // 2 * 2] if s.ndim else s),
    "of the first block of K is applied to all": ("scale_broadcast", _matrix(lambda s: s[:, :1])),
    "of the last block of K is applied to all": ("scale_broadcast", _matrix(lambda s: s[:, -1:])),
    "has its blocks of K in reverse order": ("scale_broadcast", _matrix(lambda s: s[:, ::-1])),
    "is shifted by one block of K": ("scale_broadcast", _matrix(lambda s: np.roll(s, 1, 1))),
    "is shifted by minus one block of K": ("scale_broadcast", _matrix(lambda s: np.roll(s, -1, 1))),
    "is read in the other storage order": (
        "scale_broadcast", _matrix(lambda s: np.asfortranarray(s).reshape(-1, order="F").reshape(s.shape))),
    "is stored in the other storage order": (
        "scale_broadcast", _matrix(lambda s: s.reshape(-1).reshape(s.shape, order="F"))),
    "is applied twice": ("scale_broadcast", lambda s: s * s),
    "is divided by": ("reciprocal", lambda s: np.float32(1) / s),
    "is rounded to bfloat16": ("double_rounding", lambda s: round_to(s, "bfloat16").astype(np.float32)),
    "is rounded to float16": ("double_rounding", lambda s: round_to(s, "float16").astype(np.float32)),
    "is rounded up to a power of two": ("double_rounding", lambda s: _power(s, np.ceil)),
    "is cut to a power of two": ("double_rounding", lambda s: _power(s, np.floor)),
    "is rounded to a power of two": ("double_rounding", lambda s: _power(s, np.rint)),
    "is zero where it is subnormal": ("subnormal_flush", lambda s: np.where(s < 2.0**-126, 0, s)),
}  # fmt: skip


def _swapped(arguments: Arguments) -> Arguments | None:
    """Row m takes b's scale, column n takes a's, as far as there are any."""
    rows, columns = len(arguments["a"]), len(arguments["b"])
    a_s, b_s = (np.asarray(arguments[f"{side}_scale"]).astype(np.float32) for side in SIDES)
    if (a_s.ndim > 1 and a_s.shape[1] > 1) or (b_s.ndim > 1 and b_s.shape[1] > 1) or not (rows and columns):
        return None
    if not a_s.size or not b_s.size:
        return None
    a_s, b_s = _spread(a_s, rows), _spread(b_s, columns)
    row, column = np.arange(rows), np.arange(columns)
    return {**arguments, "a_scale": b_s[row % columns], "b_scale": a_s[column % rows]}


def _onto(side: str, clamp: bool) -> Change:
    """One operand's scales are applied along the other axis too, and not along their own."""
    other = "ab".replace(side, "")

    def changed(arguments: Arguments) -> Arguments | None:
        rows, others = len(arguments[side]), len(arguments[other])
        mine, theirs = (np.asarray(arguments[f"{s}_scale"]).astype(np.float32) for s in (side, other))
        if mine.shape != (rows, 1) or theirs.size not in (1, others) or not (rows and others):
            return None
        index = np.minimum(np.arange(others), rows - 1) if clamp else np.arange(others) % rows
        return {
            **arguments,
            f"{side}_scale": np.float32(1),
            f"{other}_scale": mine[index] * _spread(theirs, others),
        }

    return changed


def _blocks_by_row(arguments: Arguments) -> Arguments | None:
    """Column n takes block min(n, last) of b's scales, not block n // 128."""
    scale, columns = np.asarray(arguments["b_scale"]), len(arguments["b"])
    if scale.ndim != 2 or len(scale) in (0, columns) or scale.shape[1] < 1:
        return None
    return {**arguments, "b_scale": scale[np.minimum(np.arange(columns), len(scale) - 1)]}


def _blocks_of_64(arguments: Arguments) -> Arguments | None:
    scale, columns = np.asarray(arguments["b_scale"]), len(arguments["b"])
    if scale.ndim != 2 or len(scale) in (0, columns):
        return None
    return {**arguments, "b_scale": scale[np.minimum(np.arange(columns) // (BLOCK // 2), len(scale) - 1)]}


def SCALES() -> Iterator[tuple[str, str, Change]]:
    """Scales applied wrongly: kind, detail, change of the arguments."""
    for detail, (kind, change) in ONE_SIDE.items():
        for side in SIDES:
            yield kind, f"{side}_scale {detail}", _of(side, change)
        yield kind, f"each of the two scales {detail}", _both(change)
    yield "scale_broadcast", "the scales of rows and columns are swapped", _swapped
    for side, other in zip(SIDES, ("columns", "rows"), strict=True):
        for clamp in (False, True):
            yield "scale_broadcast", f"{side}_scale is applied to {other}", _onto(side, clamp)
    yield "scale_broadcast", "block n of b_scale is applied to column n", _blocks_by_row
    yield "scale_broadcast", "blocks of b_scale are taken for 64 columns", _blocks_of_64


# ---- codes ----------------------------------------------------------------------------------------------------------


def _codes(change: Callable[[Array], Array], sides: tuple[str, ...] = SIDES) -> Change:
    """E4M3 operands read in another way, as codes; the others stay."""

    def changed(arguments: Arguments) -> Arguments | None:
        found = {side: change(arguments[side]) for side in sides if arguments[side].dtype == FLOAT8}
        return {**arguments, **found} if found else None

    return changed


def _operands(change: Callable[[Array], Array], sides: tuple[str, ...] = SIDES) -> Change:
    """Operands at other places, codes of either format."""
    return lambda arguments: {**arguments, **{side: change(arguments[side]) for side in sides}}


def _top(code: int) -> Callable[[Array], Array]:
    def change(x: Array) -> Array:
        words = x.view(np.uint8)
        return np.where((words & 0x7F) == 0x7F, (words & 0x80) | code, words).astype(np.uint8).view(FLOAT8)

    return change


def _other_order(x: Array) -> Array:
    """(rows, K) read as if it were stored as (K, rows)."""
    return np.ascontiguousarray(x).reshape(x.shape[::-1]).T


def _recast(name: Any) -> Callable[[Array], Array]:
    """The bits as another format, as far as E4M3 has its values; NaN where it has not."""

    def change(x: Array) -> Array:
        values = real(x.view(np.uint8).view(name))
        with np.errstate(all="ignore"):
            return values.astype(np.float32).astype(FLOAT8)

    return change


def _formats(one: Any, two: Any) -> Change:
    """Operands of one format read as the other."""

    def changed(arguments: Arguments) -> Arguments | None:
        found = {side: arguments[side].view(two) for side in SIDES if arguments[side].dtype == one}
        return {**arguments, **found} if found else None

    return changed


def CODES() -> Iterator[tuple[str, str, Change]]:
    """Operands read wrongly: kind, detail, change of the arguments."""
    yield "special_values", "NaN codes are read as 448", _codes(_top(0x7E))
    yield "special_values", "NaN codes are read as 0", _codes(_top(0x00))
    yield "layout", "E5M2 codes are read as E4M3", _formats(E5M2, FLOAT8)
    yield "layout", "E4M3 codes are read as E5M2", _formats(FLOAT8, E5M2)
    yield "layout", "E4M3 codes are read as E4M3FNUZ", _codes(_recast(ml_dtypes.float8_e4m3fnuz))
    for sides in (SIDES, ("a",), ("b",)):
        which = " and ".join(sides)
        yield "layout", f"{which} is read in the other storage order", _operands(_other_order, sides)
        yield "layout", f"the rows of {which} are in reverse order", _operands(lambda x: x[::-1], sides)
        yield "layout", f"K of {which} is in reverse order", _operands(lambda x: x[:, ::-1], sides)
        yield "layout", f"the rows of {which} are shifted by one", _operands(lambda x: np.roll(x, 1, 0), sides)
        yield "layout", f"K of {which} is shifted by one", _operands(lambda x: np.roll(x, 1, 1), sides)
        yield "layout", f"neighbours along K of {which} are swapped", _operands(_swap_pairs, sides)
    yield "layout", "a and b are swapped", _exchanged


def _swap_pairs(x: Array) -> Array:
    order = np.arange(x.shape[1]) ^ 1
    return x[:, np.minimum(order, max(x.shape[1] - 1, 0))]


def _exchanged(arguments: Arguments) -> Arguments | None:
    if len(arguments["a"]) != len(arguments["b"]):
        return None
    pairs = {"a": "b", "b": "a", "a_scale": "b_scale", "b_scale": "a_scale"}
    return {**arguments, **{one: arguments[two] for one, two in pairs.items()}}


# ---- K ----------------------------------------------------------------------------------------------------


def _kept(length: Callable[[int], int]) -> Change:
    """Only the first elements of K; scales of blocks that nothing is left of go too."""

    def changed(arguments: Arguments) -> Arguments | None:
        k = arguments["a"].shape[1]
        kept = min(max(length(k), 0), k)
        found = {side: arguments[side].copy() for side in SIDES}
        for x in found.values():
            x.view(np.uint8)[:, kept:] = 0
        return {**arguments, **found}

    return changed


def _less(k: int, count: int) -> int:
    return k - count


def _wrapped(pad: int) -> Change:
    """The last tile is read from beyond the row: from the start of the next one, and of the first after the last."""

    def changed(arguments: Arguments) -> Arguments | None:
        k = arguments["a"].shape[1]
        more = -k % pad
        scale = np.asarray(arguments["a_scale"])
        if not k or (scale.ndim == 2 and scale.shape[1] > 1):
            return None
        if not more:
            return arguments
        found = {}
        for side in SIDES:
            x = arguments[side]
            flat = np.concatenate([x.view(np.uint8).reshape(-1), np.zeros(more, np.uint8)])
            rows = np.arange(len(x))[:, None] * k + np.arange(k + more)
            found[side] = flat[rows].view(x.dtype)
        return {**arguments, **found}

    return changed


def TAILS() -> Iterator[tuple[str, str, Change]]:
    """The end of K: kind, detail, change of the arguments."""
    for pad in PADS:
        words = f"the last K mod {pad} elements of K are left out"
        yield "k_tail", words, _kept(lambda k, p=pad: k // p * p)  # type: ignore[misc]
    for pad in PADS:
        whole = lambda k, p=pad: k // p * p if k > p else k  # noqa: E731
        yield "k_tail", f"the last K mod {pad} elements of K are left out, where K is larger", _kept(whole)
    for count in (1, 2, 4, 8, 16, 32):
        shorter = partial(_less, count=count)
        yield "k_tail", f"the last {count} elements of K are left out", _kept(shorter)
    for pad in PADS:
        yield "k_tail", f"the last tile of {pad} reads beyond the rows", _wrapped(pad)
