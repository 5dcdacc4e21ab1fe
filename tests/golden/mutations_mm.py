# SPDX-License-Identifier: Apache-2.0
"""Mistakes in the witness of block scales, epilogue orders, E4M3 output and the grouped product."""

from __future__ import annotations

from typing import Any

from pytest import MonkeyPatch

from golden.mutations import mutation
from witness import formats, grouped_mm, scaled_mm
from witness.arithmetic import add, multiply, via_fp32
from witness.formats import encode


@mutation("scaled_mm")
def scales_are_swapped(patch: MonkeyPatch) -> None:
    right = scaled_mm.scaled
    other = {"a_b": "b_a", "b_a": "a_b", "ab": "ab"}
    patch.setattr(scaled_mm, "scaled", lambda acc, a, b, bias, order: right(acc, a, b, bias, other[order]))


@mutation("scaled_mm")
def bias_is_not_fused(patch: MonkeyPatch) -> None:
    right = scaled_mm.scaled

    def twice(acc: Any, a_scale: Any, b_scale: Any, bias: Any, order: str) -> Any:
        y = right(acc, a_scale, b_scale, None, order)
        return y if bias is None else via_fp32(add(y, bias))

    patch.setattr(scaled_mm, "scaled", twice)


@mutation("scaled_mm")
def block_products_are_rounded(patch: MonkeyPatch) -> None:
    right = scaled_mm.total
    patch.setattr(scaled_mm, "total", lambda terms: right(via_fp32(term) for term in terms))


@mutation("scaled_mm")
def blocks_have_64_elements_of_n(patch: MonkeyPatch) -> None:
    right = scaled_mm.block_scaled_mm

    def half(a: Any, b: Any, a_scales: Any, b_scales: Any, *rest: Any, **types: Any) -> Any:
        if len(b_scales) not in (len(b), 1):
            b_scales = [b_scales[min(n // 64, len(b_scales) - 1)] for n in range(len(b))]
        return right(a, b, a_scales, b_scales, *rest, **types)

    patch.setattr(scaled_mm, "block_scaled_mm", half)


@mutation("scaled_mm")
def deepgemm_scales_like_triton(patch: MonkeyPatch) -> None:
    right = scaled_mm.block_sum

    def other(*arguments: Any, **types: Any) -> Any:
        return right(*arguments[:-1], "triton" if arguments[-1] == "deepgemm" else arguments[-1], **types)

    patch.setattr(scaled_mm, "block_sum", other)


@mutation("scaled_mm")
def e4m3_is_rounded_once(patch: MonkeyPatch) -> None:
    def once(z: Any, out: formats.Format, out_scale: Any = None, overflow: str = "infinity") -> int:
        return encode(out, z if out_scale is None else multiply(z, out_scale), overflow)

    patch.setattr(scaled_mm, "output", once)


@mutation("scaled_mm")
def overflow_policies_are_swapped(patch: MonkeyPatch) -> None:
    right = scaled_mm.output
    other = {"saturate": "nan", "nan": "saturate"}

    def swapped(z: Any, out: formats.Format, out_scale: Any = None, overflow: str = "infinity") -> int:
        return right(z, out, out_scale, other.get(overflow, overflow))

    patch.setattr(scaled_mm, "output", swapped)


@mutation("grouped_mm")
def groups_include_their_end(patch: MonkeyPatch) -> None:
    def owner(row: int, offsets: Any) -> int | None:
        owners = [e for e in range(len(offsets) - 1) if offsets[e] <= row <= offsets[e + 1]]
        return owners[0] if owners else None

    patch.setattr(grouped_mm, "owner", owner)


@mutation("grouped_mm")
def rows_before_the_first_group_belong_to_it(patch: MonkeyPatch) -> None:
    right = grouped_mm.owner
    patch.setattr(grouped_mm, "owner", lambda row, offsets: right(row, [0, *offsets[1:]]))
