# SPDX-License-Identifier: Apache-2.0
"""The bit probes of Hopper's FP8 tensor core: rows of products and the accumulator that they must give.

The model behind the expected bits is described, with its sources, in spec/mma.md [MMA-STEP].
"""

from __future__ import annotations

import itertools
import random

import numpy as np

from bits import E4M3, from_bits
from witness import formats

CODE_OF = {float(formats.decode(formats.E4M3, code)): code for code in range(0xFF) if code not in (0x7F, 0x80)}
NAN, MINUS_ZERO = 0x7F, 0x80

# Products a*b in a row of 32, the first at k = 0. A last number is what the whole row must accumulate to.
PAIR = [(64.0, 64.0), (-64.0, 64.0)]
_STEPS = {
    "E1a smallest kept bit": ([*PAIR, (0.5, 1.0)], 0x3F000000),
    "E1b first bit cut": ([*PAIR, (0.25, 1.0)], 0x00000000),
    "E5a cut is toward zero, below": ([*PAIR, (-0.375, 1.0)], 0x00000000),
    "E5b cut is toward zero, above": ([*PAIR, (0.375, 1.0)], 0x00000000),
    "E5c cut is no floor": ([*PAIR, (-0.25, 1.0)], 0x00000000),
    "E6a result has 14 bits, cut": ([(64.0, 64.0), (64.0, 64.0), (1.5, 1.0)], 0x46000400),
    "E6b result cut toward zero": ([(64.0, -64.0), (64.0, -64.0), (-1.5, 1.0)], 0xC6000400),
    "E7a products are not normalised": ([(96.0, 96.0), (0.5, 1.0), (0.5, 1.0)], 0x46100400),
    "E7b the same product, higher exponent": ([(72.0, 128.0), (0.5, 1.0), (0.5, 1.0)], 0x46100000),
    "E8 subnormals are not normalised": ([(2.0**-9, 64.0), (-(2.0**-9), 64.0), (2.0**-7, 2.0**-7)], 0x00000000),
    "E9 cancellation is +0": ([(1.0, 1.0), (-1.0, 1.0)], 0x00000000),
    "all codes 448": ([(448.0, 448.0)] * 32, 0x4AC40000),
    "all codes 2**-9": ([(2.0**-9, 2.0**-9)] * 32, 0x39000000),
}
# Chains: each step's products. A first step puts a chosen number into the accumulator.
_CHAINS = {
    "E2b c is cut with the products": ([[(0.5, 0.5)], PAIR], 0x00000000),
    "E2c smallest kept bit of c": ([[(0.5, 1.0)], PAIR], 0x3F000000),
    "E3a c sets the alignment": ([[(8.0, 8.0)], [(2.0**-4, 2.0**-4)] * 32], 0x42800000),
    "E3b a sum that reaches 64": ([[(8.0, 8.0), (-0.125, 1.0)], [(2.0**-4, 2.0**-4)] * 32], 0x42800000),
    "E3c a chain that sticks at 64": ([[(2.0**-4, 2.0**-4)] * 32] * 520, 0x42800000),
    "E13 no hidden bits between steps": ([[(64.0, 64.0), (64.0, 64.0), (1.5, 1.0)], [(0.5, 1.0)]], 0x46000400),
    "eight steps of 448": ([[(448.0, 448.0)] * 32] * 8, 0x4C440000),
}


def _codes(steps: list[list[tuple[float, float]]]) -> tuple[list[int], list[int]]:
    rows: tuple[list[int], list[int]] = ([], [])
    for products in steps:
        padded = [*products, *[(0.0, 0.0)] * (32 - len(products))]
        for side, row in enumerate(rows):
            row += [CODE_OF[pair[side]] for pair in padded]
    return rows


def probes() -> dict[str, tuple[list[int], list[int], int]]:
    """Codes of a row of a, of a row of b, and the fp32 pattern of the accumulator."""
    found = {name: (*_codes([products]), bits) for name, (products, bits) in _STEPS.items()}
    found |= {name: (*_codes(steps), bits) for name, (steps, bits) in _CHAINS.items()}
    found["E9 products of minus zero"] = ([MINUS_ZERO] * 32, [CODE_OF[1.0]] * 32, 0x00000000)
    found["generated row"] = (*generated(0), 0xC79F8C00)
    # Fast accumulation over K = 512: the half is lost wherever it comes after the large products.
    large = [(64.0, 64.0), (64.0, 64.0)]
    for k in (32, 127, 128, 300, 511):
        steps = [[*large]] + [[] for _ in range(15)]
        steps[k // 32] = [*steps[k // 32], *[(0.0, 0.0)] * (k % 32 - len(steps[k // 32])), (0.5, 1.0)]
        found[f"E17 half at {k}"] = (*_codes(steps), 0x46000000)
    return found


def generated(test: int) -> tuple[list[int], list[int]]:
    """The pseudo-random rows of spec/mma.md."""
    state, codes = 1000 + test, []
    for _ in range(64):
        state = (1664525 * state + 1013904223) % 2**32
        byte = state >> 24
        codes.append(byte ^ 1 if byte & 0x7F == 0x7F else byte)
    return codes[:32], codes[32:]


# Accumulator before, and after one step over `generated(test)`.
GENERATED_STEPS = [
    (0x00000000, 0xC79F8C00),
    (0x3F800000, 0x4581C400),
    (0x40490FDB, 0xC7F46000),
    (0xC7C35000, 0xC7C53000),
    (0x47C35000, 0x47A61400),
    (0x00800000, 0xC5CA3000),
]
# E11: accumulators before and after a step whose products are all zero.
ZERO_STEPS = {
    0x40490FDB: 0x40490C00,
    0x7F7FFFFF: 0x7F7FFC00,
    0x00000001: 0,
    0x000003FF: 0,
    0x00000400: 0x400,
    0x000007FF: 0x400,
    0x007FFFFF: 0x7FFC00,
    0x00800001: 0x800000,
    0x80000000: 0,
    0x7F800000: 0x7F800000,
    0xFF800000: 0xFF800000,
    0x7FC00001: 0x7FFFFFFF,
    0xFFFFFFFF: 0x7FFFFFFF,
}


def grouping(every: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """E4: +4096 and -4096 at every ordered pair of places, 0.25 at a third: every row must accumulate to +0.

    Any grouping of the 32 products into smaller sums leaves the quarter in some of the rows. The third place is a
    random one, or with `every` each of the other 30.
    """
    rng = random.Random(7)
    places = []
    for i, j in itertools.permutations(range(32), 2):
        others = [k for k in range(32) if k not in (i, j)]
        places += [(i, j, k) for k in (others if every else [rng.choice(others)])]
    a, b = np.zeros((len(places), 32), dtype=np.uint8), np.zeros((len(places), 32), dtype=np.uint8)
    rows = np.arange(len(places))[:, None]
    a[rows, np.array(places)] = [CODE_OF[64.0], CODE_OF[-64.0], CODE_OF[0.5]]
    b[rows, np.array(places)] = [CODE_OF[64.0], CODE_OF[64.0], CODE_OF[0.5]]
    return from_bits(a, E4M3), from_bits(b, E4M3)
