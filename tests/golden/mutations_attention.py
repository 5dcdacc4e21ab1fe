# SPDX-License-Identifier: Apache-2.0
"""The witness's attention by a tensor core with one mistake: each changes what its name says, for a test's time."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import mpmath
from pytest import MonkeyPatch

from golden.mutations import mutation
from inputs.mma import MODES
from witness import attention, mma
from witness.arithmetic import add, multiply, via_fp32
from witness.formats import BF16, FP32, INFINITY, decode, dyadic, encode, exact


def by_mode(change: Callable[[MonkeyPatch], None]) -> Callable[[MonkeyPatch], None]:
    """Register a mutation that shows with a mode alone."""
    change.modes = MODES  # type: ignore[attr-defined]
    return mutation("attention")(change)


@by_mode
def blocks_of_64_keys(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "BLOCK", 64)


@by_mode
def one_chain_over_all_keys(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "BLOCK", 1 << 30)
    patch.setattr(attention, "SUPERBLOCK", 1 << 30)


@by_mode
def no_superblocks(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "SUPERBLOCK", 1 << 30)


@by_mode
def superblocks_of_one_block_less(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "SUPERBLOCK", 2048 - 128)


@by_mode
def superblocks_of_one_block_more(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "SUPERBLOCK", 2048 + 128)


@by_mode
def superblocks_of_one_key_less(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "SUPERBLOCK", 2047)


@by_mode
def blocks_merge_backward(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "range", lambda *bounds: range(*bounds)[::-1], raising=False)


@by_mode
def largest_t_is_not_made_an_integer(patch: MonkeyPatch) -> None:
    def weight(t: Fraction, top: Fraction) -> int:
        with mpmath.workprec(200):
            relative = mpmath.mpf((t - top).numerator) / (t - top).denominator
            return encode(BF16, exact(mpmath.power(2, relative))) if relative > -200 else 0

    def merge(first: Any, second: Any) -> Any:
        if first is None or second is None:
            return second if first is None else first
        return first if first[0] > second[0] else second

    patch.setattr(attention, "block_top", max)
    patch.setattr(attention, "unit_weight", weight)
    patch.setattr(attention, "merge", merge)  # a case of one block shows it


@by_mode
def weights_are_rounded_once(patch: MonkeyPatch) -> None:
    def weight(t: Fraction, top: int) -> int:
        if t - top < -200:
            return 0
        with mpmath.workprec(200):
            return encode(BF16, exact(mpmath.power(2, mpmath.mpf((t - top).numerator) / (t - top).denominator)))

    patch.setattr(attention, "unit_weight", weight)


@by_mode
def subnormal_weights_are_flushed(patch: MonkeyPatch) -> None:
    right = attention.unit_weight
    patch.setattr(attention, "unit_weight", lambda t, top: bits if (bits := right(t, top)) >= 0x80 else 0)


@by_mode
def weights_are_cut(patch: MonkeyPatch) -> None:
    def weight(t: Fraction, top: int) -> int:
        m, exponent = attention.weight(t)
        return encode(BF16, dyadic(m, exponent - top), toward_zero=True) if exponent - top > -200 else 0

    patch.setattr(attention, "unit_weight", weight)


@by_mode
def factors_are_kept_down_to_the_last_subnormal(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "merge", partial(_merge, lowest=149))


@by_mode
def factors_end_one_early(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "merge", partial(_merge, lowest=125))


@by_mode
def products_of_a_merge_are_flushed(patch: MonkeyPatch) -> None:
    def flushed(x: Any) -> Any:
        y = via_fp32(x)
        return Fraction(0) if abs(y) < Fraction(1, 2**126) else y

    patch.setattr(attention, "merge", partial(_merge, product=flushed))


def _merge(first: Any, second: Any, lowest: int = 126, product: Callable[[Any], Any] = via_fp32) -> Any:
    if first is None or second is None:
        return second if first is None else first
    top = max(first[0], second[0])
    factors = [dyadic(1, own - top) if top - own <= lowest else Fraction(0) for own, _ in (first, second)]
    pairs = zip(first[1], second[1], strict=True)
    return top, [
        via_fp32(add(*(product(multiply(f, x)) for f, x in zip(factors, pair, strict=True)))) for pair in pairs
    ]


@by_mode
def accumulator_is_added_after_the_cut(patch: MonkeyPatch) -> None:
    patch.setattr(mma, "step", partial(mma.step, late_c=True))


@by_mode
def steps_of_ampere_and_hopper_are_swapped(patch: MonkeyPatch) -> None:
    patch.setitem(mma.CORES, "sm90_wgmma", mma.SM80)
    patch.setitem(mma.CORES, "sm89_mma", mma.SM90)


@by_mode
def values_of_no_terms_leak(patch: MonkeyPatch) -> None:
    right = attention.unit_sums

    def block(unit: str, logits: Any, values: Any, head_dim: int) -> Any:
        terms = [Fraction(t) for t in logits if t != -INFINITY]
        if not terms:
            return None
        top = attention.block_top(terms)
        weights = [0 if t == -INFINITY else attention.unit_weight(Fraction(t), top) for t in logits]
        return top, right(unit, weights, values, head_dim)

    patch.setattr(attention, "unit_block", block)


@by_mode
def the_denominator_is_exact(patch: MonkeyPatch) -> None:
    right = attention.unit_sums

    def sums(unit: str, weights: Any, values: Any, head_dim: int) -> Any:
        total = sum((Fraction(decode(BF16, w)) for w in weights), Fraction(0))
        return [*right(unit, weights, values, head_dim)[:-1], decode(FP32, encode(FP32, total))]

    patch.setattr(attention, "unit_sums", sums)


@by_mode
def blocks_are_counted_from_the_first_term(patch: MonkeyPatch) -> None:
    right = attention.unit_blocks

    def blocks(unit: str, logits: Any, values: Any, head_dim: int) -> Any:
        first = next((i for i, t in enumerate(logits) if t != -INFINITY), 0)
        return right(unit, logits[first:], values[first:], head_dim)

    patch.setattr(attention, "unit_blocks", blocks)


@by_mode
def scores_are_exact(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "unit_score", lambda unit, q, k: via_fp32(attention.dot(BF16, q, BF16, k)))
