# SPDX-License-Identifier: Apache-2.0
"""The error of an accumulator, step by step, from the operands alone: no unit is run here. [BOUND-CHAIN]"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..golden._exact import lowest_exponents
from ._operands import NOTHING, Float64, Side
from ._units import AnyOrder, Indices, Unit, splits

FLOAT32_LIMIT = 2.0**128 - 2.0**103  # from here on RN32 gives an infinity
# Each step of a bound is at most 32 float64 operations on numbers that are not negative, each off by 2**-53: what a
# step computes, times OUTWARD, is at least the real number that the formula means. [BOUND-FLOAT64]
OUTWARD = 1 + 2.0**-47
# 33 residues of at most 24 bits, added in float32.
OUTWARD32 = 1 + 2.0**-17
# Products of three roundings, and n - 1 more: (1 + u)^3 and what it does to n, for n below 2^20. [BOUND-FLOAT32]
SECOND_ORDER = 1 + 2.0**-20


def exponent(x: Float64) -> NDArray[np.int32]:
    """floor(log2(x)); far below everything for 0."""
    return np.where(x == 0, NOTHING, np.frexp(x)[1] - 1)


def half_unit(
    x: Float64, grain: float = 0.0, precision: int = 24, smallest: int = -126, limit: float = FLOAT32_LIMIT
) -> Float64:
    """How far rounding to nearest can move a multiple of ``grain`` of magnitude at most x; infinite by overflow."""
    half = np.ldexp(1.0, np.maximum(exponent(x), smallest) - precision)
    moved = np.where(2 * half > grain, np.minimum(half, x), 0.0)
    return np.where(x < limit, moved, np.inf)


@dataclass(frozen=True)
class Sums:
    """A sum as a number: its real value, the sum of the magnitudes, and how far a machine's result may be off."""

    value: Float64
    absolute: Float64
    error: Float64
    grain: float = 0.0  # the machine's numbers are multiples of it

    def size(self, slack: float) -> Float64:
        """At least the magnitude of the machine's result. ``slack``: of the float64 sum ``value``."""
        return (np.abs(self.value) + self.error + slack * self.absolute) * OUTWARD


def slack_of(a: Side, b: Side) -> float:
    """How far a float64 sum of products may be off, as a factor of the sum of magnitudes; 0 where it is exact."""
    k = a.values.shape[1]
    if not (a.values.any() and b.values.any()):
        return 0.0
    largest = float(np.abs(a.values).max()) * float(np.abs(b.values).max())
    exact = k * largest <= 2.0 ** (53 + a.last_bit + b.last_bit)
    return 0.0 if exact else (k + 8) * 2.0**-52


def _top(a: Side, b: Side, step: Indices) -> NDArray[np.int16]:
    """The largest exponent of the non-zero products; NOTHING or less without any."""
    left, right = np.ascontiguousarray(a.exponents[:, step].T), np.ascontiguousarray(b.exponents[:, step].T)
    top = np.full((a.values.shape[0], b.values.shape[0]), 2 * NOTHING, np.int16)
    pair = np.empty_like(top)
    for ea, eb in zip(left, right, strict=True):
        np.maximum(top, np.add(ea[:, None], eb, out=pair), out=top)
    return top


def _residues(a: Side, b: Side, step: Indices, cut: NDArray[np.int32]) -> Float64:
    """At least the sum over the step of |product| mod 2**cut.

    A product of significands has at most 22 bits, so that all but the sum is exact, in float32 too.
    """
    last = a.last_bit + b.last_bit
    if cut.max(initial=-4000) <= last:
        return np.zeros(cut.shape)  # nothing lies below the cut
    largest = 60 if a.work is np.float32 else 200  # larger scales belong to outputs without products
    unit = np.ldexp(1.0, np.minimum(-cut, largest)).astype(a.work)
    left, right = (np.abs(x.values[:, step].T).astype(a.work, order="C") for x in (a, b))
    total, term = np.zeros_like(unit), np.empty_like(unit)
    whole = np.empty_like(unit)
    for va, vb in zip(left, right, strict=True):
        np.multiply(va[:, None], vb, out=term)
        np.multiply(term, unit, out=term)
        np.subtract(term, np.floor(term, out=whole), out=term)
        np.add(total, term, out=total)
    outward = np.where(cut - last <= 19, 1.0, OUTWARD32)  # a sum below 2**5 of multiples of 2**-19 is exact
    return np.ldexp(total.astype(np.float64), cut) * outward


def _step(unit: Unit, a: Side, b: Side, step: Indices, before: Sums, slack: float) -> Sums:
    """One step of the recurrence. [BOUND-STEP]"""
    top = _top(a, b, step).astype(np.int32)
    some = top > NOTHING
    top = np.where(some, np.maximum(top, unit.floor), NOTHING)
    accumulator = np.minimum(before.size(slack), before.absolute)
    cut = np.maximum(top, exponent(accumulator)) - unit.fraction_bits

    left, right = a.values[:, step], b.values[:, step]
    value = before.value + left @ right.T
    absolute = (before.absolute + np.abs(left) @ np.abs(right).T) * (OUTWARD if slack else 1.0)
    finest = np.ldexp(1.0, np.maximum(top, -900) - unit.fraction_bits)
    kept = np.where(some & (finest > before.grain), np.minimum(finest, accumulator), 0.0)
    lost = _residues(a, b, step, cut) + kept
    total = np.minimum(Sums(value, absolute, before.error + lost).size(slack), absolute)
    result = np.ldexp(1.0, np.maximum(exponent(total) - unit.result_bits + 1, unit.smallest))
    narrowed = np.where(some, np.minimum(np.maximum(result - np.maximum(finest, before.grain), 0.0), total), 0.0)
    error = (before.error + lost + narrowed) * OUTWARD
    error = np.where(absolute < 2.0**128, np.minimum(error, (np.abs(value) + absolute) * OUTWARD), np.inf)
    return Sums(value, absolute, error, before.grain)


def _zero(a: Side, b: Side) -> Sums:
    shape = (a.values.shape[0], b.values.shape[0])
    return Sums(np.zeros(shape), np.zeros(shape), np.zeros(shape), _grain(a, b))


def _grain(a: Side, b: Side) -> float:
    """All products, and so what units keep of them, are multiples of this."""
    return 2.0 ** (a.last_bit + b.last_bit)


def added(parts: Iterable[Sums], slack: float) -> Sums | None:
    """RN32 sums of the parts in order; the first is added to zero, which is exact. [BOUND-SUMS]"""
    total: Sums | None = None
    for part in parts:
        if total is None:
            total = part
            continue
        value, absolute = total.value + part.value, total.absolute + part.absolute
        sum_ = Sums(value, absolute, (total.error + part.error) * OUTWARD)
        rounding = half_unit(sum_.size(slack), part.grain)
        total = Sums(value, absolute, (sum_.error + rounding) * OUTWARD, part.grain)
    return total


def _chain(unit: Unit, a: Side, b: Side, steps: Iterable[Indices], slack: float) -> Sums:
    state = _zero(a, b)
    for step in steps:
        state = _step(unit, a, b, step, state, slack)
    return state


def any_order(a: Side, b: Side, start: int, stop: int, roundings: Float64) -> Sums:
    """float32 sums over k = start..stop-1 in any order, each product rounded so many times before. [BOUND-FLOAT32]"""
    left, right = a.values[:, start:stop], b.values[:, start:stop]
    value, absolute = left @ right.T, (np.abs(left) @ np.abs(right).T) * OUTWARD
    count = (left != 0).astype(np.float64) @ (right != 0).astype(np.float64).T
    grain = 2.0 ** sum(int(lowest_exponents(x).min(initial=0)) for x in (left, right))
    error = (np.maximum(count - 1, 0) + roundings) * 2.0**-24 * absolute * SECOND_ORDER
    error = np.where((absolute <= 2.0**24 * grain) & (roundings == 0), 0.0, error)
    if grain < 2.0**-149:
        error = error + count * 2.0**-149
    error = np.where(absolute < 2.0**127, error, np.inf)
    return Sums(value, absolute, error * OUTWARD, 0.0 if roundings.any() else grain)


def chains(unit: Unit | AnyOrder | None, a: Side, b: Side, start: int, stop: int, split_k: int, slack: float) -> Sums:
    """The accumulator over k = start..stop-1; ``unit`` None is the exact sum, rounded once."""
    if isinstance(unit, AnyOrder):
        return any_order(a, b, start, stop, np.zeros(()))
    if unit is None:
        left, right = a.values[:, start:stop], b.values[:, start:stop]
        exact = Sums(left @ right.T, (np.abs(left) @ np.abs(right).T) * OUTWARD, np.zeros(()))
        return Sums(exact.value, exact.absolute, half_unit(exact.size(slack), _grain(a, b)))

    def split(first: int, last: int) -> Sums:
        parts = (_chain(unit, a, b, steps, slack) for steps in unit.chains(start + first, start + last))
        return added(parts, slack) or _zero(a, b)

    return added((split(*part) for part in splits(stop - start, split_k)), slack) or _zero(a, b)
