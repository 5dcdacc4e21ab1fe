# SPDX-License-Identifier: Apache-2.0
"""From answers to parameters: one finding for each, with the probe that showed it. [FINGERPRINT-INFER]"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from . import _probes
from ._arithmetic import TILE, Arithmetic
from ._probes import TILES, Cut, Level, Setting
from ._subject import Subject

FLOATS = {24: "fp32", 11: "fp16", 8: "bf16"}  # by significant bits


@dataclass(frozen=True)
class Finding:
    """A parameter, its value in words, and what showed it."""

    parameter: str
    value: str
    evidence: str


@dataclass(frozen=True)
class Tree:
    """What the counts of the tree say: the first step's places, and a place of a later step."""

    kind: str  # "nothing_lost", "chain", "sequential" or "other"
    lost: NDArray[np.int64]  # by the place of the second large product; 0 for the first place

    @property
    def places(self) -> list[int]:
        """0 and the places of its step, or (of sums of two) the place that it meets first."""
        return list(map(int, np.flatnonzero(self.lost <= self.lost[1:].min())))

    @property
    def order(self) -> list[int]:
        """All places, those that meet the first earlier first."""
        return list(map(int, np.argsort(self.lost, kind="stable")))


class Inference:
    """The findings so far, and the arithmetic that they make."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.findings: list[Finding] = []
        self.arithmetic: Arithmetic | None = None
        self.tree: Tree | None = None
        self._float: str | None = None

    def float_kind(self) -> str | None:
        """fp32, fp16 or bf16 if two numbers are added as in that format, one rounding to nearest each."""
        return self._float

    def found(self, parameter: str, value: str, evidence: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(parameter, value, evidence))

    def run(self) -> None:
        """Ask everything about the sums."""
        used = _probes.subnormal_operands(self.subject)
        self.found("subnormal operands", used, "2^-9 * 256, 3 * 2^-9 * 1 and 2^-9 * 2^-9 alone")
        level = _probes.level_of(self.subject)
        if used != "used" or level is None:
            self.found("sum", "no sum of products", "large products and their negatives do not leave 0")
            return
        self.found("range of sums", level.range, f"2 * {level.large:g} - 2 * {level.large:g} is 0")
        lost = _probes.lost_with_first(self.subject, level.large)
        if lost is None:
            self.found("sum", "too few bits", "counts of equal small products come back as fractions")
            return
        self.tree = _tree(np.concatenate([[0], lost]))
        if self.tree.kind == "nothing_lost":
            self._exact()
        elif self.tree.kind == "other":
            self._other(level)
        else:
            self._chain(level)

    def _exact(self) -> None:
        self.arithmetic = Arithmetic()
        evidence = f"{_probes.SMALL:g} survives between 65536 and -65536, wherever they are"
        wide = _probes.wide_range(self.subject)
        if wide is None:
            beyond = "float64 gives the same up to K = 171,196, and E5M2 is not supported"
            self.found("sum", "exact", f"{evidence}; {beyond}")
        elif wide:
            self.found("sum", "exact", f"{evidence}; with E5M2 2^-32 survives beside 2^30")
        else:
            self.found("sum", "float64", f"{evidence}; with E5M2 2^-32 is lost beside 2^30")

    def _other(self, level: Level) -> None:
        """Sums whose order is none of a chain of steps: only how two numbers are added is measured."""
        assert self.tree is not None
        sizes = Counter(self.tree.lost[1:].tolist())
        self.found("order", "other", f"with product 0, {len(sizes)} different numbers of products are lost")
        self._added(level, (0, self.tree.order[1], self.tree.order[-1]))

    def _added(self, level: Level, places: tuple[int, int, int]) -> Cut:
        """The addition of two numbers, at three places the first two of which meet first."""
        first, second, last = places
        setting = Setting(1.5 * level.large, (first,), second, (last,))
        cut = _probes.cut_of(self.subject, setting)
        if cut.unit is not None and cut.rounding == "nearest_even":
            self._float = FLOATS.get(int(np.log2(level.large / cut.unit)) + 1)
            self.found("FMA", "not visible", "products of E4M3 numbers have 8 bits: they are exact with it and without")
        what = f"{setting.large:g} at k = {first}, small products at {second}, {-setting.large:g} at {last}"
        self._result(cut, int(np.log2(level.large)), what)
        return cut

    def _result(self, cut: Cut, top: int, evidence: str) -> None:
        if cut.unit is None:
            self.found("result of a step", "all bits kept", f"{evidence}: 2^-18 survives")
            return
        bits = top - int(np.log2(cut.unit)) + 1
        kept = f"{evidence}: the smallest that survives is {cut.unit:g}"
        self.found("result of a step", f"{bits} bits, {cut.rounding or 'no known rounding'}", kept)

    def _chain(self, level: Level) -> None:
        assert self.tree is not None
        self._block(level)
        self._steps(level)
        self._chains(level)

    def _block(self, level: Level) -> None:
        """L, and the order of k."""
        assert self.tree is not None
        block = 1 if self.tree.kind == "sequential" else len(self.tree.places)
        shown = f"{level.large:g} at k = 0 and its negative at k = j lose the products that meet them"
        if block == _probes.K:
            self.found("block length", f"{_probes.K} or more", f"{shown}: all, for every j")
        else:
            self.found("block length", str(block), f"{shown}: {self.tree.lost[1:].min()} for the nearest j")
        self.arithmetic = Arithmetic(block=block)
        order = self.tree.order
        if order != sorted(order):
            closed = (n for n in range(block, _probes.K, block) if sorted(order[:n]) == list(range(n)))
            period = next(closed, _probes.K)
            self.arithmetic = replace(self.arithmetic, order=tuple(order[:period]))
            first = ", ".join(map(str, order[:block]))
            self.found("order", f"of each {period}: {first} first", f"{shown}: fewest for these j")
        else:
            self.found("order", "of k", f"{shown}: more, the larger j")

    def _steps(self, level: Level) -> None:
        """F, the rounding of terms, and the step's result."""
        assert self.tree is not None and self.arithmetic is not None and self.arithmetic.block is not None
        order, block, top = self.tree.order, self.arithmetic.block, int(np.log2(level.large))
        if block == 1:
            cut = self._added(level, (0, 1, 2))
            self._keep_result(cut, top)
            return
        terms = Cut(None)
        if block > 2:
            terms = _probes.cut_of(self.subject, Setting(level.large, (order[0],), order[2], (order[1],), "beside"))
        evidence = f"{level.large:g}, its negative and small products in one step"
        if terms.unit is None:
            self.found("fraction bits", "all" if block > 2 else "not visible", evidence)
        else:
            bits = top - int(np.log2(terms.unit))
            self.arithmetic = replace(self.arithmetic, fraction_bits=bits, terms=terms.rounding or "toward_zero")
            self.found("fraction bits", str(bits), f"{evidence}: the smallest that survives is {terms.unit:g}")
            self.found("cut of terms", terms.rounding or "no known rounding", f"{evidence}: quarters of the last bit")
            self.found("floor of E", f"{bits - 18} or less", "2^-18 alone in a step survives")
            products = _probes.products_of(self.subject, bits, order)
            self.arithmetic = replace(self.arithmetic, products=products)
            shown = "96 * 96, its negative, and 2^(12 - F), which 2^13 would cut"
            self.found("exponent of products", products, shown)
        copies = 1 << ((block - 1).bit_length() - 1)
        later = tuple(order[block : block + copies])
        if len(later) < copies:
            return
        setting = Setting(level.large, tuple(order[:copies]), order[copies], later)
        result = _probes.cut_of(self.subject, setting, before=terms)
        lead = top + copies.bit_length() - 1
        self._result(result, lead, f"{copies} times {level.large:g} and small products in one step")
        self._keep_result(result, lead)

    def _keep_result(self, cut: Cut, top: int) -> None:
        assert self.arithmetic is not None
        if cut.unit is not None:
            bits = top - int(np.log2(cut.unit)) + 1
            self.arithmetic = replace(
                self.arithmetic,
                result_bits=bits,
                result=cut.rounding or "toward_zero",
                emin=-14 if top < 16 else -126,
            )

    def _chains(self, level: Level) -> None:
        """Where chains begin anew: promotion, and split-K."""
        assert self.arithmetic is not None
        longest = max(TILES) * TILE
        starts = set(_probes.chain_starts(self.subject, level.large, longest, range(0, longest, _probes.GRAIN)))
        steps = {b - a for a, b in zip(sorted(starts), sorted(starts)[1:], strict=False)}
        shown = f"K = {longest}: what a large product and its negative lose of the products before them"
        by_tiles = {
            tiles: set(_probes.chain_starts(self.subject, level.large, tiles * TILE, range(0, tiles * TILE, TILE)))
            for tiles in TILES
        }
        splits = [s for s in TILES if all(found == _starts(tiles, s) for tiles, found in by_tiles.items())]
        if len(starts) == 1:
            self.found("promotion", "none", f"{shown}: all of them")
            self.found("split-K", "none", f"{shown}: all of them")
        elif splits and splits[0] < max(TILES):
            self.arithmetic = replace(self.arithmetic, split_k=splits[0])
            self.found("promotion", "none", f"{shown}: chains begin at {_listed(starts)}")
            self._split(splits[0])
            self._sum_of_chains(level, TILE * -(-max(TILES) // splits[0]), longest)
        elif len(steps) == 1 or (len(steps) > 1 and min(steps) == min(starts - {0})):
            self.arithmetic = replace(self.arithmetic, interval=min(steps))
            self.found("promotion", f"every {min(steps)}", f"{shown}: chains begin at {_listed(starts)}")
            self._runs(level, min(steps))
        else:
            self.found("promotion", "irregular", f"{shown}: chains begin at {_listed(starts)}")

    def _runs(self, level: Level, interval: int) -> None:
        """Whether the sum of chains is split as well."""
        assert self.arithmetic is not None
        self._sum_of_chains(level, interval, -(-3 * interval // TILE) * TILE)
        if interval > TILE:
            return
        found = {tiles: set(_probes.run_starts(self.subject, level.large, interval, tiles * TILE)) for tiles in TILES}
        each = TILE // interval
        fits = [s for s in (1, *TILES) if all(runs == _visible(tiles, s, each) for tiles, runs in found.items())]
        if fits and fits[0] > 1:
            self.arithmetic = replace(self.arithmetic, split_k=fits[0])
            self._split(fits[0])
        elif fits:
            self.found("split-K", "none", "sums of chains: each is added to all before it")
        else:
            self.found("split-K", "irregular", f"sums of chains begin at {found}")

    def _split(self, parts: int) -> None:
        self.found("split-K", str(parts), f"where sums begin at K = {min(TILES) * TILE} to {max(TILES) * TILE}")

    def _sum_of_chains(self, level: Level, interval: int, k: int) -> None:
        if 2 * interval >= k:
            return
        cut = _probes.added_in(self.subject, level.large, interval, k)
        if cut.unit is None:
            self.found("sums of chains", "all bits kept", "2^-18 survives")
            return
        bits = int(np.log2(level.large)) - int(np.log2(cut.unit)) + 1
        shown = f"large at k = 0, small at {interval}, negative at {2 * interval}: {cut.unit:g} survives"
        self.found("sums of chains", f"{bits} bits, {cut.rounding or 'no known rounding'}", shown)


def _listed(starts: set[int]) -> str:
    found = sorted(starts)
    return ", ".join(map(str, found[:6])) + (", ..." if len(found) > 6 else "")


def _starts(tiles: int, parts: int) -> set[int]:
    each = -(-tiles // parts)
    return set(range(0, tiles * TILE, each * TILE))


def _visible(tiles: int, parts: int, each: int) -> set[int]:
    """Where runs begin as ``run_starts`` sees it: neighbouring chains of two runs meet when all before is lost."""
    chains = tiles * each
    run = -(-tiles // parts) * each
    return {(x // run) * run if (x + 1) % run else 0 for x in range(chains - 1)}


def _tree(lost: NDArray[np.int64]) -> Tree:
    """What kind of sum the counts are of."""
    others = lost[1:]
    if (others == 2).all():
        return Tree("nothing_lost", lost)
    if (others == np.arange(2, len(lost) + 1)).all():
        return Tree("sequential", lost)
    values, sizes = np.unique(others, return_counts=True)
    block = int(sizes[0]) + 1
    steps = sizes[1:]
    regular = values[0] in (2, block) and not (steps % block).any()
    if block == 2:  # pairs one after the other, and not a tree of pairs, whose classes double
        regular = regular and bool((steps == 2).all())
    elif len(steps):
        regular = regular and steps[0] in (block, len(lost) - block)
    return Tree("chain" if regular else "other", lost)
