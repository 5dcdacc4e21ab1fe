# SPDX-License-Identifier: Apache-2.0
"""Labelled mistakes of matrix products, as kernels make them; see library.py."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np

import fp8ref
from conformance.defects import FP8, Array, f32, f64
from conformance.library import changed, mistake, remembering
from fp8ref.golden._round import round_to
from fp8ref.golden._tensor_core import chain
from fp8ref.golden._units import UNITS

HOPPER = UNITS["sm90_wgmma", "fp8", "float32"]


def _mm(**arguments: Any) -> Array:
    return fp8ref.scaled_mm(**arguments)


def _narrow_through_half(y: Array, arguments: dict[str, Any]) -> Array:
    with np.errstate(all="ignore"):
        return round_to(f32(y.astype(np.float16)), arguments["out_dtype"])


def _plain(arguments: dict[str, Any]) -> bool:
    """One scale for each row and column, and no E4M3 output."""
    one = [np.ndim(arguments[name]) < 2 or np.shape(arguments[name])[1] == 1 for name in ("a_scale", "b_scale")]
    return all(one) and arguments["out_dtype"] != FP8.name and arguments["epilogue"] in ("a_b", "b_a", "ab")


def _spoiled_tile(y: Array) -> Array:
    y[:4, :4] = (f32(y[:4, :4]) * np.float32(1.03)).astype(y.dtype) if y.dtype != FP8 else y[:4, :4]
    return y


def _first_tile_zero(y: Array) -> Array:
    y[:4, :4] = 0
    return y


def _nan_for_infinity(y: Array) -> Array:
    return np.where(np.isinf(f64(y)), np.asarray(np.nan).astype(y.dtype), y)


def _saturated(y: Array) -> Array:
    return y if y.dtype == FP8 else np.where(
        np.isinf(f64(y)), np.copysign(float(ml_dtypes.finfo(y.dtype).max), f64(y)).astype(y.dtype), y)  # fmt: skip


for _name, _kind, _change in (
    ("returns_zeros", "unwritten", np.zeros_like),
    ("first_tile_is_zero", "unwritten", _first_tile_zero),
    ("last_row_is_zero", "unwritten", lambda y: np.concatenate([y[:-1], np.zeros_like(y[-1:])])),
    ("three_percent_too_large", "factor", lambda y: (f32(y) * np.float32(1.03)).astype(y.dtype)),
    ("one_tile_three_percent_off", "factor", _spoiled_tile),
    ("rows_in_reverse_order", "layout", lambda y: y[::-1]),
    ("columns_shifted_by_one", "layout", lambda y: np.roll(y, 1, axis=1)),
    ("transposed_in_place", "layout", lambda y: y.T.reshape(y.shape)),
    ("transposed_result", "layout", lambda y: y.T),
    ("float32_whatever_is_asked", "interface", f32),
    ("nan_for_infinity", "overflow_policy", _nan_for_infinity),
    ("largest_number_for_infinity", "overflow_policy", _saturated),
):
    changed("scaled_mm", _kind, _name, _change)


@mistake("scaled_mm", "interface")
def raises_for_odd_shapes(**arguments: Any) -> Array:
    if arguments["a"].shape[1] % 16:
        raise RuntimeError("K must be a multiple of 16")
    return _mm(**arguments)


@mistake("scaled_mm", "double_rounding", detail="float16")
def bf16_through_fp16(**arguments: Any) -> Array:
    if arguments["out_dtype"] != "bfloat16":
        return _mm(**arguments)
    return _narrow_through_half(_mm(**{**arguments, "out_dtype": "float32"}), arguments)


@mistake("scaled_mm", "truncation")
def output_is_cut_to_bf16(**arguments: Any) -> Array:
    if arguments["out_dtype"] != "bfloat16":
        return _mm(**arguments)
    y = _mm(**{**arguments, "out_dtype": "float32"})
    words = (y.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(y), np.uint16(0x7FC0), words).view(_mm(**arguments).dtype)


@mistake("scaled_mm", "tie_rule")
def output_ties_away(**arguments: Any) -> Array:
    if arguments["out_dtype"] != "bfloat16":
        return _mm(**arguments)
    y = _mm(**{**arguments, "out_dtype": "float32"})
    words = ((y.view(np.uint32) + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(y), np.uint16(0x7FC0), words).view(_mm(**arguments).dtype)


@mistake("scaled_mm", "scale_broadcast")
def row_scale_applied_as_column_scale(**arguments: Any) -> Array:
    a_s, b_s = arguments["a_scale"], arguments["b_scale"]
    rows, columns = len(arguments["a"]), len(arguments["b"])
    if np.shape(a_s) != (rows, 1) or np.shape(b_s) != (columns, 1) or not rows or not columns:
        return _mm(**arguments)
    swapped = {"a_scale": f32(b_s)[np.arange(rows) % columns], "b_scale": f32(a_s)[np.arange(columns) % rows]}
    return _mm(**{**arguments, **swapped})


def _scaled(name: str, change: Any) -> None:
    def wrong(**arguments: Any) -> Array:
        return _mm(**{**arguments, **change(arguments)})

    wrong.__name__ = name
    mistake("scaled_mm", "scale_broadcast")(wrong)


_scaled("a_scale_ignored", lambda g: {"a_scale": np.ones_like(f32(g["a_scale"]))})
_scaled("b_scale_ignored", lambda g: {"b_scale": np.ones_like(f32(g["b_scale"]))})
_scaled("first_a_scale_for_all", lambda g: {"a_scale": np.broadcast_to(f32(g["a_scale"])[:1], np.shape(g["a_scale"]))}
        if np.ndim(g["a_scale"]) else {})  # fmt: skip
_scaled(
    "a_scale_of_the_row_before",
    lambda g: {"a_scale": np.roll(f32(g["a_scale"]), 1, 0)} if np.ndim(g["a_scale"]) else {},
)
_scaled("b_scale_squared", lambda g: {"b_scale": f32(g["b_scale"]) ** 2})


@mistake("scaled_mm", "double_rounding")
def scales_kept_in_bf16(**arguments: Any) -> Array:
    return _mm(
        **{**arguments, **{name: f32(round_to(f32(arguments[name]), "bfloat16")) for name in ("a_scale", "b_scale")}}
    )


@mistake("scaled_mm", "double_rounding")
def accumulator_rounded_to_bf16_before_scales(**arguments: Any) -> Array:
    if not _plain(arguments) or arguments["bias"] is not None:
        return _mm(**arguments)
    one = np.float32(1)
    acc = f32(_mm(**{**arguments, "a_scale": one, "b_scale": one, "out_dtype": "bfloat16"}))
    with np.errstate(all="ignore"):
        return round_to(f32(arguments["a_scale"]) * (f32(arguments["b_scale"]).T * acc), arguments["out_dtype"])


@mistake("scaled_mm", "epilogue_order")
def bias_rounded_twice(**arguments: Any) -> Array:
    bias, dtype = arguments["bias"], arguments["out_dtype"]
    if bias is None or not _plain(arguments):
        return _mm(**arguments)
    with np.errstate(all="ignore"):
        return round_to(f32(_mm(**{**arguments, "bias": None})) + f32(bias), dtype)


@mistake("scaled_mm", "epilogue_order", detail="without the bias")
def bias_ignored(**arguments: Any) -> Array:
    return _mm(**{**arguments, "bias": None})


@mistake("scaled_mm", "k_tail")
def tail_of_16_dropped(**arguments: Any) -> Array:
    a, b = (np.array(arguments[name]) for name in "ab")
    for x in (a, b):
        x.view(np.uint8)[:, a.shape[1] // 16 * 16 :] = 0
    return _mm(**{**arguments, "a": a, "b": b})


@mistake("scaled_mm", "k_tail")
def last_element_of_k_dropped(**arguments: Any) -> Array:
    a = np.array(arguments["a"])
    a.view(np.uint8)[:, -1:] = 0
    return _mm(**{**arguments, "a": a})


@mistake("scaled_mm", "layout")
def k_of_b_is_backward(**arguments: Any) -> Array:
    return _mm(**{**arguments, "b": np.ascontiguousarray(arguments["b"][:, ::-1])})


@mistake("scaled_mm", "layout")
def b_is_read_as_k_by_n(**arguments: Any) -> Array:
    b = np.ascontiguousarray(arguments["b"])
    return _mm(**{**arguments, "b": np.ascontiguousarray(b.reshape(b.shape[::-1]).T)})


@mistake("scaled_mm", "subnormal_flush")
def subnormal_codes_are_zero(**arguments: Any) -> Array:
    found = {}
    for name in "ab":
        x = np.array(arguments[name])
        if x.dtype == FP8:
            words = x.view(np.uint8)
            words[(words & 0x78) == 0] &= 0x80
            found[name] = x
    return _mm(**{**arguments, **found})


def _named(name: str, claim: str, kind: str = "accumulator", **policy: Any) -> None:
    def wrong(**arguments: Any) -> Array:
        plain = _plain(arguments) or "epilogue" in policy
        return _mm(**{**arguments, **(policy if plain else {})})

    wrong.__name__ = name
    mistake("scaled_mm", kind, claim, next(iter(policy.values())))(wrong)


_named("promoted_where_one_chain_is_claimed", "sm90_wgmma", accumulate="sm90_wgmma_promoted")
_named("one_chain_where_promotion_is_claimed", "sm90_wgmma_promoted", accumulate="sm90_wgmma")
_named("blackwell_where_hopper_is_claimed", "sm90_wgmma", accumulate="sm100_tcgen05")
_named("mma_sync_where_exact_is_claimed", "", accumulate="sm90_mma_sync")
_named("b_a_where_a_b_is_claimed", "", "epilogue_order", epilogue="b_a")


def _by(name: str, claim: str, accumulate: Any) -> None:
    def wrong(**arguments: Any) -> Array:
        a, b = arguments["a"], arguments["b"]
        if (
            not _plain(arguments)
            or arguments["bias"] is not None
            or a.shape[1] > 1024
            or a.dtype != FP8
            or b.dtype != FP8
        ):
            return _mm(**arguments)
        with np.errstate(all="ignore"):
            acc = f32(accumulate(a, b))
            return round_to(f32(arguments["a_scale"]) * (f32(arguments["b_scale"]).T * acc), arguments["out_dtype"])

    wrong.__name__ = name
    mistake("scaled_mm", "accumulator", claim)(wrong)


def _terms(a: Array, b: Array) -> Array:
    return f64(a).T[:, :, None] * f64(b).T[:, None, :]


def _in_order(terms: Array, dtype: Any = np.float32) -> Array:
    total = np.zeros(terms.shape[1:], dtype)
    for term in terms:
        total = (total.astype(np.float64) + term).astype(dtype)
    return total


def _splits(a: Array, b: Array) -> Array:
    """Halves of K by Hopper's unit, the second first."""
    half = (a.shape[1] + 1) // 2
    return f32(0) + chain(HOPPER, a[:, half:], b[:, half:]) + chain(HOPPER, a[:, :half], b[:, :half])


def _promoted_64(a: Array, b: Array) -> Array:
    total = np.zeros((len(a), len(b)), np.float32)
    for k in range(0, a.shape[1], 64):
        total = total + chain(HOPPER, a[:, k : k + 64], b[:, k : k + 64])
    return total


_by("half_accumulation", "", lambda a, b: _in_order(_terms(a, b), np.float16))
_by("float32_in_order", "sm90_wgmma", lambda a, b: _in_order(_terms(a, b)))
_by("float32_blas", "", lambda a, b: f32(a) @ f32(b).T)
_by("float32_backward", "", lambda a, b: _in_order(_terms(a, b)[::-1]))
_by("split_k_the_last_part_first", "sm90_wgmma", _splits)
_by("promotion_every_64", "sm90_wgmma_promoted", _promoted_64)


# ---- memory ----------------------------------------------------------------------------------------------------------


@remembering("scaled_mm", "stale_output")
def last_calls_buffer(memory: list[Any], **arguments: Any) -> Array:
    memory.append(_mm(**arguments))
    same = [y for y in memory[:-1] if y.shape == memory[-1].shape and y.dtype == memory[-1].dtype]
    return same[-1] if same else memory[-1]


@remembering("scaled_mm", "stale_output")
def result_of_the_call_before(memory: list[Any], **arguments: Any) -> Array:
    memory.append(_mm(**arguments))
    return memory[-2] if len(memory) > 1 else memory[-1]


@remembering("scaled_mm", "stale_output")
def last_rows_keep_the_last_result(memory: list[Any], **arguments: Any) -> Array:
    y = _mm(**arguments)
    old = [x for x in memory if x.shape == y.shape and x.dtype == y.dtype]
    memory.append(y.copy())
    if old and len(y) > 2:
        y[len(y) // 2 :] = old[-1][len(y) // 2 :]
    return y


@remembering("scaled_mm", "nondeterministic")
def last_bit_by_chance(memory: list[Any], **arguments: Any) -> Array:
    y = np.ascontiguousarray(_mm(**arguments))
    memory.append(len(memory))
    generator = np.random.default_rng(len(memory))
    words = y.view(f"u{y.dtype.itemsize}")
    words ^= (generator.random(y.shape) < 0.3).astype(words.dtype)
    return y


# ---- grouped_mm ------------------------------------------------------------------------------------------------------


def _grouped(**arguments: Any) -> Array:
    return fp8ref.grouped_mm(**arguments)


@mistake("grouped_mm", "group_boundary")
def expert_boundary_off_by_one(**arguments: Any) -> Array:
    offsets = np.array(arguments["offsets"])
    offsets[1:-1] = np.minimum(offsets[1:-1] + 1, offsets[-1])
    return _grouped(**{**arguments, "offsets": np.maximum.accumulate(offsets)})


@mistake("grouped_mm", "group_boundary")
def every_row_by_the_first_expert(**arguments: Any) -> Array:
    b = np.asarray(arguments["b"])
    return _grouped(**{**arguments, "b": np.ascontiguousarray(np.broadcast_to(b[:1], b.shape)) if len(b) else b})


@mistake("grouped_mm", "group_boundary")
def last_row_of_the_last_expert_forgotten(**arguments: Any) -> Array:
    offsets = np.array(arguments["offsets"])
    offsets[-1:] = np.maximum(offsets[-1:] - 1, offsets[-2:-1] if len(offsets) > 1 else offsets[-1:])
    return _grouped(**{**arguments, "offsets": offsets})


@mistake("grouped_mm", "scale_broadcast")
def a_scale_restarts_with_each_expert(**arguments: Any) -> Array:
    scale, offsets = np.asarray(arguments["a_scale"]), np.asarray(arguments["offsets"])
    if scale.ndim < 2 or len(scale) != len(arguments["a"]) or not len(scale):
        return _grouped(**arguments)
    wrong = scale.copy()
    for start, stop in itertools.pairwise(offsets.tolist()):
        wrong[start:stop] = scale[: stop - start]
    return _grouped(**{**arguments, "a_scale": wrong})


changed("grouped_mm", "unwritten", "grouped_returns_zeros", np.zeros_like)
changed("grouped_mm", "factor", "grouped_three_percent", lambda y: (f32(y) * np.float32(1.03)).astype(y.dtype))
