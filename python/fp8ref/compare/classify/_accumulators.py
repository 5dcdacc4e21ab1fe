# SPDX-License-Identifier: Apache-2.0
"""Other ways to add products up: named accumulators, units with other numbers, float32 and float16 in many orders.

Each is a function of two operands with K last, values in float64 or codes, and gives float32 accumulators (M, N).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from ...golden._operand import Operand, accumulators
from ...golden._round import round_to
from ...golden._tensor_core import chain
from ...golden._units import ACCUMULATORS, RESULTS, TILE, UNITS, Result, Unit
from ._evidence import Array
from ._golden import real

Accumulate = Callable[[Array, Array], Array]
LONGEST = 4096  # elements of K that are added one by one
LANES = (2, 4, 8, 16, 32, 64, 128, 256)  # elements that are added apart
PARTS = (2, 3, 4, 8)  # of split-K
SPLIT_ORDERS = {"the last first": -1}


def plain(a: Array, b: Array) -> Array:
    """Values of E4M3 codes, summed exactly and rounded to float32."""
    return accumulators(Operand.of(a), Operand.of(b), "exact")


def named(name: str, split_k: int = 1) -> Accumulate:
    """A named accumulator."""
    return lambda a, b: accumulators(Operand.of(a), Operand.of(b), name, split_k)


def _terms(a: Array, b: Array) -> Array | None:
    """All products, (K, M, N) in float64, exact."""
    if a.shape[1] > LONGEST or len(a) * len(b) * a.shape[1] > 1 << 22:
        return None
    return np.asarray(real(a).T[:, :, None] * real(b).T[:, None, :])


def _chain_of(terms: Array, name: str) -> Array:
    """The terms added one by one to +0, each sum rounded to a format."""
    total = np.zeros(terms.shape[1:], np.float64)
    for term in terms:
        total = real(round_to(total + term, name))
    return total


def _backward(terms: Array, name: str) -> Array:
    return _chain_of(terms[::-1], name)


def _at_the_end(terms: Array, name: str) -> Array:
    return real(round_to(terms.sum(axis=0), name))


def _tree(parts: Array, name: str) -> Array:
    """Neighbours added in pairs until one is left."""
    while len(parts) > 1:
        odd = parts[len(parts) & ~1 :]
        parts = np.concatenate([real(round_to(parts[0 : len(parts) & ~1 : 2] + parts[1::2], name)), odd])
    return parts[0] if len(parts) else np.zeros(parts.shape[1:])


def _halves(parts: Array, name: str) -> Array:
    """The second half added to the first until one is left, as lanes of a warp do."""
    while len(parts) > 1:
        half = (len(parts) + 1) // 2
        upper = np.zeros_like(parts[:half])
        upper[: len(parts) - half] = parts[half:]
        parts = real(round_to(parts[:half] + upper, name))
    return parts[0] if len(parts) else np.zeros(parts.shape[1:])


def _padded(terms: Array, multiple: int) -> Array:
    pad = -len(terms) % multiple
    return np.concatenate([terms, np.zeros((pad, *terms.shape[1:]))]) if pad or not len(terms) else terms


def _summed(how: Callable[[Array], Array]) -> Accumulate:
    def accumulate(a: Array, b: Array) -> Array:
        if not len(a) or not len(b) or not a.shape[1]:
            return np.zeros((len(a), len(b)), np.float32)
        terms = _terms(a, b)
        return None if terms is None else round_to(how(terms) + 0.0, "float32")  # type: ignore[return-value]

    return accumulate


def _lanes(terms: Array, lanes: int, name: str, finish: Callable[[Array, str], Array]) -> Array:
    """Element k belongs to lane k mod lanes; each lane is a chain, and the lanes are added at the end."""
    steps = _padded(terms, lanes).reshape(-1, lanes, *terms.shape[1:])
    return finish(_chain_of(steps, name), name)


def _blocks(terms: Array, length: int, name: str) -> Array:
    """Exact sums of blocks, each rounded and added to the sum before it."""
    sums = _padded(terms, length).reshape(-1, length, *terms.shape[1:]).sum(axis=1)
    return _chain_of(real(round_to(sums, name)), name)


def _fused_blocks(terms: Array, length: int, name: str) -> Array:
    """Exact sums of blocks and the accumulator, rounded once a block."""
    return _chain_of(_padded(terms, length).reshape(-1, length, *terms.shape[1:]).sum(axis=1), name)


def _runs(terms: Array, length: int, name: str) -> Array:
    """Chains of blocks of neighbours from +0, and a chain of their results."""
    blocks = _padded(terms, length).reshape(-1, length, *terms.shape[1:])
    return _chain_of(_chain_of(np.swapaxes(blocks, 0, 1), name), name)


def blas(a: Array, b: Array) -> Array:
    """float32 sums as numpy's BLAS has them here."""
    with np.errstate(all="ignore"):
        return real(a).astype(np.float32) @ real(b).astype(np.float32).T


def in_types() -> Iterator[tuple[str, int, Accumulate]]:
    """Sums in a floating-point type: detail, wave, function."""
    yield "float32, as numpy's matrix product adds (no tensor core)", 0, blas
    for name in ("float32", "float16", "bfloat16"):
        yield f"{name}, one product after the other", 0, _summed(partial(_chain_of, name=name))
        yield f"{name}, the last product first", 1, _summed(partial(_backward, name=name))
        yield f"{name}, in pairs", 1, _summed(lambda t, n=name: _tree(real(round_to(t, n)), n))  # type: ignore[misc]
        yield (
            f"{name}, one product after the other, each rounded",
            1,
            _summed(lambda t, n=name: _chain_of(real(round_to(t, n)), n)),  # type: ignore[misc]
        )
        yield f"{name} at the end alone", 1, _summed(partial(_at_the_end, name=name))
        for length in LANES:
            for words, how in (
                (f"{name}, exact sums of blocks of {length} added in order", _blocks),
                (f"{name}, blocks of {length} and the accumulator added exactly, rounded once a block", _fused_blocks),
                (f"{name}, a chain for every {length} products, their results in order", _runs),
            ):
                yield words, 1, _summed(lambda t, h=how, s=length, n=name: h(t, s, n))  # type: ignore[misc]
            for finish in (_tree, _halves, _chain_of):
                words = {_tree: "in pairs", _halves: "by halves", _chain_of: "in order"}[finish]
                yield (
                    f"{name}, {length} lanes added {words}",
                    1,
                    _summed(partial(_lanes, lanes=length, name=name, finish=finish)),
                )
        for parts in PARTS:
            yield f"{name}, split-K in {parts} equal parts", 1, _summed(partial(_split, parts=parts, name=name))


def _split(terms: Array, parts: int, name: str) -> Array:
    length = max(-(-len(terms) // parts), 1)
    return _chain_of(np.stack([_chain_of(terms[i : i + length], name) for i in range(0, max(len(terms), 1), length)]),
                     name)  # fmt: skip


def splits() -> Iterator[tuple[str, Accumulate]]:
    """Named accumulators over parts of K that are summed apart, in and against the order of K."""
    for name, parts in itertools.product(ACCUMULATORS, PARTS):
        yield from (
            (f"{name} with split_k={parts}", named(name, parts)),
            (f"{name}, {parts} equal parts of K", _by_parts(name, parts, 1, 1)),
            (f"{name}, {parts} equal parts of K, the last first", _by_parts(name, parts, 1, -1)),
            (f"{name}, {parts} runs of tiles, the last first", _by_parts(name, parts, TILE, -1)),
            (f"{name}, every {parts}th tile of {TILE} in one part", _strided(name, parts)),
        )
    for name in ("exact",):
        for parts in PARTS:
            yield f"{name} sums of {parts} equal parts of K, added in float32", _by_parts(name, parts, 1, 1)
            yield f"{name} sums of {parts} runs of tiles, added in float32", _by_parts(name, parts, TILE, 1)


def _sum(parts: list[Array]) -> Array:
    total = np.zeros_like(parts[0])
    for part in parts:
        total = total + part
    return total


def _by_parts(name: str, parts: int, grain: int, order: int) -> Accumulate:
    def accumulate(a: Array, b: Array) -> Array:
        k = max(a.shape[1], 1)
        grains = (k + grain - 1) // grain
        length = (grains + parts - 1) // parts * grain
        cuts = [slice(start, start + length) for start in range(0, k, length)][::order]
        return _sum([named(name)(a[:, cut], b[:, cut]) for cut in cuts])

    return accumulate


def _strided(name: str, parts: int) -> Accumulate:
    def accumulate(a: Array, b: Array) -> Array:
        tile = np.arange(a.shape[1]) // TILE
        return _sum([named(name)(a[:, tile % parts == p], b[:, tile % parts == p]) for p in range(parts)])

    return accumulate


def backward(name: str) -> Accumulate:
    """A named accumulator that walks over K from its end, by its own steps."""

    def accumulate(a: Array, b: Array) -> Array:
        return named(name)(a[:, ::-1], b[:, ::-1])

    return accumulate


# Units with other numbers: results of a step.
GENERIC: dict[str, Result] = {
    "cut to 14 bits": RESULTS["e8m13"],
    "cut to 24 bits": RESULTS["fp32"],
    "rounded to 24 bits": replace(RESULTS["fp32"], rounding="nearest"),
    "cut to 22 bits": replace(RESULTS["fp32"], bits=22),
    "rounded to float16": RESULTS["fp16"],
}
STEPS = (4, 8, 16, 32, 64, 128)
FRACTIONS = (*range(10, 17), *range(20, 28))


def units() -> Iterator[tuple[str, Accumulate]]:
    """Tensor cores of any step length, fraction bits and result, and promotion at any interval."""
    base = UNITS["sm90_wgmma", "fp8", "float32"]
    for block, bits, (words, result) in itertools.product(STEPS, FRACTIONS, GENERIC.items()):
        if (result.bits in (14, 11) and bits > 16) or (result.bits == 22 and bits < 20):
            continue
        unit = replace(base, block=block, fraction_bits=bits, result=result)
        yield f"a unit with steps of {block}, {bits} fraction bits, {words}", _of(unit, None)
    for unit_name, interval in itertools.product(
        ("sm90_wgmma", "sm89_mma"), (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024)
    ):
        unit = UNITS[unit_name, "fp8", "float32"]
        yield f"{unit_name} promoted every {interval} of K", _of(unit, interval)
        yield f"{unit_name} promoted every {interval} of K, added in float16", _of(unit, interval, "float16")
    for unit_name in ("sm89_mma", "sm90_wgmma", "sm100_tcgen05"):
        yield f"{unit_name} with a float16 accumulator", _of(UNITS[unit_name, "fp8", "float16"], None)


def _of(unit: Unit, interval: int | None, added: str = "float32") -> Accumulate:
    def accumulate(a: Array, b: Array) -> Array:
        k = a.shape[1]
        step = interval or max(k, 1)
        parts = [chain(unit, a[:, s : s + step], b[:, s : s + step]) for s in range(0, max(k, 1), step)]
        if interval is None:
            return parts[0].astype(np.float32)
        return _chain_of(real(np.stack(parts)), added).astype(np.float32)

    return accumulate
