# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about mma: other units, other numbers in a unit, another place for the accumulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ...golden._round import round_to
from ...golden._tensor_core import chain
from ...golden._units import RESULTS, UNIT_NAMES, Unit
from ...golden.mma import mma_arrays
from ._accumulators import in_types
from ._broadcast import PADS
from ._evidence import Array, Evidence
from ._golden import REFUSED, full_arguments, golden, real
from ._try import Hypothesis

Work = Callable[[Unit, Array, Array, Array], Array]


def _with(work: Work) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        try:
            return work(*mma_arrays(**full_arguments(call)))
        except REFUSED:
            return None

    return predict


def _changed(change: Callable[[Unit], Unit]) -> Work:
    return lambda unit, a, b, c: chain(change(unit), a, b, c)


def _late(unit: Unit, a: Array, b: Array, c: Array) -> Array:
    return chain(unit, a, b, np.zeros_like(c)) + c


def _steps(unit: Unit, a: Array, b: Array, c: Array) -> Array:
    """Every step from +0, its result added to the accumulator."""
    total = c
    for k in range(0, a.shape[1], unit.block):
        total = total + chain(unit, a[:, k : k + unit.block], b[:, k : k + unit.block])
    return total


def _kept(length: Callable[[int], int]) -> Work:
    """Zeros from some element of K on."""

    def work(unit: Unit, a: Array, b: Array, c: Array) -> Array:
        left, right = np.array(a), np.array(b)
        for x in (left, right):
            x[:, max(length(x.shape[1]), 0) :] = x.dtype.type(0)
        return chain(unit, left, right, c)

    return work


def _reordered(order: Callable[[Array], Array]) -> Work:
    """K in another order, in runs of 32."""

    def work(unit: Unit, a: Array, b: Array, c: Array) -> Array:
        pad = -a.shape[1] % 32
        wide = [np.pad(x.view(f"u{x.dtype.itemsize}"), ((0, 0), (0, pad))).view(x.dtype) for x in (a, b)]
        index = np.arange(a.shape[1] + pad)
        place = index // 32 * 32 + order(index % 32)
        left, right = (np.ascontiguousarray(x[:, place]) for x in wide)
        return chain(unit, left, right, c)

    return work


UNITS_CHANGED: dict[str, Callable[[Unit], Unit]] = {
    **{f"steps of {n}": lambda u, n=n: replace(u, block=n) for n in (4, 8, 16, 32, 64)},  # type: ignore[misc]
    **{f"{n} fraction bits": lambda u, n=n: replace(u, fraction_bits=n) for n in range(9, 29)},  # type: ignore[misc]
    "results of 14 bits": lambda u: replace(u, result=RESULTS["e8m13"]) if u.out_dtype == "float32" else u,
    "results of 24 bits": lambda u: replace(u, result=RESULTS["fp32"]) if u.out_dtype == "float32" else u,
    "results rounded to nearest": lambda u: replace(u, result=replace(u.result, rounding="nearest")),
    "results cut toward zero": lambda u: replace(u, result=replace(u.result, rounding="toward_zero")),
    "no rewriting as FP16": lambda u: replace(u, order="chain"),
    "no rewriting as FP16, steps of 32": lambda u: replace(u, order="chain", block=32),
    "no floor of the exponent": lambda u: replace(u, floor=-400),
    "a floor of the exponent higher by 1": lambda u: replace(u, floor=u.floor + 1),
    "a floor of the exponent lower by 1": lambda u: replace(u, floor=u.floor - 1),
}
ORDERS: dict[str, Callable[[Array], Array]] = {
    "the high half of K first": lambda k: k ^ 16,
    "K backward": lambda k: 31 - k,
    "the other pairs first": lambda k: k ^ 2,
    "halves as pairs": lambda k: k // 4 * 2 + k % 2 + k % 4 // 2 * 16,
}  # fmt: skip


def _late_named(name: str) -> Callable[[Evidence], Any]:
    return lambda call: golden(call, accumulate=name)


def _plain(how: Callable[[Array, Array], Array]) -> Work:
    def work(unit: Unit, a: Array, b: Array, c: Array) -> Array:
        acc = how(a, b)
        return None if acc is None else round_to(real(acc) + real(c), unit.out_dtype)

    return work


def hypotheses() -> Iterator[Hypothesis]:
    """All of mma."""
    for name in UNIT_NAMES:
        yield Hypothesis("accumulator", name, _late_named(name))
    for detail, change in UNITS_CHANGED.items():
        yield Hypothesis("accumulator", f"a unit with {detail}", _with(_changed(change)))
    yield Hypothesis("accumulator", "the accumulator is added last", _with(_late))
    yield Hypothesis("accumulator", "the accumulator is added after each step", _with(_steps))
    yield Hypothesis("accumulator", "the accumulator is ignored", lambda call: golden(call, c=None))
    for detail, order in ORDERS.items():
        yield Hypothesis("accumulator", detail, _with(_reordered(order)))
    for count in PADS:
        words = f"the last K mod {count} elements of K are left out"
        yield Hypothesis("k_tail", words, _with(_kept(lambda k, n=count: k // n * n)))  # type: ignore[misc]
    for count in (1, 2, 4, 8, 16):
        words = f"the last {count} elements of K are left out"
        yield Hypothesis("k_tail", words, _with(_kept(lambda k, n=count: k - n)))  # type: ignore[misc]
    yield Hypothesis("accumulator", "float64, rounded once", _with(_plain(lambda a, b: real(a) @ real(b).T)))
    for detail, wave, how in in_types():
        if "lanes" not in detail and "blocks" not in detail:
            yield Hypothesis("accumulator", detail, _with(_plain(how)), wave)
    for block in (4, 8, 16, 32):
        for bits in range(10, 28):
            yield Hypothesis(
                "accumulator",
                f"a unit with steps of {block} and {bits} fraction bits",
                _with(_changed(lambda u, s=block, f=bits: replace(u, block=s, fraction_bits=f))),  # type: ignore[misc]
                1,
            )
