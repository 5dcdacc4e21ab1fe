# SPDX-License-Identifier: Apache-2.0
"""Signs of places: what lies beyond the last whole tile of rows or columns, and whose bytes lie there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._bits import difference
from ._evidence import Array, Evidence
from ._golden import real
from ._memory import FEW, MANY, misshapen, pairs_of, telling

TILES = (2, 4, 8, 16, 32, 64, 128)  # the smallest that fits has the fewest places
AXES = ("rows", "columns")
MOST = 0.9  # of the mismatching calls that must keep to the places
EXCEPT = 0.25  # of the matching calls that may have such places and be right, as zeros are


def _beyond(call: Evidence, axis: int, tile: int) -> str:
    """Whether all differences lie beyond the last whole tile.

    ``tail``: they do; ``all``: there is no whole tile; ``no``: some do not; ``right``: nothing differs there;
    ``none``: nothing but zeros is there.
    """
    places, seen = "none", False
    largest = max(want.size for want in call.expected.values())
    for name, want in call.expected.items():
        have = call.got[name]
        if want.ndim <= axis or not want.size:
            continue
        flat = real(want).reshape(len(want), -1)
        along = flat.shape[axis]
        if want.size == largest:
            seen = seen or bool(np.any(np.take(flat, range(along // tile * tile, along), axis)))
        mask = difference(want, have)
        if not mask.any():
            continue
        index = np.nonzero(mask.reshape(len(want), -1) if mask.ndim > 1 else mask)[axis]
        if index.min() < along // tile * tile:
            return "no"
        places = "all" if along < tile else "tail"
    return places if places != "none" else "right" if seen else "none"


class Tails:
    """Which tile the calls of a function have that are wrong beyond the last whole one; found once for all calls."""

    def __init__(self) -> None:
        self._calls: Sequence[Evidence] = ()
        self._found: tuple[int, int] | None = None

    def of(self, calls: Sequence[Evidence]) -> tuple[int, int] | None:
        """Axis and tile, or None."""
        if self._calls is not calls:
            self._calls, self._found = calls, self._search([call for call in calls if not misshapen(call)])
        return self._found

    def _search(self, calls: list[Evidence]) -> tuple[int, int] | None:
        wrong = [call for call in calls if not call.equal]
        right = [call for call in calls if call.equal]
        for axis in range(len(AXES)):
            for tile in TILES:
                kinds = [_beyond(call, axis, tile) for call in wrong]
                if kinds.count("tail") < 2 or kinds.count("no") > (1 - MOST) * len(wrong):
                    continue
                spared = [_beyond(call, axis, tile) for call in right].count("right")
                if spared <= EXCEPT * max(len(right), 1):
                    return axis, tile
        return None


TAILS = Tails()


def tail(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """What lies beyond the last whole tile of rows or columns is not this call's."""
    found = TAILS.of(calls)
    if found is None or _beyond(call, *found) not in ("tail", "all"):
        return None
    axis, tile = found
    return f"{AXES[axis]} beyond the last multiple of {tile} hold something else"


def tail_of_zeros(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Zeros beyond the last whole tile of rows or columns."""
    words = tail(call, calls)
    if words is None or any(np.any(real(have[mask]) != 0) for _, have, mask in pairs_of(call)):
        return None
    return words.replace("hold something else", "are zeros")


class Memory:
    """The bytes that a buffer of the results before would hold, for each call."""

    def __init__(self) -> None:
        self._calls: Sequence[Evidence] = ()
        self._before: dict[int, list[bytes]] = {}

    def of(self, call: Evidence, calls: Sequence[Evidence]) -> list[bytes]:
        """What may lie in the memory of a call: the bytes before, and those of the last result again and again."""
        if self._calls is not calls:
            self._calls, self._before = calls, {}
            held, last = bytearray(), b""
            for other in calls:
                if misshapen(other) or not other.got:
                    continue
                (first, *_), rest = other.got.values(), len(other.got) - 1
                size = first.nbytes
                again = (last * (size // max(len(last), 1) + 1))[:size] if last else b""
                self._before[id(other)] = [] if rest else [bytes(held[:size]), again]
                last = np.ascontiguousarray(first).tobytes()
                held[:size] = last
        return self._before.get(id(call), [])


MEMORY = Memory()


def _bytes(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(-1).view(np.uint8).reshape(x.size, x.itemsize)


def memory(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """The bytes that results before have left, also those of other shapes and types."""
    pairs = pairs_of(call)
    if len(pairs) != 1:
        return None
    _, have, mask = pairs[0]
    where = mask.reshape(-1)
    if where.sum() <= MANY or not telling(have[mask]) or len(np.unique(have[mask].view(f"u{have.itemsize}"))) <= FEW:
        return None
    now = _bytes(have)[where]
    for before in MEMORY.of(call, calls):
        if len(before) == have.nbytes:
            old = np.frombuffer(before, np.uint8).reshape(have.size, have.itemsize)[where]
            if np.array_equal(old, now):
                return "the bytes of the results before"
    return None
