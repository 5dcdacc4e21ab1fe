# SPDX-License-Identifier: Apache-2.0
"""Wrong scale rules: each is golden's ``quantize`` but for one mistake in some rules that real kernels make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fp8ref
from conformance.defects import Array, codes_with, defect, f32, f64
from fp8ref.golden._round import round_to

MINS = np.float32(1 / (448 * 512))
R = np.float32(1 / 448)
TILE = {"group": (1, 128), "block": (128, 128)}

Result = tuple[Array, Array]
Change = Callable[["Call"], Result]


@dataclass
class Call:
    """A call of quantize with two dimensions, and golden's answer to it."""

    x: Array
    rule: str
    upper: Any
    codes: Array
    scale: Array

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns that share a scale."""
        rows, columns = self.x.shape
        granularity = {rule.name: rule.granularity for rule in fp8ref.rules()}[self.rule]
        return {"tensor": (rows, columns), "row": (1, columns), **TILE}[granularity]

    def amax(self, pad: float = 0.0) -> Array:
        """Of each tile, in the shape of the scale; NaN does not count. ``pad`` fills the tails of tiles."""
        if self.x.size == 0:
            return np.zeros_like(self.scale)
        x = np.nan_to_num(np.abs(f32(self.x)), nan=0.0, posinf=np.inf)
        (rows, columns), (high, wide) = x.shape, (max(n, 1) for n in self.tile)
        whole = np.full((-(-rows // high) * high, -(-columns // wide) * wide), pad, np.float32)
        whole[:rows, :columns] = x
        tiles = whole.reshape(whole.shape[0] // high, high, whole.shape[1] // wide, wide)
        return np.max(tiles, axis=(1, 3), initial=0).reshape(self.scale.shape)

    def spread(self, scale: Array) -> Array:
        """The scale of each element."""
        if self.scale.ndim == 0:
            return scale
        high, wide = self.tile
        wide = max(wide, 1)
        return np.repeat(np.repeat(scale, high, 0), wide, 1)[: self.x.shape[0], : self.x.shape[1]]

    def recoded(self, y: Array, nan: int = 0x7F) -> Array:
        return codes_with(fp8ref.encode(f32(y)), lambda c: np.where(np.isnan(y), nan, c))


def _add(name: str, wrong: Callable[..., Any], rules: tuple[str, ...]) -> None:
    wrong.__name__ = name
    wrong.rules = rules  # type: ignore[attr-defined]
    defect("quantize")(wrong)


def wrong_in(*rules: str) -> Callable[[Change], Change]:
    """Register quantize with a change in these rules; other rules, and calls that golden refuses, stay."""

    def register(change: Change) -> Change:
        def wrong(x: Array, rule: str, scale: Any = None, scale_ub: Any = None) -> Any:
            codes, used = fp8ref.quantize(x, rule, scale, scale_ub)
            if rule not in rules or np.ndim(x) != 2:
                return codes, used
            with np.errstate(all="ignore"):
                changed, stored = change(Call(np.asarray(x), rule, scale_ub, codes, np.asarray(used)))
            return changed, f32(stored).reshape(used.shape)

        _add(change.__name__, wrong, rules)
        return change

    return register


def taken_for(name: str, asked: str, other: str) -> None:
    """Register a defect: ``other`` runs where ``asked`` is asked for."""

    def wrong(x: Array, rule: str, scale: Any = None, scale_ub: Any = None) -> Any:
        right = fp8ref.quantize(x, rule, scale, scale_ub)
        return fp8ref.quantize(x, other, scale, scale_ub) if rule == asked else right

    _add(name, wrong, (asked,))


taken_for("static_divides", "vllm.per_tensor_static", "vllm.kv_cache")
taken_for("kv_cache_multiplies_by_reciprocal", "vllm.kv_cache", "vllm.per_tensor_static")
taken_for("group_divides_as_before_0_33", "vllm.group_128", "vllm.group_128@0.11")
taken_for("group_of_0_11_multiplies_by_reciprocal", "vllm.group_128@0.11", "vllm.group_128")
taken_for("division_by_448_on_a_gpu", "deepgemm.group_128", "deepgemm.group_128@cpu")
taken_for("product_with_a_448th_on_a_cpu", "deepgemm.block_128x128@cpu", "deepgemm.block_128x128")
taken_for("zero_scales_are_guarded", "sglang.per_token", "sglang.per_token@large_batch")
taken_for("zero_scales_are_not_guarded", "sglang.per_token@large_batch", "sglang.per_token")
taken_for("quotient_rounded_to_the_input_type", "compressed_tensors.channel@gpu", "compressed_tensors.channel")
taken_for(
    "quotient_not_rounded_to_the_input_type", "compressed_tensors.block_128x128", "compressed_tensors.block_128x128@gpu"
)
taken_for("ceil_of_a_rounded_logarithm", "deepgemm.group_128_ue8m0", "deepgemm.group_128_ue8m0@2026-03")
taken_for("power_of_two_from_the_bits", "deepgemm.group_128_ue8m0@2026-03", "deepgemm.group_128_ue8m0")
taken_for("floor_of_the_scale_missing_in_ue8m0", "vllm.group_128_ue8m0", "vllm.group_128_triton_ue8m0")
taken_for("multiplier_is_one_division", "fbgemm.per_row_torch", "fbgemm.per_row_triton")
taken_for("training_in_float32", "torchao.train_row", "fbgemm.per_row_torch")
taken_for("multiplier_is_no_power_of_two", "transformer_engine.group_128", "transformer_engine.group_128_fp32")
taken_for("ranges_are_not_searched", "llm_compressor.mse_channel", "compressed_tensors.channel")
taken_for("epsilon_clamps_small_scales", "compressed_tensors.tensor", "compressed_tensors.tensor@0.12")


@wrong_in("vllm.per_token", "fbgemm.per_row")
def per_token_multiplies_by_reciprocal(call: Call) -> Result:
    nan = 0x7E if call.rule == "vllm.per_token" else 0x7F
    return call.recoded(f32(call.x) * (np.float32(1) / call.spread(call.scale)), nan), call.scale


@wrong_in("compressed_tensors.channel", "compressed_tensors.tensor")
def channel_divides_in_float32(call: Call) -> Result:
    return call.recoded(f32(call.x) / call.spread(call.scale)), call.scale


@wrong_in("vllm.per_token", "fbgemm.per_row", "fbgemm.per_tensor")
def scale_floor_forgotten(call: Call) -> Result:
    return call.codes, call.amax() / np.float32(448)


@wrong_in("vllm.group_128", "sglang.group_128")
def floor_is_on_the_scale(call: Call) -> Result:
    return call.codes, np.maximum(call.amax() / np.float32(448), MINS)


@wrong_in("vllm.group_128_native", "vllm.group_128_rms_norm")
def floor_is_on_amax(call: Call) -> Result:
    return call.codes, np.maximum(call.amax(), np.float32(1e-10)) / np.float32(448)


@wrong_in("vllm.per_token")
def amax_times_reciprocal_of_448(call: Call) -> Result:
    return call.codes, np.maximum(call.amax() * R, MINS)


@wrong_in("vllm.per_token", "compressed_tensors.channel", "torchao.infer_row")
def amax_misses_the_last_column(call: Call) -> Result:
    if call.x.shape[1] % 8 and call.upper is None:
        return call.codes, fp8ref.quantize(call.x[:, :-1], call.rule)[1]
    return call.codes, call.scale


@wrong_in("compressed_tensors.channel")
def one_scale_for_all_channels(call: Call) -> Result:
    codes, scale = fp8ref.quantize(call.x, "compressed_tensors.tensor")
    return codes, np.full_like(call.scale, scale)


@wrong_in("vllm.per_token", "vllm.per_tensor_static", "vllm.group_128")
def nan_code_where_448_is_due(call: Call) -> Result:
    return codes_with(call.codes, lambda c: np.where(np.isnan(f32(call.x)), 0x7F, c)), call.scale


@wrong_in("vllm.group_128", "sglang.group_128")
def clamps_of_nan_in_the_other_order(call: Call) -> Result:
    return codes_with(call.codes, lambda c: np.where(np.isnan(f32(call.x)), 0x7E, c)), call.scale


@wrong_in("vllm.kv_cache", "fbgemm.per_row", "transformer_engine.current")
def nan_is_clamped(call: Call) -> Result:
    return codes_with(call.codes, lambda c: np.where(np.isnan(f32(call.x)), 0x7E, c)), call.scale


@wrong_in("vllm.group_128", "deepgemm.group_128", "transformer_engine.current")
def negative_zero_loses_its_sign(call: Call) -> Result:
    return codes_with(call.codes, lambda c: np.where(c == 0x80, 0, c)), call.scale


@wrong_in("compressed_tensors.group_128", "compressed_tensors.block_128x128")
def zero_point_is_not_added(call: Call) -> Result:
    negative = np.signbit(f32(call.x)) & (f32(call.x) == 0)
    return codes_with(call.codes, lambda c: np.where(negative, 0x80, c)), call.scale


@wrong_in("vllm.per_token", "fbgemm.per_row", "vllm.group_128_rms_norm")
def bound_is_on_the_scale(call: Call) -> Result:
    if call.upper is None:
        return call.codes, call.scale
    return call.codes, np.maximum(np.minimum(call.amax() / np.float32(448), f32(call.upper)), MINS)


@wrong_in("vllm.group_128_silu_mul")
def bound_is_on_amax(call: Call) -> Result:
    if call.upper is None:
        return call.codes, call.scale
    return call.codes, np.maximum(np.minimum(call.amax(), f32(call.upper)) / np.float32(448), MINS)


@wrong_in("vllm.per_token_native", "fbgemm.per_row_triton")
def bound_is_ignored(call: Call) -> Result:
    return fp8ref.quantize(call.x, call.rule)


@wrong_in("fbgemm.per_row", "fbgemm.per_row_torch", "vllm.per_token")
def nothing_saturates(call: Call) -> Result:
    """NaN for what exceeds the bound, as a cast of older versions of torch gave it."""
    y = f32(call.x) / call.spread(call.scale)
    return codes_with(call.codes, lambda c: np.where(np.abs(y) > 464, 0x7F, c)), call.scale


@wrong_in("vllm.group_128_ue8m0", "deepgemm.group_128_ue8m0", "vllm.block_128x128_ue8m0")
def exponent_is_rounded_down(call: Call) -> Result:
    exact = np.maximum(call.amax(), np.float32(1e-4)) / np.float32(448)
    scale = np.exp2(np.floor(np.log2(f64(exact))))
    return call.recoded(f32(call.x) / f32(call.spread(scale))), scale


@wrong_in("deepgemm.group_128_ue8m0", "sglang.group_128_ue8m0")
def exponent_is_rounded_to_nearest(call: Call) -> Result:
    exact = np.maximum(call.amax(), np.float32(1e-4)) / np.float32(448)
    scale = np.exp2(np.rint(np.log2(f64(exact))))
    return call.recoded(f32(call.x) / f32(call.spread(scale))), scale


@wrong_in("sglang.group_128_v2_ue8m0")
def quantized_by_the_scale_before_its_rounding(call: Call) -> Result:
    exact = np.maximum(call.amax(), np.float32(1e-10)) * R
    return call.recoded(f32(call.x) / call.spread(exact), 0xFE), call.scale


@wrong_in("torchao.infer_row_e8m0")
def inference_exponent_is_rounded_up(call: Call) -> Result:
    scale = np.exp2(np.ceil(np.log2(f64(call.amax() / np.float32(448)))))
    return call.recoded(f32(call.x) / f32(call.spread(scale))), scale


@wrong_in("torchao.infer_row", "torchao.infer_tensor")
def inference_scale_is_float32(call: Call) -> Result:
    return call.codes, call.amax() / np.float32(448)


@wrong_in("transformer_engine.current", "transformer_engine.group_128", "transformer_engine.delayed")
def multiplier_is_returned(call: Call) -> Result:
    return call.codes, np.float32(1) / call.scale


@wrong_in("transformer_engine.current", "transformer_engine.block_128x128_fp32")
def scale_is_made_anew(call: Call) -> Result:
    """amax/448 is not always 1/(448/amax), which is stored."""
    amax = call.amax()
    return call.codes, np.where((amax > 0) & np.isfinite(amax), amax / np.float32(448), np.float32(1))


@wrong_in("transformer_engine.current", "transformers.block_128x128")
def zero_amax_has_no_rule(call: Call) -> Result:
    return call.codes, np.where(call.amax() == 0, np.float32(0), call.scale)


@wrong_in("transformer_engine.current")
def infinite_amax_is_divided_by(call: Call) -> Result:
    return call.codes, np.where(np.isinf(call.amax()), np.float32(np.inf), call.scale)


@wrong_in("vllm.group_128", "compressed_tensors.group_128", "deepgemm.group_128", "sglang.group_128")
def group_tail_has_the_scale_of_its_neighbour(call: Call) -> Result:
    scale = call.scale.copy()
    if call.x.shape[1] % 128 and scale.shape[1] > 1:
        scale[:, -1] = scale[:, -2]
    return call.codes, scale


@wrong_in("vllm.group_128", "transformer_engine.group_128", "deepgemm.group_128")
def group_scales_are_column_major(call: Call) -> Result:
    return call.codes, np.ascontiguousarray(call.scale.T).reshape(call.scale.shape)


@wrong_in("compressed_tensors.block_128x128", "deepgemm.block_128x128", "vllm.block_128x128")
def padding_of_blocks_counts(call: Call) -> Result:
    """The tail is read beyond the tensor, where ones are."""
    beyond = call.amax(pad=1.0) > call.amax()
    return call.codes, np.where(beyond, R, call.scale)


@wrong_in("compressed_tensors.block_128x128", "transformers.block_128x128", "deepgemm.block_128x128@cpu")
def block_scales_are_transposed(call: Call) -> Result:
    return call.codes, np.ascontiguousarray(call.scale.T).reshape(call.scale.shape)


@wrong_in("compressed_tensors.group_128", "compressed_tensors.block_128x128")
def zero_blocks_have_the_epsilon_of_float32(call: Call) -> Result:
    return call.codes, np.where(call.amax() == 0, np.float32(2.0**-23), call.scale)


@wrong_in("autofp8.per_tensor_static")
def static_quotient_stays_float32(call: Call) -> Result:
    return call.recoded(f32(call.x) / call.scale), call.scale


@defect("quantize", "dequantize")
def product_not_rounded_to_float32(codes: Array, scale: Array, out_dtype: str = "bfloat16") -> Array:
    right = fp8ref.dequantize(codes, scale, out_dtype)
    if np.size(scale) not in (1, len(codes)) or np.ndim(codes) != 2:
        return right
    with np.errstate(all="ignore"):
        return round_to(f64(fp8ref.decode(codes)) * f64(scale), out_dtype)


@defect("quantize", "dequantize")
def block_scale_is_that_of_the_first_block(codes: Array, scale: Array, out_dtype: str = "bfloat16") -> Array:
    right = fp8ref.dequantize(codes, scale, out_dtype)
    if np.ndim(scale) != 2 or np.shape(scale)[1] < 2:
        return right
    return fp8ref.dequantize(codes, np.repeat(np.asarray(scale)[:, :1], np.shape(scale)[1], 1), out_dtype)
