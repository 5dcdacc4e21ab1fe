# SPDX-License-Identifier: Apache-2.0
"""The numbers of each accumulator that its error bound needs. [BOUND-UNITS]"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..golden import _units

Indices = NDArray[np.intp]
PAIRS = (0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29)  # k of the first of two 16-long steps


@dataclass(frozen=True)
class Unit:
    """Chains of truncated fused dot-product-adds, and how their results are added."""

    block: int  # L: products per step
    fraction_bits: int  # F: terms are cut below 2**(E - F)
    result_bits: int  # p: significant bits of a step's result, toward zero
    floor: int  # E is at least this
    fresh: int = 0  # a chain of its own for each so many k, added by RN32; 0: one chain
    order: tuple[int, ...] = ()  # the order of k within ``fresh``, where it is not the natural one

    @property
    def smallest(self) -> int:
        """The exponent of the coarsest unit of the subnormal results."""
        return -126 - (self.result_bits - 1)

    def chains(self, start: int, stop: int) -> Iterator[list[Indices]]:
        """The chains over k = start..stop-1, each as the indices of its steps."""
        length = self.fresh or max(stop - start, 1)
        for first in range(start, stop, length):
            k = np.arange(first, first + length) if not self.order else first + np.array(self.order)
            steps = [k[i : i + self.block] for i in range(0, length, self.block)]
            kept = [step[step < stop] for step in steps]  # what lies beyond K is zeros
            yield [step for step in kept if step.size]


@dataclass(frozen=True)
class AnyOrder:
    """float32 sums in any order, with FMA or without, the scales anywhere. [BOUND-FLOAT32]"""


FLOAT32 = "float32"  # its name


def _of(row: _units.Unit, interval: int | None = None) -> Unit:
    numbers = (row.block, row.fraction_bits, row.result.bits, row.floor)
    if row.order == "rewritten":  # two 16-bit instructions from +0; the accumulator is added last [MMA-REWRITE]
        return Unit(*numbers, fresh=2 * row.block, order=(*PAIRS, *(k + 2 for k in PAIRS)))
    return Unit(*numbers, fresh=interval or 0)


# By the class of operands and the accumulator's name.
UNITS: dict[str, dict[str, Unit | AnyOrder]] = {
    "fp8": {
        chain.name: _of(_units.UNITS[chain.unit, "fp8", "float32"], chain.interval)
        for chain in _units.ACCUMULATORS.values()
    },
    **{
        operands: {name: _of(_units.UNITS[name, operands, "float32"]) for name in _units.units_of(operands, "float32")}
        for operands in ("bf16", "fp16")
    },
}
for _units_of_class in UNITS.values():
    _units_of_class[FLOAT32] = AnyOrder()
ACCUMULATORS = ("exact", *dict.fromkeys(name for units in UNITS.values() for name in units))


def splits(k: int, split_k: int) -> Iterator[tuple[int, int]]:
    """The ranges of k of each split that is not empty. [BOUND-SUMS]"""
    tiles = -(-k // _units.TILE)
    each = -(-tiles // split_k) * _units.TILE
    for start in range(0, k, max(each, 1)):
        yield start, min(start + each, k)
