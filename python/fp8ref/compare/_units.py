# SPDX-License-Identifier: Apache-2.0
"""The numbers of each accumulator that its error bound needs. [BOUND-UNITS]"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
TILE = 128  # split-K deals out tiles of 128 of K
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


HOPPER_FP8 = Unit(block=32, fraction_bits=13, result_bits=14, floor=-133)
HOPPER = Unit(block=16, fraction_bits=25, result_bits=24, floor=-133)
AMPERE = Unit(block=8, fraction_bits=24, result_bits=24, floor=-132)
BLACKWELL_FP8 = Unit(block=32, fraction_bits=25, result_bits=24, floor=-133)

# By the operands' width in bytes: 1 is E4M3 and E5M2, 2 is bfloat16 and float16.
UNITS: dict[int, dict[str, Unit]] = {
    1: {
        "sm89_mma": Unit(block=16, fraction_bits=13, result_bits=14, floor=-132),
        # Two 16-bit instructions from +0; the accumulator is added last, by RN32.
        "sm90_mma_sync": replace(HOPPER, fresh=32, order=(*PAIRS, *(k + 2 for k in PAIRS))),
        "sm90_wgmma": HOPPER_FP8,
        "sm90_wgmma_promoted": replace(HOPPER_FP8, fresh=128),
        "sm100_tcgen05": BLACKWELL_FP8,
        "sm120_mma": BLACKWELL_FP8,
    },
    2: {
        "sm80_mma": AMPERE,
        "sm89_mma": AMPERE,
        **dict.fromkeys(("sm90_mma_sync", "sm90_wgmma", "sm100_tcgen05", "sm120_mma"), HOPPER),
    },
}
ACCUMULATORS = ("exact", *dict.fromkeys(name for units in UNITS.values() for name in units))


def splits(k: int, split_k: int) -> Iterator[tuple[int, int]]:
    """The ranges of k of each split that is not empty. [BOUND-SUMS]"""
    tiles = -(-k // TILE)
    each = -(-tiles // split_k) * TILE
    for start in range(0, k, max(each, 1)):
        yield start, min(start + each, k)
