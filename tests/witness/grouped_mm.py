# SPDX-License-Identifier: Apache-2.0
"""The scaled products of several experts: each row alone, by the weight of the group that it lies in."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def owner(row: int, offsets: Sequence[int]) -> int | None:
    """The expert that a row belongs to; no expert owns the rows before the first group and after the last."""
    owners = [e for e in range(len(offsets) - 1) if offsets[e] <= row < offsets[e + 1]]
    assert len(owners) <= 1, "groups overlap"
    return owners[0] if owners else None


def grouped_mm(
    rows: int, offsets: Sequence[int], product: Callable[[int, int], list[int]], kept: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Patterns (rows, N): product(row, expert), the scaled product of one row, or the row that was there before."""
    owners = [owner(row, offsets) for row in range(rows)]
    return [list(kept[row]) if e is None else product(row, e) for row, e in enumerate(owners)]
