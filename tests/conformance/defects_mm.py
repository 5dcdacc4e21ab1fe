# SPDX-License-Identifier: Apache-2.0
"""Wrong implementations of block scales, epilogue orders, E4M3 output and the grouped product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fp8ref
from conformance.defects import DEFECTS, FP8, Array, Defect, are_e4m3, codes_with, defect, f32, f64
from fp8ref.golden._round import round_to

BLOCK = 128
ORDERS = ("a_b", "b_a", "ab")
BLOCK_ORDERS = ("deepgemm", "triton", "triton_ba")


def _shape(scale: Array) -> tuple[int, ...]:
    return np.asarray(scale).shape


def _is_blocked(arguments: dict[str, Any]) -> bool:
    rows = ((), (1,), (1, 1), (len(arguments["a"]), 1))
    return arguments.get("epilogue") in BLOCK_ORDERS or _shape(arguments["a_scale"]) not in rows


def _answer(arguments: dict[str, Any]) -> Array:
    """Golden's result, or its refusal, which a defect shares."""
    return fp8ref.scaled_mm(**arguments)


def _with_order(change: dict[str, str]) -> Callable[..., Array]:
    """scaled_mm that takes one epilogue for another."""

    def wrong(**arguments: Any) -> Array:
        _answer(arguments)
        order = arguments.get("epilogue", "a_b")
        return fp8ref.scaled_mm(**{**arguments, "epilogue": change.get(order, order)})

    return wrong


for _name, _change in (
    ("scales_swapped_below_64_rows", {"a_b": "b_a", "b_a": "a_b"}),
    ("alpha_multiplied_in_two_steps", {"ab": "a_b"}),
    ("triton_blocks_in_the_order_of_deepgemm", {"triton": "deepgemm"}),
    ("deepgemm_blocks_in_the_order_of_triton", {"deepgemm": "triton"}),
    ("triton_never_swaps", {"triton_ba": "triton"}),
):
    DEFECTS.append(Defect("scaled_mm", "scaled_mm", _name, _with_order(_change)))


@defect("scaled_mm")
def bias_of_block_sums_not_fused(**arguments: Any) -> Array:
    right, bias = _answer(arguments), arguments.get("bias")
    if bias is None or not _is_blocked(arguments) or arguments.get("out_dtype") == FP8.name:
        return right
    y = fp8ref.scaled_mm(**{**arguments, "bias": None, "out_dtype": "float32"})
    with np.errstate(all="ignore"):
        return round_to(y + f32(bias), arguments.get("out_dtype", "bfloat16"))


@defect("scaled_mm")
def short_last_block_dropped(**arguments: Any) -> Array:
    right = _answer(arguments)
    k = arguments["a"].shape[1] // BLOCK * BLOCK
    if not _is_blocked(arguments) or _shape(arguments["a_scale"])[1] * BLOCK == k:
        return right
    cut = {name: arguments[name][:, :k] for name in ("a", "b")}
    cut |= {name: arguments[name][:, : k // BLOCK] for name in ("a_scale", "b_scale")}
    if k == BLOCK and arguments.get("epilogue", "a_b") in ORDERS:
        return right
    return fp8ref.scaled_mm(**{**arguments, **cut})


@defect("scaled_mm")
def block_of_b_by_column(**arguments: Any) -> Array:
    """Column n takes block min(n, last) of the scales, not block n // 128."""
    right, b_scale = _answer(arguments), np.asarray(arguments["b_scale"])
    n = len(arguments["b"])
    if not _is_blocked(arguments) or len(b_scale) in (0, n):
        return right
    return fp8ref.scaled_mm(**{**arguments, "b_scale": b_scale[np.minimum(np.arange(n), len(b_scale) - 1)]})


@defect("scaled_mm")
def blocks_rounded_one_by_one(**arguments: Any) -> Array:
    """The block sums added in float32, where the exact sum is asked for."""
    right = _answer(arguments)
    if not _is_blocked(arguments) or arguments.get("epilogue", "a_b") not in ORDERS:
        return right
    return fp8ref.scaled_mm(**{**arguments, "epilogue": "deepgemm"})


@defect("scaled_mm")
def block_sums_in_float64(**arguments: Any) -> Array:
    """A float64 sum of scaled blocks, rounded twice."""
    right = _answer(arguments)
    if not _is_blocked(arguments) or arguments.get("epilogue", "a_b") not in ORDERS:
        return right
    if arguments.get("bias") is not None or arguments.get("out_dtype") == FP8.name or not are_e4m3(arguments):
        return right
    k, n = arguments["a"].shape[1], len(arguments["b"])
    b_scale = f64(arguments["b_scale"])
    b_scale = b_scale if len(b_scale) == n else np.repeat(b_scale, BLOCK, axis=0)[:n]
    with np.errstate(all="ignore"):
        x = f64(fp8ref.decode(arguments["a"])) * np.repeat(f64(arguments["a_scale"]), BLOCK, axis=1)[:, :k]
        y = f64(fp8ref.decode(arguments["b"])) * np.repeat(b_scale, BLOCK, axis=1)[:, :k]
        return round_to(f32(np.einsum("mk,nk->mn", x, y) + 0.0), arguments.get("out_dtype", "bfloat16"))


# ---- E4M3 output -----------------------------------------------------------------------------------------------------
def _e4m3_from(change: Callable[[Array, Array, str], Array]) -> Callable[..., Array]:
    """scaled_mm with another way from the float32 result to E4M3: ``change(z, out_scale, overflow)``."""

    def wrong(**arguments: Any) -> Array:
        right = _answer(arguments)
        if arguments.get("out_dtype") != FP8.name:
            return right
        wide = {**arguments, "out_dtype": "float32", "out_scale": None, "overflow": None}
        with np.errstate(all="ignore"):
            return change(fp8ref.scaled_mm(**wide), f32(arguments["out_scale"]), arguments["overflow"])

    return wrong


def _through_bfloat16(z: Array, scale: Array, overflow: str) -> Array:
    return fp8ref.encode(f32(round_to(z, "bfloat16")) * scale, overflow)


for _name, _encode in (
    ("e4m3_rounded_through_bfloat16", _through_bfloat16),
    ("e4m3_product_not_rounded_to_float32", lambda z, s, o: fp8ref.encode(f64(z) * f64(s), o)),
    ("out_scale_divides", lambda z, s, o: fp8ref.encode(z / s, o)),
    ("out_scale_forgotten", lambda z, s, o: fp8ref.encode(z, o)),
    ("overflow_always_saturates", lambda z, s, o: fp8ref.encode(z * s, "saturate")),
    ("overflow_always_nan", lambda z, s, o: fp8ref.encode(z * s, "nan")),
    ("e4m3_negative_zero_lost", lambda z, s, o: codes_with(fp8ref.encode(z * s, o), lambda c: c * (c != 0x80))),
):
    DEFECTS.append(Defect("scaled_mm", "scaled_mm", _name, _e4m3_from(_encode)))


# ---- grouped_mm ------------------------------------------------------------------------------------------------------
def _regrouped(change: Callable[[Array, int], Array]) -> Callable[..., Array]:
    """grouped_mm that groups its rows by other offsets, where those are valid."""

    def wrong(**arguments: Any) -> Array:
        out = arguments.pop("out", None)
        offsets, rows = np.array(arguments["offsets"]), len(arguments["a"])
        right = fp8ref.grouped_mm(**arguments, out=None if out is None else out.copy())
        other = np.clip(change(offsets, rows), 0, rows).astype(offsets.dtype)
        if (np.diff(other) < 0).any():
            return right
        return fp8ref.grouped_mm(**{**arguments, "offsets": other, "out": out})

    return wrong


for _name, _offsets in (
    ("groups_begin_a_row_late", lambda offsets, rows: offsets + 1),
    ("inner_boundaries_a_row_early", lambda offsets, rows: np.r_[offsets[:1], offsets[1:-1] - 1, offsets[-1:]]),
    ("first_group_begins_at_row_0", lambda offsets, rows: np.r_[0, offsets[1:]]),
    ("last_group_ends_with_a", lambda offsets, rows: np.r_[offsets[:-1], rows]),
):
    DEFECTS.append(Defect("grouped_mm", "grouped_mm", _name, _regrouped(_offsets)))


def _spoiled(change: Callable[[Array, Array, dict[str, Any]], None]) -> Callable[..., Array]:
    """grouped_mm whose result is changed in place: ``change(result, rows of no group, arguments)``."""

    def wrong(**arguments: Any) -> Array:
        result = fp8ref.grouped_mm(**arguments)
        rows, offsets = np.arange(len(result)), arguments["offsets"]
        change(result, (rows < offsets[0]) | (rows >= offsets[-1]), arguments)
        return result

    return wrong


def _garbage(result: Array, free: Array, arguments: dict[str, Any]) -> None:
    if arguments.get("out") is None:
        result[free] = 7


def _zeroed(result: Array, free: Array, arguments: dict[str, Any]) -> None:
    result[free] = 0


DEFECTS.append(Defect("grouped_mm", "grouped_mm", "rows_of_no_group_hold_garbage", _spoiled(_garbage)))
DEFECTS.append(Defect("grouped_mm", "grouped_mm", "rows_of_no_group_are_cleared_in_out", _spoiled(_zeroed)))


@defect("grouped_mm")
def empty_group_takes_the_next_expert(**arguments: Any) -> Array:
    """The weight advances with each group that has rows, so an empty one shifts all that follow."""
    result = fp8ref.grouped_mm(**arguments)
    sizes = np.diff(arguments["offsets"])
    order = np.argsort(sizes == 0, kind="stable")  # the experts with rows, then the others
    shifted = np.r_[arguments["offsets"][:1], arguments["offsets"][0] + np.cumsum(sizes[order])]
    return result if not len(sizes) else fp8ref.grouped_mm(**{**arguments, "offsets": shifted})


@defect("grouped_mm")
def empty_group_ends_the_loop(**arguments: Any) -> Array:
    """The groups after the first empty one are never computed."""
    out = arguments.pop("out", None)
    right = fp8ref.grouped_mm(**arguments, out=None if out is None else out.copy())
    offsets = np.asarray(arguments["offsets"])
    empty = np.flatnonzero(np.diff(offsets) == 0)
    if not len(empty):
        return right
    return fp8ref.grouped_mm(**{**arguments, "out": out, "offsets": np.minimum(offsets, offsets[empty[0]])})


@defect("grouped_mm")
def result_is_not_written_to_out(**arguments: Any) -> Array:
    out = arguments.get("out")
    before = None if out is None else out.copy()
    result = fp8ref.grouped_mm(**arguments)
    return result if before is None else before


@defect("grouped_mm")
def first_expert_scales_all(**arguments: Any) -> Array:
    result, scale = fp8ref.grouped_mm(**arguments), np.asarray(arguments["b_scale"])
    if scale.ndim not in (1, 3) or not len(scale):
        return result
    return fp8ref.grouped_mm(**{**arguments, "b_scale": np.broadcast_to(scale[:1], scale.shape).copy()})
