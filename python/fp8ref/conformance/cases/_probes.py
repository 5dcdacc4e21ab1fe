# SPDX-License-Identifier: Apache-2.0
"""The bit probes of tensor cores as operands: each shows one property of an accumulator. spec/mma.md has the bits.

They are the rows of tests/gpu/probe_table.h that need no register; E18 is a search for the order of the sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from ._stream import BFLOAT16, FLOAT8, FLOAT16, FLOAT32, Array

E5M2 = np.dtype(ml_dtypes.float8_e5m2)
Terms = tuple[tuple[float, float], ...]
PLUS, MINUS = (64.0, 64.0), (-64.0, 64.0)
INF = float("inf")


@dataclass(frozen=True)
class Probe:
    """Products at k = 0, 1, ..., and the bits of the accumulator before them."""

    name: str
    terms: Terms
    c: int = 0
    dtype: np.dtype[Any] = FLOAT8


# What is cut where, how the result is rounded, in which order accumulators enter.
STEPS = (
    Probe("E1a", (PLUS, MINUS, (0.5, 1))),
    Probe("E1b", (PLUS, MINUS, (0.25, 1))),
    Probe("E2a", (), 0x40490FDB),
    Probe("E2b", (PLUS, MINUS), 0x3E800000),
    Probe("E2c", (PLUS, MINUS), 0x3F000000),
    Probe("E3a", ((0.0625, 0.0625),) * 32, 0x42800000),
    Probe("E3b", ((0.0625, 0.0625),) * 32, 0x427F8000),
    Probe("E3c", ((0.0625, 0.0625),) * 32 * 520),
    Probe("E5a", (PLUS, MINUS, (-0.375, 1))),
    Probe("E5b", (PLUS, MINUS, (0.375, 1))),
    Probe("E5c", (PLUS, MINUS, (-0.25, 1))),
    Probe("E6a", (PLUS, PLUS, (1.5, 1))),
    Probe("E6b", ((64, -64), (64, -64), (-1.5, 1))),
    Probe("E7a", ((96, 96), (0.5, 1), (0.5, 1))),
    Probe("E7b", ((72, 128), (0.5, 1), (0.5, 1))),
    Probe("E8", ((2.0**-9, 64), (-(2.0**-9), 64), (2.0**-7, 2.0**-7))),
    Probe("E9a", ((-0.0, 1),) * 32, 0x80000000),
    Probe("E9b", ((1, 1), (-1, 1))),
    Probe("E10a", ((float("nan"), 1),)),
    Probe("E10b", ((INF, 0),), dtype=E5M2),
    Probe("E10c", ((INF, 1), (-INF, 1)), dtype=E5M2),
    Probe("E10d", ((INF, 1),), dtype=E5M2),
    *(Probe(f"E11{letter}", (), c) for letter, c in zip("abcdefghijk", (
        0x7F7FFFFF, 1, 0x3FF, 0x400, 0x7FF, 0x7FFFFF, 0x800001, 0x7F800000, 0xFF800000, 0x7FC00001, 0xFFFFFFFF,
    ), strict=True)),
    Probe("E13", (PLUS, PLUS, (1.5, 1), *((0, 0),) * 29, (0.5, 1))),
    Probe("E14a", ((1, 1), (-1, 1), (2.0**-25, 1)), dtype=BFLOAT16),
    Probe("E14b", ((1, 1), (-1, 1), (2.0**-26, 1)), dtype=BFLOAT16),
    Probe("E14c", ((1, 1), (-1, 1)), 0x32800000, BFLOAT16),
    Probe("E14d", ((1, 1), (1.5, 2.0**-24)), dtype=BFLOAT16),
    Probe("E14d_negated", ((-1, 1), (-1.5, 2.0**-24)), dtype=BFLOAT16),
    Probe("E14e", ((1.5, 1.5), (1.75, 2.0**-23), (2.0**-25, 1)), dtype=BFLOAT16),
    Probe("E14e_normal", ((2.25, 1), (1.75, 2.0**-23), (2.0**-25, 1)), dtype=BFLOAT16),
    Probe("E14f_32", ((2.0**-23, 2.0**-126), (-(2.0**-32), 2.0**-126)), dtype=BFLOAT16),
    Probe("E14f_33", ((2.0**-23, 2.0**-126), (-(2.0**-33), 2.0**-126)), dtype=BFLOAT16),
    Probe("E14h_24", ((2.0**-12, 2.0**-13), (2.0**-23, 2.0**-24)), dtype=FLOAT16),
    Probe("E14h_22", ((2.0**-12, 2.0**-13), (2.0**-22, 2.0**-24)), dtype=FLOAT16),
    Probe("E15a", ((2.0**127, 1), (2.0**127, 1)), dtype=BFLOAT16),
    Probe("E15b", ((2.0**127, 2.0**127), (-(2.0**127), 2.0**127)), 0x3F800000, BFLOAT16),
    Probe("E15c", ((2.0**103, 1),), 0x7F7FFFFF, BFLOAT16),
    Probe("E15d", ((2.0**104, 1),), 0x7F7FFFFF, BFLOAT16),
)  # fmt: skip


def exactly(values: Any, dtype: np.dtype[Any]) -> Array:
    """An array of the type, of numbers that it has."""
    wide = np.asarray(values, np.float32)
    narrow = wide.astype(dtype)
    assert np.array_equal(narrow.astype(np.float32), wide, equal_nan=True)
    return narrow


def operands(probe: Probe) -> tuple[Array, Array]:
    """a and b, (1, K) each, K at least 32."""
    pairs = np.zeros((max(len(probe.terms), 32), 2))
    pairs[: len(probe.terms)] = np.reshape(probe.terms, (-1, 2))
    return exactly(pairs[:, 0][None], probe.dtype), exactly(pairs[:, 1][None], probe.dtype)


def accumulator(probe: Probe, dtype: np.dtype[Any] = FLOAT32) -> Array | None:
    """c, (1, 1), or None for +0."""
    return np.array([[probe.c]], np.uint32).view(dtype) if probe.c else None


def _rows(places: Array, k: int, values: tuple[float, ...], b: Array) -> tuple[Array, Array]:
    """One probe a row: ``values[i]`` at ``places[:, i]``, against one row of b."""
    a = np.zeros((len(places), k))
    for column, value in zip(places.T, values, strict=True):
        np.put_along_axis(a, column[:, None], value, axis=1)
    return exactly(a, FLOAT8), exactly(b[None], FLOAT8)


def _pairs(k: int) -> Array:
    """(i, j): the first place with each other one, and neighbours."""
    return np.array([*((0, j) for j in range(1, k)), *((j, j + 1) for j in range(1, k - 1))])


def groupings(every: int) -> tuple[Array, Array]:
    """E4c: three products at any three of 32 places; one in ``every`` of the 29,760 ways."""
    triples = np.array([(i, j, k) for i in range(32) for j in range(32) for k in range(32) if len({i, j, k}) == 3])
    # 256 * 16 is 4096, 2**-6 * 16 a quarter: numbers that are no subnormals.
    return _rows(triples[::every], 32, (256, -256, 2.0**-6), np.full(32, 16.0))


def placed() -> Iterator[tuple[str, Array, Array]]:
    """Probes of places, each a row: (name, a, b)."""
    front = np.full(512, 1.0)
    front[:2] = 64
    for name, pair in (("E4a", (0, 1)), ("E4b", (16, 17))):
        third = np.setdiff1d(np.arange(32), pair)
        places = np.stack([np.full(30, pair[0]), np.full(30, pair[1]), third], axis=1)
        b = np.full(32, 0.5)
        b[list(pair)] = 64
        yield name, *_rows(places, 32, (64, -64, 0.5), b)
    yield "E4c", *groupings(61)
    small = np.full(32, 2.0**-4)
    small[0] = 256
    third = np.arange(2, 32)
    yield "E16b", *_rows(np.stack([0 * third, 0 * third + 1, third], axis=1), 32, (256, 2.0**-4, 2.0**-4), small)
    third = np.arange(2, 512)
    yield "E17", *_rows(np.stack([0 * third, 0 * third + 1, third], axis=1), 512, (64, 64, 0.5), front)
    # +M, -M and ones elsewhere, which M swallows: how many are left says which were added between the two.
    pairs = _pairs(160)
    rows = np.full((len(pairs), 160), 2.0**-6)
    _masked(rows, pairs, 448.0, -448.0)
    yield "E18_thirteen_bits", exactly(rows, FLOAT8), exactly(np.full((1, 160), 448.0), FLOAT8)
    pairs = _pairs(72)
    rows = np.full((2, len(pairs), 72), 2.0**-9)  # 2**-18 beside 2**16: beyond 25 bits; the diagonal has the probes
    _masked(rows[0], pairs, 256.0, -256.0)
    _masked(rows[1], pairs, 256.0, 256.0)
    yield "E18_all_bits", exactly(rows[0], FLOAT8), exactly(rows[1], FLOAT8)


def _masked(rows: Array, pairs: Array, first: float, second: float) -> None:
    """Write the two large numbers of each row."""
    for column, value in zip(pairs.T, (first, second), strict=True):
        np.put_along_axis(rows, column[:, None], value, axis=1)
