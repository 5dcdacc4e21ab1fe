# SPDX-License-Identifier: Apache-2.0
"""Wrong tensor cores, and matrix products that chain their steps in a wrong way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from fp8ref.golden import _tensor_core, grouped_mm, linear, mma, scaled_mm
from fp8ref.golden._round import round_to
from fp8ref.golden._units import RESULTS, UNITS, Unit

from .defects import DEFECTS, FP8, Array, Defect, are_e4m3, defect

E5M2 = np.dtype(ml_dtypes.float8_e5m2)


def _with(change: Callable[[Unit], Unit]) -> Callable[..., Array]:
    """mma with every unit changed."""

    def wrong(a: Any, b: Any, c: Any = None, accumulate: str = "sm90_wgmma", out_dtype: str = "float32") -> Array:
        unit, left, right, start = mma.mma_arrays(a, b, c, accumulate, out_dtype)
        return _tensor_core.chain(change(unit), left, right, start)

    return wrong


def _named(name: str, wrong: Callable[..., Array], stem: str = "mma") -> None:
    def copy(*arguments: Any, **named: Any) -> Array:
        return wrong(*arguments, **named)

    copy.__name__ = name
    defect(stem, stem)(copy)


def _wgmma(**change: Any) -> Callable[[Unit], Unit]:
    return lambda unit: replace(unit, **change) if unit.name == "sm90_wgmma" else unit


_named("steps_of_half_the_length", _with(lambda unit: replace(unit, block=unit.block // 2)))
_named("hopper_with_the_steps_of_ada", _with(_wgmma(block=16)))
_named("one_fraction_bit_more", _with(lambda unit: replace(unit, fraction_bits=unit.fraction_bits + 1)))
_named("one_fraction_bit_less", _with(lambda unit: replace(unit, fraction_bits=unit.fraction_bits - 1)))
_named("no_floor", _with(lambda unit: replace(unit, floor=-400)))
_named("floor_of_ampere", _with(lambda unit: replace(unit, floor=unit.floor + 1)))
_named(
    "results_with_all_bits_of_float32",
    _with(lambda unit: replace(unit, result=RESULTS["fp32"]) if unit.result.name == "e8m13" else unit),
)
_named("results_rounded_to_nearest", _with(lambda unit: replace(unit, result=replace(unit.result, rounding="nearest"))))
_named("mma_sync_as_an_fp8_unit", _with(lambda unit: replace(unit, order="chain", block=32)))


def _turned(unit: str, order: list[int]) -> Callable[..., Array]:
    """mma of one unit that takes the 32 elements of each FP8 instruction in another order."""

    def wrong(a: Any, b: Any, c: Any = None, accumulate: str = "sm90_wgmma", out_dtype: str = "float32") -> Array:
        _, left, right, start = mma.mma_arrays(a, b, c, accumulate, out_dtype)
        if accumulate != unit or left.dtype.itemsize > 1:
            return mma.mma(a, b, c, accumulate, out_dtype)
        wide = [np.pad(x.view(np.uint8), ((0, 0), (0, -x.shape[1] % 32))).view(x.dtype) for x in (left, right)]
        turned = [x.reshape(len(x), x.shape[1] // 32, 32)[..., order].reshape(x.shape) for x in wide]
        return mma.mma(*turned, start, accumulate, out_dtype)

    return wrong


_named("high_half_first", _turned("sm89_mma", [*range(16, 32), *range(16)]))
_named("rewrite_takes_the_other_pairs_first", _turned("sm90_mma_sync", [k ^ 2 for k in range(32)]))
_named("rewrite_takes_halves", _turned("sm90_mma_sync", [k // 4 * 2 + k % 2 + k % 4 // 2 * 16 for k in range(32)]))


def _after(change: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """mma whose result is changed by (result, c)."""

    def wrong(a: Any, b: Any, c: Any = None, accumulate: str = "sm90_wgmma", out_dtype: str = "float32") -> Array:
        y = mma.mma(a, b, c, accumulate, out_dtype)
        return change(y, np.zeros_like(y) if c is None else c)

    return wrong


def _late(a: Any, b: Any, c: Any = None, accumulate: str = "sm90_wgmma", out_dtype: str = "float32") -> Array:
    """The accumulator is added to the finished sum."""
    y = mma.mma(a, b, None, accumulate, out_dtype)
    with np.errstate(all="ignore"):
        return y if c is None else y + c


_named("accumulator_added_last", _late)
_named("accumulator_is_ignored", lambda a, b, c=None, *rest, **named: mma.mma(a, b, None, *rest, **named))
_named("infinite_operands_are_57344", lambda a, b, *rest, **named: mma.mma(_finite(a), _finite(b), *rest, **named))
_named("nan_is_zero", _after(lambda y, c: np.where(np.isnan(y), y.dtype.type(0), y)))
_named("minus_zero_from_minus_zero", _after(lambda y, c: np.where((y == 0) & np.signbit(c), -y, y)))
_named("overflow_saturates", _after(lambda y, c: np.where(np.isinf(y), np.copysign(np.finfo(y.dtype).max, y), y)))
_named("subnormal_results_are_flushed", _after(lambda y, c: np.where(np.abs(y) < np.finfo(y.dtype).tiny, 0, y)))


def _finite(x: Any) -> Array:
    """E5M2 codes with the largest number in place of infinities."""
    if np.asarray(x).dtype != E5M2:
        return x
    codes = np.asarray(x).view(np.uint8)
    return np.where((codes & 0x7F) == 0x7C, codes - 1, codes).astype(np.uint8).view(E5M2)


@defect("mma", "mma")
def float32_sum(a: Any, b: Any, c: Any = None, accumulate: str = "sm90_wgmma", out_dtype: str = "float32") -> Array:
    """A plain product: what a tolerance would let pass."""
    _, left, right, start = mma.mma_arrays(a, b, c, accumulate, out_dtype)
    with np.errstate(all="ignore"):
        total = left.astype(np.float64) @ right.astype(np.float64).T + start.astype(np.float64)
    return np.asarray(round_to(total, out_dtype))


@defect("linear", "linear")
def exact_where_a_unit_is_asked(x: Any, weight: Any, bias: Any = None, accumulate: str = "exact") -> Array:
    return linear.linear(x, weight, bias)


@defect("linear", "linear")
def bias_joins_the_chain(x: Any, weight: Any, bias: Any = None, accumulate: str = "exact") -> Array:
    """The chain begins with the bias in place of +0."""
    if accumulate == "exact" or bias is None:
        return linear.linear(x, weight, bias, accumulate)
    start = np.broadcast_to(np.asarray(bias).astype(np.float32), (len(x), len(weight)))
    unit = UNITS[accumulate, "bf16", "float32"]
    return round_to(_tensor_core.chain(unit, np.asarray(x), np.asarray(weight), start), "bfloat16")


@defect("linear", "linear")
def ampere_for_every_unit(x: Any, weight: Any, bias: Any = None, accumulate: str = "exact") -> Array:
    return linear.linear(x, weight, bias, accumulate if accumulate == "exact" else "sm80_mma")


def _chained(change: Callable[..., Array]) -> Callable[..., Array]:
    """scaled_mm without scales whose accumulator, by name and split_k, is replaced."""

    def wrong(
        a: Any, b: Any, a_scale: Any, b_scale: Any, accumulate: str = "exact", split_k: int = 1, **policy: Any
    ) -> Array:
        plain = np.size(a_scale) == 1 and "bias" not in policy and policy.get("out_dtype") == "float32"
        if accumulate == "exact" or not plain or not are_e4m3({"a": a, "b": b}):
            return scaled_mm.scaled_mm(a, b, a_scale, b_scale, accumulate=accumulate, split_k=split_k, **policy)
        acc = change(np.asarray(a).view(FP8), np.asarray(b).view(FP8), accumulate, split_k)
        return np.asarray(b_scale, np.float32) * acc * np.asarray(a_scale, np.float32)

    return wrong


def _promoted_every_64(a: Array, b: Array, name: str, split_k: int) -> Array:
    if name != "sm90_wgmma_promoted" or split_k != 1:
        return _tensor_core.accumulate(name, a, b, split_k)
    total = np.zeros((len(a), len(b)), np.float32)
    for k in range(0, a.shape[1], 64):
        total = total + _tensor_core.accumulate("sm90_wgmma", a[:, k : k + 64], b[:, k : k + 64])
    return total


def _splits_backward(a: Array, b: Array, name: str, split_k: int) -> Array:
    tiles = -(-a.shape[1] // 128)
    each = max(-(-tiles // split_k) * 128, 1)
    total = np.zeros((len(a), len(b)), np.float32)
    for k in range(0, a.shape[1], each)[::-1]:
        total = total + _tensor_core.accumulate(name, a[:, k : k + each], b[:, k : k + each])
    return total


def _split_evenly(a: Array, b: Array, name: str, split_k: int) -> Array:
    """Parts of K of equal length, whatever the tiles."""
    each = max(-(-a.shape[1] // split_k), 1)
    total = np.zeros((len(a), len(b)), np.float32)
    for k in range(0, a.shape[1], each):
        total = total + _tensor_core.accumulate(name, a[:, k : k + each], b[:, k : k + each])
    return total


for _name, _change in (
    ("promotion_every_64", _promoted_every_64),
    ("promotion_is_forgotten", lambda a, b, name, s: _tensor_core.accumulate(name.removesuffix("_promoted"), a, b, s)),
    ("split_k_is_ignored", lambda a, b, name, s: _tensor_core.accumulate(name, a, b)),
    ("splits_added_backward", _splits_backward),
    ("split_through_tiles", _split_evenly),
    ("ada_for_every_core", lambda a, b, name, s: _tensor_core.accumulate("sm89_mma", a, b, s)),
):
    _named(_name, _chained(_change), "scaled_mm")


def _with_e5m2(change: Callable[..., Array], stem: str = "scaled_mm") -> Callable[..., Array]:
    """A product in which each E5M2 operand is changed."""
    right = {"scaled_mm": scaled_mm.scaled_mm, "grouped_mm": grouped_mm.grouped_mm}[stem]

    def wrong(**arguments: Any) -> Array:
        changed = {key: change(arguments[key]) for key in ("a", "b") if np.asarray(arguments[key]).dtype == E5M2}
        return right(**{**arguments, **changed})

    return wrong


def _nan_for_infinity(codes: Array) -> Array:
    bits = codes.view(np.uint8)
    return np.where((bits & 0x7F) == 0x7C, 0x7F, bits).astype(np.uint8).view(E5M2)


for _name, _codes in (
    ("e5m2_read_as_e4m3", lambda codes: codes.view(FP8)),
    ("infinite_operands_are_57344", _finite),
    ("infinite_operands_are_nan", _nan_for_infinity),
):
    DEFECTS.append(Defect("scaled_mm", "scaled_mm", _name, _with_e5m2(_codes)))
DEFECTS.append(
    Defect("grouped_mm", "grouped_mm", "e5m2_read_as_e4m3", _with_e5m2(lambda codes: codes.view(FP8), "grouped_mm"))
)


@defect("scaled_mm")
def e5m2_sums_in_float64(**arguments: Any) -> Array:
    """Enough for E4M3, whose sums it holds exactly."""
    right = scaled_mm.scaled_mm(**arguments)
    plain = np.size(arguments["a_scale"]) == 1 and arguments.get("bias") is None
    if are_e4m3(arguments) or not plain or arguments.get("accumulate", "exact") != "exact":
        return right
    with np.errstate(all="ignore"):
        a, b = (np.asarray(arguments[key]).astype(np.float64) for key in ("a", "b"))
        acc = np.asarray((a[:, None] * b).sum(axis=2) + 0.0, np.float32)
        y = np.float32(arguments["a_scale"]) * (np.float32(arguments["b_scale"]) * acc)
    return round_to(y, arguments["out_dtype"])
