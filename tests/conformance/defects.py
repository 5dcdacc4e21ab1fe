# SPDX-License-Identifier: Apache-2.0
"""Wrong implementations: each is the golden model but for one mistake that real kernels make.

A defect replaces one function. The suite is worth something only if its ``quick`` level catches every one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

import fp8ref
from fp8ref.golden import _tensor_core
from fp8ref.golden._round import round_to
from fp8ref.golden._units import RESULTS, UNITS, Unit

Array = Any
HOPPER = UNITS["sm90_wgmma", "fp8", "float32"]
BF16, FP8 = np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.float8_e4m3fn)


@dataclass(frozen=True)
class Defect:
    """``function`` of the op ``stem`` as a careless implementation has it."""

    stem: str
    function: str
    name: str
    wrong: Callable[..., Any]


DEFECTS: list[Defect] = []


def defect(stem: str, function: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function under its own name."""

    def register(wrong: Callable[..., Any]) -> Callable[..., Any]:
        DEFECTS.append(Defect(stem, function or stem, wrong.__name__, wrong))
        return wrong

    return register


def concerns(change: Callable[..., Any], arguments: dict[str, Any]) -> bool:
    """Whether a change can show in a call: one of some scale rules or modes does not in others."""
    rules, modes = getattr(change, "rules", ()), getattr(change, "modes", ())
    return (not rules or arguments.get("rule") in rules) and (not modes or arguments.get("accumulate") in modes)


def f32(x: Array) -> Array:
    return np.asarray(x).astype(np.float32)


def f64(x: Array) -> Array:
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return np.asarray(x).astype(np.float64)


def bf16(x: Array) -> Array:
    return round_to(x, "bfloat16")


def are_e4m3(arguments: dict[str, Any]) -> bool:
    """Whether a and b are E4M3 codes: a defect that reads codes by itself leaves E5M2 alone."""
    return all(np.asarray(arguments[key]).dtype in (FP8, np.uint8) for key in ("a", "b"))


def codes_with(codes: Array, change: Callable[[Array], Array]) -> Array:
    """The codes after ``change`` worked on them as uint8, in place or not."""
    return change(np.array(codes).view(np.uint8)).astype(np.uint8).view(FP8)


# ---- e4m3 ------------------------------------------------------------------------------------------------------------
@defect("e4m3", "encode")
def ties_away_from_zero(x: Array, overflow: str = "saturate") -> Array:
    with np.errstate(all="ignore"):
        return fp8ref.encode(f64(x) * (1 + 2.0**-50), overflow)


@defect("e4m3", "encode")
def truncation(x: Array, overflow: str = "saturate") -> Array:
    codes = fp8ref.encode(x, overflow)
    larger = np.abs(f64(fp8ref.decode(codes))) > np.abs(f64(x))
    return codes_with(codes, lambda c: c - larger)


@defect("e4m3", "encode")
def overflow_policy_ignored(x: Array, overflow: str = "saturate") -> Array:
    del overflow
    return fp8ref.encode(x)


@defect("e4m3", "encode")
def rounded_through_float32(x: Array, overflow: str = "saturate") -> Array:
    with np.errstate(over="ignore"):
        return fp8ref.encode(f32(x), overflow)


@defect("e4m3", "encode")
def subnormal_codes_flushed(x: Array, overflow: str = "saturate") -> Array:
    return codes_with(fp8ref.encode(x, overflow), lambda c: np.where((c & 0x78) == 0, c & 0x80, c))


@defect("e4m3", "encode")
def negative_zero_lost(x: Array, overflow: str = "saturate") -> Array:
    return codes_with(fp8ref.encode(x, overflow), lambda c: np.where(c == 0x80, 0, c))


@defect("e4m3", "encode")
def nan_becomes_448(x: Array, overflow: str = "saturate") -> Array:
    return codes_with(fp8ref.encode(x, overflow), lambda c: np.where(np.isnan(f64(x)), 0x7E, c))


@defect("e4m3", "encode")
def infinity_becomes_nan(x: Array, overflow: str = "saturate") -> Array:
    return codes_with(fp8ref.encode(x, overflow), lambda c: np.where(np.isinf(f64(x)), 0x7F, c))


@defect("e4m3", "decode")
def top_codes_as_480(codes: Array) -> Array:
    c = np.asarray(codes).view(np.uint8)
    return np.where((c & 0x7F) == 0x7F, np.where(c > 0x7F, f32(-480), f32(480)), fp8ref.decode(codes))


@defect("e4m3", "decode")
def subnormals_decoded_as_zero(codes: Array) -> Array:
    c = np.asarray(codes).view(np.uint8)
    return np.where((c & 0x78) == 0, fp8ref.decode(codes) * f32(0), fp8ref.decode(codes))


# ---- scaled_mm -------------------------------------------------------------------------------------------------------
def _is_call(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> bool:
    """False where golden refuses the call, or it goes beyond a scale for each row: a defect answers what it can."""
    blocks = np.ndim(a_scale) == 2 and np.shape(a_scale) not in ((1, 1), (len(a), 1))
    if blocks or more.get("epilogue", "a_b") != "a_b" or more.get("out_dtype") == FP8.name:
        return False
    try:
        fp8ref.scaled_mm(a, b, a_scale, b_scale, **more)
    except fp8ref.errors.OpError:
        return False
    return True


def _changed(change: Callable[[Array], Array]) -> Callable[..., Array]:
    """scaled_mm with its result changed."""

    def wrong(**arguments: Any) -> Array:
        return change(fp8ref.scaled_mm(**arguments))

    return wrong


def _zero_tile(y: Array) -> Array:
    y[:, 64:] = 0
    return y


def _one_ulp(y: Array) -> Array:
    if y.shape == (5, 7) and y.dtype == np.float32:
        y.view(np.uint32)[4, 6] += 1
    return y


def _flush(y: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(f64(y)) < float(ml_dtypes.finfo(y.dtype).smallest_normal), y * y.dtype.type(0), y)


def _minus_zero(y: Array) -> Array:
    return np.where(f64(y) == 0, y.dtype.type(-0.0), y)


for _name, _change in (
    ("last_tile_never_written", _zero_tile),
    ("one_ulp_in_one_element", _one_ulp),
    ("subnormal_results_flushed", _flush),
    ("zero_sum_is_negative", _minus_zero),
):
    DEFECTS.append(Defect("scaled_mm", "scaled_mm", _name, _changed(_change)))


def _epilogue(combine: Callable[[Array, Array, Array], Array]) -> Callable[..., Array]:
    """scaled_mm with the two scales applied in another way."""

    def wrong(**arguments: Any) -> Array:
        if arguments.get("bias") is not None or not _is_call(**arguments):
            return fp8ref.scaled_mm(**arguments)
        plain = {**arguments, "a_scale": np.float32(1), "b_scale": np.float32(1), "out_dtype": "float32"}
        a_s, b_s = f32(arguments["a_scale"]), f32(arguments["b_scale"])
        with np.errstate(all="ignore"):
            y = combine(fp8ref.scaled_mm(**plain), a_s, b_s.T)
        return round_to(y, arguments["out_dtype"])

    return wrong


for _name, _combine in (
    ("scales_in_the_other_order", lambda acc, a_s, b_s: b_s * (a_s * acc)),
    ("scales_multiplied_first", lambda acc, a_s, b_s: (a_s * b_s) * acc),
    ("scales_in_one_rounding", lambda acc, a_s, b_s: f64(a_s) * f64(b_s) * f64(acc)),
    ("scale_rows_forgotten", lambda acc, a_s, b_s: a_s * (b_s.reshape(-1)[:1] * acc) if acc.size else acc),
):
    DEFECTS.append(Defect("scaled_mm", "scaled_mm", _name, _epilogue(_combine)))


@defect("scaled_mm")
def bias_added_after_rounding(**arguments: Any) -> Array:
    bias = arguments.get("bias")
    if bias is None or not _is_call(**arguments):
        return fp8ref.scaled_mm(**arguments)
    y = fp8ref.scaled_mm(**{**arguments, "bias": None, "out_dtype": "float32"})
    with np.errstate(all="ignore"):
        return round_to(y + f32(bias), arguments["out_dtype"])


@defect("scaled_mm")
def k_tail_dropped(**arguments: Any) -> Array:
    if not _is_call(**arguments):
        return fp8ref.scaled_mm(**arguments)
    k = arguments["a"].shape[1] // 32 * 32
    return fp8ref.scaled_mm(**{**arguments, "a": arguments["a"][:, :k], "b": arguments["b"][:, :k]})


@defect("scaled_mm")
def nan_codes_count_as_448(**arguments: Any) -> Array:
    if not are_e4m3(arguments):
        return fp8ref.scaled_mm(**arguments)
    for key in ("a", "b"):
        codes = np.asarray(arguments[key]).view(np.uint8)
        arguments[key] = np.where((codes & 0x7F) == 0x7F, codes - 1, codes)
    return fp8ref.scaled_mm(**arguments)


def _accumulating(product: Callable[[Array, Array], Array], name: str = "exact") -> Callable[..., Array]:
    """scaled_mm whose accumulators come from ``product(a, b)`` where the case asks for the accumulator ``name``."""

    def wrong(**arguments: Any) -> Array:
        scalars = np.ndim(arguments["a_scale"]) == 0 and arguments.get("bias") is None
        if arguments["a"].shape[1] > 1000 or not scalars or arguments.get("accumulate") != name:
            return fp8ref.scaled_mm(**arguments)
        if not _is_call(**arguments) or not are_e4m3(arguments):
            return fp8ref.scaled_mm(**arguments)
        with np.errstate(all="ignore"):
            acc = f32(product(np.asarray(arguments["a"]).view(np.uint8), np.asarray(arguments["b"]).view(np.uint8)))
            y = f32(arguments["a_scale"]) * (f32(arguments["b_scale"]) * acc)
        return round_to(y, arguments["out_dtype"])

    return wrong


def _float32_sum(a: Array, b: Array) -> Array:
    total = np.zeros((a.shape[0], b.shape[0]), np.float32)
    for i in range(a.shape[1]):
        total = total + np.multiply.outer(fp8ref.decode(a[:, i]), fp8ref.decode(b[:, i]))
    return total


def _half_sum(a: Array, b: Array) -> Array:
    total = np.zeros((a.shape[0], b.shape[0]), np.float16)
    for i in range(a.shape[1]):
        total = (f32(total) + np.multiply.outer(fp8ref.decode(a[:, i]), fp8ref.decode(b[:, i]))).astype(np.float16)
    return total


def _chain(unit: Unit, a: Array, b: Array) -> Array:
    return _tensor_core.chain(unit, np.asarray(a).view(FP8), np.asarray(b).view(FP8))


def _tensor_core_with(**change: Any) -> Callable[[Array, Array], Array]:
    unit = replace(HOPPER, **change)
    return lambda a, b: _chain(unit, a, b)


def _promoted(a: Array, b: Array) -> Array:
    """A fresh chain for every 128 elements, added in float32: another accumulator's result."""
    total = np.zeros((a.shape[0], b.shape[0]), np.float32)
    for start in range(0, a.shape[1], 128):
        total = total + _chain(HOPPER, a[:, start : start + 128], b[:, start : start + 128])
    return total


for _name, _asked, _product in (
    ("float32_accumulator", "exact", _float32_sum),
    ("float16_accumulator", "exact", _half_sum),
    ("tensor_core_where_exact_is_asked", "exact", _tensor_core_with()),
    ("exact_where_a_tensor_core_is_asked", "sm90_wgmma", lambda a, b: f64(fp8ref.decode(a)) @ f64(fp8ref.decode(b)).T),
    ("tensor_core_steps_of_16", "sm90_wgmma", _tensor_core_with(block=16)),
    ("tensor_core_12_fraction_bits", "sm90_wgmma", _tensor_core_with(fraction_bits=12)),
    ("tensor_core_14_fraction_bits", "sm90_wgmma", _tensor_core_with(fraction_bits=14)),
    ("tensor_core_result_of_24_bits", "sm90_wgmma", _tensor_core_with(result=RESULTS["fp32"])),
    ("tensor_core_promoted", "sm90_wgmma", _promoted),
):
    DEFECTS.append(Defect("scaled_mm", "scaled_mm", _name, _accumulating(_product, _asked)))
