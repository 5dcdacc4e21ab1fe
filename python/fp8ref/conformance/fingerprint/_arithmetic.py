# SPDX-License-Identifier: Apache-2.0
"""The measured parameters of an accumulator, and what an accumulator with such parameters computes.

It is the step of golden's units with every choice open: golden has the numbers of real hardware, this has those of
whatever was measured. For the named accumulators both give the same bits. [FINGERPRINT-MODEL]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...golden import _units

Array = NDArray[Any]
Float64 = NDArray[np.float64]
TILE = _units.TILE
ZERO = -999  # the "exponent" of a product that is zero
SMALLEST = -6  # the exponent of E4M3's subnormals, which are not normalised [MMA-STEP]
PAIRS = (0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29)  # k of the first of two steps [MMA-REWRITE]

# Roundings to an integer, by name.
ROUNDINGS: dict[str, Callable[[Float64], Float64]] = {
    "toward_zero": np.trunc,
    "nearest_even": np.rint,
    "nearest_away": lambda x: np.trunc(x + np.copysign(0.5, x)),
    "down": np.floor,
    "up": np.ceil,
}


@dataclass(frozen=True)
class Arithmetic:
    """What one accumulator does. The defaults are one exact sum over all of K, rounded to float32."""

    block: int | None = None  # L: products of a step; None: all of K
    fraction_bits: int | None = None  # F: terms are cut below 2**(E - F); None: not at all
    terms: str = "toward_zero"  # how they are cut
    products: str = "unnormalised"  # E counts exponents before ("unnormalised") or after normalisation
    result_bits: int = 24
    result: str = "nearest_even"
    emin: int = -126  # of the result's format
    interval: int | None = None  # a fresh chain for so many elements of K, added in float32
    order: tuple[int, ...] = ()  # of k within ``interval``; () is the natural one
    split_k: int = 1

    def accumulate(self, a: Array, b: Array) -> NDArray[np.float32]:
        """The accumulators (M, N) of E4M3 codes a (M, K) and b (N, K)."""
        k = a.shape[1]
        runs = [self._run(a[:, s:e], b[:, s:e]) for s, e in runs_of(k, self.split_k)]
        return np.asarray(_added(runs), np.float32)

    def _run(self, a: Array, b: Array) -> Float64:
        k = a.shape[1]
        if self.interval is None:
            return self._chain(a, b)
        return _added([self._chain(*(x[:, s : s + self.interval] for x in (a, b))) for s in range(0, k, self.interval)])

    def _chain(self, a: Array, b: Array) -> Float64:
        k = a.shape[1]
        order = np.array(self.order if self.order else range(k), np.intp)
        c = np.zeros((len(a), len(b)))
        block = self.block or max(k, 1)
        for start in range(0, len(order), block):
            part = order[start : start + block]
            part = part[part < k]  # what lies beyond K is zeros
            c = self._step(a[:, part], b[:, part], c) if part.size else c
        return c

    def _step(self, a: Array, b: Array, c: Float64) -> Float64:
        left, right = a.astype(np.float64), b.astype(np.float64)
        if self.fraction_bits is None:
            return self._converted(left @ right.T + c)
        product = left[:, None, :] * right[None, :, :]
        exponent = self._exponents(left, right, product)
        top = np.maximum(exponent.max(axis=2), np.where(c == 0, ZERO, np.maximum(_exponent(c), self.emin)))
        shift = np.where(top == ZERO, 0, self.fraction_bits - top)
        cut = ROUNDINGS[self.terms]
        total = cut(np.ldexp(product, shift[:, :, None])).sum(axis=2) + cut(np.ldexp(c, shift))
        return self._converted(np.ldexp(total, -shift))

    def _exponents(self, left: Float64, right: Float64, product: Float64) -> NDArray[np.int64]:
        if self.products == "normalised":
            found = _exponent(product)
        else:
            found = np.add(*(np.maximum(_exponent(x), SMALLEST)[s] for x, s in ((left, np.s_[:, None]), (right, None))))
        return np.asarray(np.where(product == 0, ZERO, found))

    def _converted(self, x: Float64) -> Float64:
        quantum = np.maximum(_exponent(x), self.emin) - self.result_bits + 1
        value = np.ldexp(ROUNDINGS[self.result](np.ldexp(x, -quantum)), quantum) + 0.0
        largest = 65504.0 if self.emin == -14 else float(np.finfo(np.float32).max)
        return np.asarray(np.where(np.abs(value) > largest, np.copysign(np.inf, value), value))


def _exponent(x: Float64) -> NDArray[np.int64]:
    return np.frexp(x)[1].astype(np.int64) - 1


def _added(parts: list[Float64]) -> Float64:
    """float32 sums in order."""
    total = parts[0]
    with np.errstate(over="ignore", invalid="ignore"):
        for part in parts[1:]:
            total = (total.astype(np.float32) + part.astype(np.float32)).astype(np.float64)
    return total


def runs_of(k: int, split_k: int) -> Iterator[tuple[int, int]]:
    """The parts of K of each split. [MMA-SPLIT-K]"""
    each = -(-max(-(-k // TILE), 1) // split_k) * TILE
    edges = [*range(0, max(k, 1), each), k]
    yield from pairwise(edges)


def _of(row: _units.Chain) -> Arithmetic:
    unit = _units.UNITS[row.unit, "fp8", "float32"]
    numbers = {"fraction_bits": unit.fraction_bits, "result_bits": unit.result.bits, "result": unit.result.rounding}
    if unit.order == "rewritten":
        order = (*PAIRS, *(k + 2 for k in PAIRS))
        return Arithmetic(block=unit.block, interval=len(order), order=order, **numbers)  # type: ignore[arg-type]
    return Arithmetic(block=unit.block, interval=row.interval, **numbers)  # type: ignore[arg-type]


# What each named accumulator is; those of one description come one after the other. [FINGERPRINT-NAMES]
NAMED = {"exact": Arithmetic(), **{name: _of(row) for name, row in _units.ACCUMULATORS.items()}}


def names_of(found: Arithmetic) -> tuple[str, ...]:
    """The named accumulators with these numbers."""
    plain = Arithmetic(**{**vars(found), "split_k": 1})
    return tuple(name for name, row in NAMED.items() if row == plain)
