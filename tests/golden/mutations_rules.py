# SPDX-License-Identifier: Apache-2.0
"""The witness's scale rules with one mistake each: a helper or a rule changed for the time of a test."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from pytest import MonkeyPatch

from golden.mutations import mutation
from witness import (
    quantize,
    quantize_compressed_tensors,
    quantize_deepseek,
    quantize_fbgemm,
    quantize_mse,
    quantize_sglang,
    quantize_steps,
    quantize_torchao,
    quantize_transformer_engine,
    quantize_transformers,
    quantize_vllm,
)
from witness.arithmetic import divide, is_number, multiply, rounded, via_fp32
from witness.quantize_steps import MAX, ONE, Result, Tile

SYSTEMS = (
    quantize_vllm,
    quantize_compressed_tensors,
    quantize_fbgemm,
    quantize_transformers,
    quantize_transformer_engine,
    quantize_torchao,
    quantize_deepseek,
    quantize_sglang,
)


def _everywhere(patch: MonkeyPatch, name: str, wrong: Callable[..., Any]) -> None:
    """Replace a helper of quantize_steps in every system that imported it."""
    for module in SYSTEMS:
        if hasattr(module, name):
            patch.setattr(module, name, wrong)


def of(*rules: str) -> Callable[[Callable[[MonkeyPatch], None]], Callable[[MonkeyPatch], None]]:
    """Register a mutation that shows in these rules."""

    def register(change: Callable[[MonkeyPatch], None]) -> Callable[[MonkeyPatch], None]:
        change.rules = rules
        return mutation("quantize")(change)

    return register


def _rule(patch: MonkeyPatch, name: str, wrong: Callable[[Tile], Result]) -> None:
    patch.setitem(quantize.RULES, name, wrong)


# Two rules taken for one another: the first is the one that a caller names, the second what runs.
CONFUSED = (
    ("vllm.group_128", "vllm.group_128@0.11"),
    ("vllm.group_128_native", "vllm.group_128_triton"),
    ("vllm.group_128_ue8m0", "vllm.group_128_triton_ue8m0"),
    ("vllm.per_token_native", "vllm.per_token"),
    ("vllm.group_128_silu_mul", "vllm.group_128_rms_norm"),
    ("compressed_tensors.channel@gpu", "compressed_tensors.channel"),
    ("compressed_tensors.channel@0.12", "compressed_tensors.channel"),
    ("fbgemm.per_row_triton", "fbgemm.per_row_torch"),
    ("fbgemm.per_row", "vllm.per_token"),
    ("transformer_engine.current_pow2", "transformer_engine.current"),
    ("transformer_engine.block_128x128", "deepgemm.block_128x128_ue8m0"),
    ("torchao.train_row", "fbgemm.per_row_triton"),
    ("torchao.train_row_pow2", "torchao.infer_row_e8m0"),
    ("deepgemm.group_128", "deepgemm.group_128@cpu"),
    ("deepgemm.group_128_ue8m0", "deepgemm.group_128_ue8m0@2026-03"),
    ("deepseek_v3.group_128", "transformers.group_128@4.57"),
    ("sglang.per_token", "sglang.per_token@large_batch"),
    ("sglang.group_128", "vllm.group_128"),
    ("sglang.group_128_v2", "sglang.group_128_triton"),
    ("transformers.block_128x128", "deepgemm.block_128x128@cpu"),
)


def _confuse(asked: str, other: str) -> None:
    def change(patch: MonkeyPatch) -> None:
        _rule(patch, asked, quantize.RULES[other])

    change.__name__ = f"{asked} is {other}"
    change.rules = (asked,)
    mutation("quantize")(change)


for confused in CONFUSED:
    _confuse(*confused)


@of("compressed_tensors.channel")
def zero_point_is_not_added(patch: MonkeyPatch) -> None:
    patch.setattr(quantize_compressed_tensors, "_add_zero_point", lambda y: y)


@of("compressed_tensors.channel")
def amax_never_sees_nan(patch: MonkeyPatch) -> None:
    _everywhere(patch, "amax_with_nan", quantize_steps.amax_dropping_nan)


@of("vllm.per_token")
def amax_always_sees_nan(patch: MonkeyPatch) -> None:
    _everywhere(patch, "amax_dropping_nan", quantize_steps.amax_with_nan)


@of("compressed_tensors.channel")
def zero_rows_have_the_epsilon_of_fp32(patch: MonkeyPatch) -> None:
    epsilons = quantize_compressed_tensors.MACHINE_EPSILON
    patch.setattr(quantize_compressed_tensors, "MACHINE_EPSILON", dict.fromkeys(epsilons, Fraction(1, 2**23)))


@of("vllm.per_token", "vllm.group_128")
def clamps_keep_nan(patch: MonkeyPatch) -> None:
    for name in ("nan_to_max", "nan_to_min"):
        _everywhere(patch, name, lambda quotients: quotients)


@of("vllm.group_128", "sglang.group_128")
def clamps_are_in_the_other_order(patch: MonkeyPatch) -> None:
    _everywhere(patch, "nan_to_min", quantize_steps.nan_to_max)


@of("vllm.group_128")
def reciprocal_is_not_rounded(patch: MonkeyPatch) -> None:
    _everywhere(patch, "all_times_reciprocal", quantize_steps.all_over)


@of("vllm.group_128_triton", "deepgemm.group_128")
def seventh_is_not_rounded(patch: MonkeyPatch) -> None:
    """amax / 448 where a compiler has put a product."""
    for module in SYSTEMS:
        if hasattr(module, "RECIPROCAL"):
            patch.setattr(module, "RECIPROCAL", Fraction(1, 448))


@of("vllm.group_128_ue8m0", "sglang.group_128_ue8m0")
def logarithm_is_exact(patch: MonkeyPatch) -> None:
    _everywhere(patch, "exp2_ceil_log2", quantize_steps.power_of_two_above)


@of("deepgemm.group_128_ue8m0")
def powers_of_two_are_rounded_down(patch: MonkeyPatch) -> None:
    _everywhere(patch, "power_of_two_above", quantize_steps.power_of_two_below)


@of("vllm.per_token", "fbgemm.per_row")
def smallest_scale_is_missing(patch: MonkeyPatch) -> None:
    for module in (quantize_vllm, quantize_fbgemm):
        patch.setattr(module, "MIN_SCALE", Fraction(0))


@of("vllm.per_token", "fbgemm.per_row")
def bound_is_ignored(patch: MonkeyPatch) -> None:
    _everywhere(patch, "at_most", lambda x, ceiling: x)


@of("vllm.group_128", "sglang.group_128")
def epsilon_of_groups_is_missing(patch: MonkeyPatch) -> None:
    for module in (quantize_vllm, quantize_sglang):
        patch.setattr(module, "GROUP_EPS", Fraction(0))


@of("deepgemm.group_128")
def floor_of_blocks_is_missing(patch: MonkeyPatch) -> None:
    patch.setattr(quantize_deepseek, "FLOOR", Fraction(0))


@of("torchao.train_row")
def training_is_in_fp32(patch: MonkeyPatch) -> None:
    def wrong(t: Tile) -> Any:
        return via_fp32(multiply(via_fp32(divide(ONE, quantize_steps.amax_with_nan(t.values))), MAX))

    patch.setattr(quantize_torchao, "_training_multiplier", wrong)


@of("torchao.infer_row")
def inference_scale_is_fp32(patch: MonkeyPatch) -> None:
    def wrong(t: Tile) -> Any:
        return via_fp32(divide(quantize_steps.amax_with_nan(t.values), MAX))

    patch.setattr(quantize_torchao, "_inference_scale", wrong)


@of("transformer_engine.current")
def infinite_amax_is_used(patch: MonkeyPatch) -> None:
    def wrong(amax: Any, largest_of: Any) -> Any:
        return via_fp32(divide(MAX, amax)) if amax else ONE

    patch.setattr(quantize_transformer_engine, "_multiplier", wrong)


@of("transformers.block_128x128_ue8m0")
def infinite_scale_is_kept(patch: MonkeyPatch) -> None:
    """float8_e8m0fnu has no infinity."""
    patch.setattr(quantize_transformers, "INFINITY", None)


@of("autofp8.per_tensor")
def autofp8_divides_once(patch: MonkeyPatch) -> None:
    def divides(t: Tile) -> Result:
        amax = max(quantize_steps.amax_dropping_nan(t.values), Fraction(1, 10**12))
        factor = rounded(t.fmt, divide(MAX, amax))
        return [rounded(t.fmt, multiply(x, factor)) for x in t.values], via_fp32(divide(ONE, factor))

    _rule(patch, "autofp8.per_tensor", divides)


@of("vllm.group_128", "deepgemm.group_128")
def tails_belong_to_the_group_before(patch: MonkeyPatch) -> None:
    tiles = quantize.tiles

    def wrong(granularity: str, rows: int, columns: int) -> Any:
        found = dict(tiles(granularity, rows, columns))
        for place, members in found.items():
            if granularity == "group" and place[1] and len(members) < 128:
                found[place[0], place[1] - 1] += members
                found[place] = []
        return iter(found.items())

    patch.setattr(quantize, "tiles", wrong)


@of("llm_compressor.mse_channel")
def search_is_never_given_up(patch: MonkeyPatch) -> None:
    patch.setattr(quantize_mse, "PATIENCE", quantize_mse.STEPS)


@of("llm_compressor.mse_channel")
def exponent_is_real(patch: MonkeyPatch) -> None:
    patch.setattr(quantize_mse, "_power", lambda fmt, d: rounded(fmt, Fraction(float(d) ** 2.4)) if is_number(d) else d)


@of("llm_compressor.mse_channel")
def search_measures_squares(patch: MonkeyPatch) -> None:
    patch.setattr(quantize_mse, "_power", lambda fmt, d: rounded(fmt, multiply(d, d)))
