# SPDX-License-Identifier: Apache-2.0
"""The questions: sums of a few products whose result says where bits were lost. [FINGERPRINT-PROBES]

Every large product is cancelled by its negative in the same sum, so that what is left has few bits: a target that
rounds to bfloat16 shows the same as one that returns float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ._arithmetic import ROUNDINGS
from ._subject import RefusedError, Subject, Terms

SMALL = 2.0**-18  # the smallest product
K = 256  # of a tree: counts up to 256 are bfloat16 numbers
GRAIN = 16  # of chain starts along K
FLOAT8_WIDE = np.dtype(ml_dtypes.float8_e5m2)
TILES = range(2, 10)  # lengths of K, in tiles of 128, at which chains and splits are looked for
# Products in units of the last bit that is kept; together they tell the roundings apart.
UNITS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.5)


@dataclass(frozen=True)
class Level:
    """The large product of the probes: what is small disappears beside it, and it does not overflow."""

    large: float
    range: str  # of the sums: "float32" or "float16"


LEVELS = (Level(2.0**16, "float32"), Level(2.0**8, "float16"))


def level_of(subject: Subject) -> Level | None:
    """The first level at which a large product and its negative leave 0; None if neither does. [FINGERPRINT-RANGE]"""
    for level in LEVELS:
        found = subject.dots([{0: level.large, 1: level.large, K - 2: -level.large, K - 1: -level.large}], K)
        if found[0] == 0:
            return level
    return None


def lost_with_first(subject: Subject, large: float) -> NDArray[np.int64] | None:
    """For j = 1..K-1: how many of K products are lost if the first is large, and product j its negative.

    The others are equal and small; those that meet the large ones before these cancel are lost. After the method of
    FPRev (arXiv 2411.00442). None if a count is no integer. [FINGERPRINT-TREE]
    """
    experiments = [dict.fromkeys(range(K), SMALL) | {0: large, j: -large} for j in range(1, K)]
    survived = subject.dots(experiments, K) / SMALL
    if not (np.isfinite(survived).all() and (survived == np.rint(survived)).all()):
        return None
    return K - survived.astype(np.int64)


def chain_starts(subject: Subject, large: float, k: int, places: Sequence[int]) -> list[int]:
    """For each place: where the chain began that the place belongs to, as a multiple of ``GRAIN``.

    A large product there and its negative beside it; a small one in the middle of each ``GRAIN`` before: those of the
    same chain are lost. [FINGERPRINT-CHAIN]
    """
    experiments = [{i: large, i + 1: -large} | dict.fromkeys(range(GRAIN // 2, i, GRAIN), SMALL) for i in places]
    survived = subject.dots(experiments, k) / SMALL
    return [i - GRAIN * (i // GRAIN - int(s)) for i, s in zip(places, survived, strict=True)]


def run_starts(subject: Subject, large: float, interval: int, k: int) -> list[int]:
    """For each chain but the last: in which chain the sum of chains began that it belongs to. [FINGERPRINT-SPLIT-K]"""
    chains = range(-(-k // interval) - 1)
    experiments = [
        {x * interval: large, (x + 1) * interval: -large} | {y * interval: SMALL for y in range(x)} for x in chains
    ]
    survived = subject.dots(experiments, k) / SMALL
    return [int(s) for s in survived]


@dataclass(frozen=True)
class Cut:
    """Where bits are lost: the last bit kept, and how the rest is rounded."""

    unit: float | None  # None: all bits are kept
    rounding: str | None = None  # None: none of ROUNDINGS


@dataclass(frozen=True)
class Setting:
    """Products around a small one: all of them large, and what cancels them."""

    large: float
    places: tuple[int, ...]  # of +large
    small: int
    cancel: tuple[int, ...]  # of -large
    cancelled: str = "later"  # "beside": in the same step, so that the cut sees the small product alone

    def terms(self, value: float, sign: int) -> Terms:
        """The experiment, or its mirror image."""
        around = dict.fromkeys(self.places, sign * self.large) | dict.fromkeys(self.cancel, -sign * self.large)
        return {**around, self.small: sign * value}


def cut_of(subject: Subject, setting: Setting, k: int = K, before: Cut | None = None) -> Cut:
    """The last bit that is kept of the small product, and the rounding that explains what becomes of the others.

    ``before`` is the cut that the product has gone through when it comes to this one.
    """
    sizes = [2.0**e for e in range(-18, 13)]
    found = subject.dots([setting.terms(size, 1) for size in sizes], k)
    kept = [size for size, left in zip(sizes, found.tolist(), strict=True) if left == size]
    if not kept or kept[0] == SMALL:
        return Cut(None)
    unit = kept[0]
    values = [u * unit for u in UNITS if u * unit >= 1.25 * 2.0**-16]
    both = [(value, sign) for value in values for sign in (1, -1)]
    left = subject.dots([setting.terms(*pair) for pair in both], k) / unit
    beside = 0.0 if setting.cancelled == "beside" else setting.large * len(setting.places)
    values = [sign * v for v, sign in both]
    if before is not None and before.unit is not None:
        first, size = ROUNDINGS[before.rounding or "toward_zero"], before.unit
        values = [float(first(np.asarray(v / size))) * size for v in values]
    signs = [sign for _, sign in both]
    return Cut(unit, _rounding([v / unit for v in values], signs, left.tolist(), beside / unit))


def _rounding(values: list[float], signs: list[int], left: list[float], beside: float) -> str | None:
    for name, rounding in ROUNDINGS.items():
        want = [
            float(rounding(np.asarray(value + sign * beside))) - sign * beside
            for value, sign in zip(values, signs, strict=True)
        ]
        if want == left:
            return name
    return None


def products_of(subject: Subject, fraction_bits: int, places: Sequence[int]) -> str:
    """Whether a product counts by the exponents of its factors ("unnormalised") or by its own. [FINGERPRINT-PRODUCTS]

    96 * 96 is 2.25 * 2^12, a number with the exponent 13; a bit at 2^(12 - F) is kept beside it if 12 counts.
    """
    small = 2.0 ** (12 - fraction_bits)
    terms: Terms = {places[0]: (96.0, 96.0), places[1]: (-96.0, 96.0), places[2]: small}
    return "unnormalised" if subject.dots([terms], K)[0] == small else "normalised"


def subnormal_operands(subject: Subject) -> str:
    """Whether subnormal codes are numbers or zeros. [FINGERPRINT-SUBNORMAL]"""
    found = subject.dots([{0: (2.0**-9, 256.0)}, {0: (3 * 2.0**-9, 1.0)}, {0: SMALL}], K)
    return "used" if found.tolist() == [0.5, 3 * 2.0**-9, SMALL] else "flushed"


def added_in(subject: Subject, large: float, interval: int, k: int) -> Cut:
    """How the results of chains are added: one large, one small, and the negative of the large one. [FINGERPRINT-ADD]

    The large product is 1.5 times a power of two, so that the numbers on both sides of it have the same distance.
    """
    return cut_of(subject, Setting(1.5 * large, (0,), interval, (2 * interval,)), k)


def wide_range(subject: Subject) -> bool | None:
    """Whether a sum of E5M2 products keeps 2^-32 beside 2^30, 62 bits; None if there is no E5M2. [FINGERPRINT-EXACT]"""
    a, b = np.zeros((subject.rows, K), np.float32), np.zeros((subject.rows, K), np.float32)
    a[0, [0, 1, 2]], b[0, [0, 1, 2]] = (2.0**15, 2.0**-16, -(2.0**15)), (2.0**15, 2.0**-16, 2.0**15)
    # the small product stands between the large ones
    try:
        found = subject.mm(a.astype(FLOAT8_WIDE), b.astype(FLOAT8_WIDE), 2.0**30, 1.0)
    except RefusedError:
        return None
    return bool(float(found[0, 0]) == 2.0**-2)
