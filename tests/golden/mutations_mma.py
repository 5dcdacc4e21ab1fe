# SPDX-License-Identifier: Apache-2.0
"""The witness's tensor cores with one mistake: each changes what its name says, for the time of a test."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from pytest import MonkeyPatch

from golden.mutations import mutation
from witness import mma
from witness.formats import FP32, Format, encode


def _change(patch: MonkeyPatch, name: str, **change: Any) -> None:
    """A unit's cores with other numbers, where they have those at all."""
    cores = {kind: replace(core, **change) for kind, core in mma.CORES[name].items()}
    patch.setitem(mma.CORES, name, cores)


@mutation("scaled_mm")
@mutation("mma")
def accumulator_is_added_after_the_cut(patch: MonkeyPatch) -> None:
    patch.setattr(mma, "step", partial(mma.step, late_c=True))


@mutation("scaled_mm")
@mutation("mma")
def results_are_rounded_to_nearest(patch: MonkeyPatch) -> None:
    patch.setattr(mma, "encode", lambda fmt, value, toward_zero=False: encode(fmt, value))


@mutation("scaled_mm")
@mutation("mma")
def products_are_cut_downward(patch: MonkeyPatch) -> None:
    patch.setattr(mma, "cut", lambda sig, shift: sig << shift if shift >= 0 else sig >> -shift)


@mutation("scaled_mm")
@mutation("mma")
def subnormal_operands_are_normalised(patch: MonkeyPatch) -> None:
    parts = mma.parts

    def normalised(fmt: Format, bits: int) -> tuple[int, int]:
        significand, exponent = parts(fmt, bits)
        while significand and abs(significand) < 1 << fmt.mantissa_bits:
            significand, exponent = 2 * significand, exponent - 1
        return significand, exponent

    patch.setattr(mma, "parts", normalised)


@mutation("scaled_mm")
@mutation("mma")
def hopper_keeps_13_bits(patch: MonkeyPatch) -> None:
    _change(patch, "sm90_wgmma", result_bits=12)


@mutation("scaled_mm")
@mutation("mma")
def ada_takes_32_products_at_once(patch: MonkeyPatch) -> None:
    _change(patch, "sm89_mma", length=32)


@mutation("scaled_mm")
@mutation("mma")
def blackwell_has_24_fraction_bits(patch: MonkeyPatch) -> None:
    _change(patch, "sm100_tcgen05", fraction_bits=24)


@mutation("mma")
def ampere_has_the_fraction_bits_of_hopper(patch: MonkeyPatch) -> None:
    _change(patch, "sm80_mma", fraction_bits=25)


@mutation("mma")
def exponents_have_no_floor(patch: MonkeyPatch) -> None:
    _change(patch, "sm90_wgmma", floor=-1000)


@mutation("mma")
def infinities_are_forgotten(patch: MonkeyPatch) -> None:
    patch.setattr(mma, "_outside", lambda *operands: None)


@mutation("scaled_mm")
def partial_sums_are_added_backward(patch: MonkeyPatch) -> None:
    right = mma._sum32
    patch.setattr(mma, "_sum32", lambda patterns: right(patterns[::-1]))


@mutation("scaled_mm")
@mutation("mma")
def rewrite_takes_halves(patch: MonkeyPatch) -> None:
    """The low sixteen first, then the high ones: what a native unit of two steps would do."""

    def halves(core: mma.Core, a: Any, a_fmt: Format, b: Any, b_fmt: Format, c: int) -> int:
        order = [k for k in range(32) if k % 4 < 2], [k for k in range(32) if k % 4 > 1]
        place = {k: n for n, k in enumerate((*order[0], *order[1]))}
        turned = [[side[place[k]] if place[k] < len(side) else 0 for k in range(32)] for side in (a, b)]
        return right(core, turned[0], a_fmt, turned[1], b_fmt, c)

    right = mma._rewritten
    patch.setattr(mma, "_rewritten", halves)


@mutation("mma")
def rewrite_begins_with_c(patch: MonkeyPatch) -> None:
    right = mma._rewritten

    def early(core: mma.Core, a: Any, a_fmt: Format, b: Any, b_fmt: Format, c: int) -> int:
        return (
            mma.step(core, a, a_fmt, b, b_fmt, c)
            if c & FP32.infinity != FP32.infinity
            else right(core, a, a_fmt, b, b_fmt, c)
        )

    patch.setattr(mma, "_rewritten", early)
