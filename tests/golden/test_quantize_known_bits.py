# SPDX-License-Identifier: Apache-2.0
"""The published disagreements between systems, as bits: the smallest inputs that show each of them, and zero rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fp8ref
from bits import BF16, assert_same_bits, from_bits, pattern
from fp8ref.golden.quantize import quantize
from inputs.quantize import DOUBLE_ROUNDING_TRAP, RECIPROCAL_TRAP

FP16, FP32 = np.dtype(np.float16), np.dtype(np.float32)
AMAX = {name: 1 + k / 128 for name, k in (("1.015625", 2), ("1.0234375", 3), ("1.046875", 6))}

# What it shows: rule, dtype, x, other arguments, codes, scale.
KNOWN: dict[str, tuple[str, np.dtype, list[float], dict[str, float], list[int], int]] = {
    # x/s is the tie 1.3125, x*(1/s) is 1.3125001.
    "x/s, not x*(1/s)": ("vllm.per_token", BF16, [*RECIPROCAL_TRAP], {}, [0x7E, 0x3A], 0x3B1DB6DB),
    "x*(1/s), not x/s": ("vllm.group_128", BF16, [*RECIPROCAL_TRAP], {}, [0x7E, 0x3B], 0x3B1DB6DB),
    "x/s in version 0.11": ("vllm.group_128@0.11", BF16, [*RECIPROCAL_TRAP], {}, [0x7E, 0x3A], 0x3B1DB6DB),
    "amax/448, not amax*R": ("vllm.per_token", BF16, [AMAX["1.015625"]], {}, [0x7E], 0x3B149249),
    "amax*R, not amax/448": ("vllm.per_token_native", BF16, [AMAX["1.015625"]], {}, [0x7E], 0x3B14924A),
    "amax*R on a GPU": ("deepgemm.group_128", BF16, [AMAX["1.015625"]], {}, [0x7E], 0x3B14924A),
    "amax/448 on a CPU": ("deepgemm.group_128@cpu", BF16, [AMAX["1.015625"]], {}, [0x7E], 0x3B149249),
    "amax/448, not 1/(448/amax)": ("vllm.per_token", BF16, [AMAX["1.0234375"]], {}, [0x7E], 0x3B15B6DB),
    "1/(448/amax), not amax/448": ("fbgemm.per_row_triton", BF16, [AMAX["1.0234375"]], {}, [0x7E], 0x3B15B6DC),
    "one rounding": ("vllm.per_token", BF16, [*DOUBLE_ROUNDING_TRAP], {}, [0x7E, 0x6D], 0x391EDB6E),
    "bf16 quotient first": ("compressed_tensors.channel", BF16, [*DOUBLE_ROUNDING_TRAP], {}, [0x7E, 0x6E], 0x391F0000),
    "fp32 quotient of a bf16 scale": (
        "compressed_tensors.channel@gpu",
        BF16,
        [*DOUBLE_ROUNDING_TRAP],
        {},
        [0x7E, 0x6D],
        0x391F0000,
    ),
    "the bound is on amax": ("vllm.group_128_rms_norm", BF16, [2000.0], {"scale_ub": 1200.0}, [0x7E], 0x402B6DB7),
    "the bound is on the scale": ("vllm.group_128_silu_mul", BF16, [2000.0], {"scale_ub": 1200.0}, [0x7E], 0x408EDB6E),
    "round(log2), not ceil": ("torchao.infer_row_e8m0", BF16, [1.0], {}, [0x7E], 0x3B000000),
    "ceil": ("deepgemm.group_128_ue8m0", BF16, [1.0], {}, [0x78], 0x3B800000),
    "NaN is 448": ("vllm.per_token", BF16, [np.nan, 1.0], {}, [0x7E, 0x7E], 0x3B124925),
    "NaN is -448": ("vllm.group_128", BF16, [np.nan, 1.0], {}, [0xFE, 0x7E], 0x3B124925),
    "NaN stays": ("fbgemm.per_row", BF16, [np.nan, 1.0], {}, [0x7F, 0x7E], 0x3B124925),
    "NaN takes the row": ("compressed_tensors.channel", BF16, [np.nan, 1.0], {}, [0x7F, 0x7F], 0x7FC00000),
    "NaN makes the scale 1": ("transformers.block_128x128", BF16, [np.nan, 2.0], {}, [0x7F, 0x40], 0x3F800000),
    "+-Inf is 448": ("vllm.per_token", BF16, [-np.inf, np.inf, -1.0], {}, [0x7E, 0x7E, 0x80], 0x7F800000),
    "+-Inf is NaN": (
        "compressed_tensors.channel",
        BF16,
        [-np.inf, np.inf, -1.0],
        {},
        [0x7F, 0x7F, 0x00],
        0x7F800000,
    ),
    "fp16 multiplier overflows": ("autofp8.per_tensor", FP16, [0.005, 0.001], {}, [0x7E, 0x7E], 0x00000000),
    "a scale of 2**127": ("deepgemm.group_128_ue8m0", FP32, [np.inf, 1.0], {}, [0x7E, 0x00], 0x7F000000),
}
# The same for rows of 0 and -0.
ZERO: dict[str, tuple[np.dtype, list[int], int]] = {
    "vllm.per_token": (BF16, [0x00, 0x80], 0x36924925),  # 1 / (448 * 512)
    "vllm.per_token_native": (BF16, [0x00, 0x80], 0x36924925),
    "vllm.per_tensor": (BF16, [0x7E, 0x7E], 0x00000000),
    "vllm.per_tensor_native": (BF16, [0x00, 0x80], 0x36924925),
    "vllm.group_128": (BF16, [0x00, 0x80], 0x2A7B5123),  # 1e-10 / 448
    "vllm.group_128@0.11": (BF16, [0x00, 0x80], 0x2A7B5123),
    "vllm.group_128_ue8m0": (BF16, [0x00, 0x80], 0x2F000000),  # 2**-33
    "vllm.group_128_native": (BF16, [0x00, 0x80], 0x36924925),
    "vllm.group_128_triton_ue8m0": (BF16, [0x00, 0x80], 0x2A800000),  # 2**-42
    "vllm.group_128_rms_norm": (BF16, [0x00, 0x80], 0x36924925),
    "vllm.group_128_silu_mul": (BF16, [0x00, 0x80], 0x36924925),
    "vllm.block_128x128": (BF16, [0x00, 0x80], 0x346FACAD),
    "vllm.kv_cache_per_token_head": (BF16, [0x00, 0x80], 0x358637BD),  # 1e-6
    "compressed_tensors.channel": (BF16, [0x00, 0x00], 0x3C000000),  # 2**-7
    "compressed_tensors.tensor": (FP16, [0x00, 0x00], 0x3A800000),  # 2**-10
    "compressed_tensors.token": (FP32, [0x00, 0x00], 0x34000000),  # 2**-23
    "compressed_tensors.channel@0.12": (BF16, [0x00, 0x00], 0x34000000),
    "compressed_tensors.channel@gpu": (BF16, [0x00, 0x00], 0x3C000000),
    "autofp8.per_tensor": (BF16, [0x00, 0x80], 0x27216B31),  # about 1e-12 / 448
    "fbgemm.per_row": (BF16, [0x00, 0x80], 0x36924925),
    "fbgemm.per_tensor": (BF16, [0x00, 0x80], 0x36924925),
    "fbgemm.per_row_triton": (BF16, [0x00, 0x80], 0x2720D7C5),  # 1e-12 / 448
    "transformers.block_128x128": (BF16, [0x00, 0x80], 0x3F800000),
    "transformers.group_128@4.57": (BF16, [0x7F, 0x7F], 0x00000000),
    "transformer_engine.current": (BF16, [0x00, 0x80], 0x3F800000),
    "transformer_engine.group_128": (BF16, [0x00, 0x80], 0x3F800000),
    "transformer_engine.block_128x128": (BF16, [0x00, 0x80], 0x3F800000),
    "torchao.train_row": (BF16, [0x00, 0x80], 0x2720D7C5),  # the multiplier is 4.48e14
    "torchao.infer_row": (BF16, [0x7F, 0x7F], 0x00000000),
    "deepgemm.group_128": (BF16, [0x00, 0x80], 0x346FACAD),  # 1e-4 / 448
    "deepgemm.block_128x128": (BF16, [0x00, 0x80], 0x346FACAD),
    "deepseek_v3.group_128": (BF16, [0x00, 0x80], 0x346FACAD),
    "sglang.per_token": (BF16, [0x7E, 0x7E], 0x00000000),
    "sglang.per_token@large_batch": (BF16, [0x00, 0x80], 0x00000000),
    "sglang.per_tensor": (BF16, [0x7E, 0x7E], 0x00000000),
    "sglang.group_128": (BF16, [0x00, 0x80], 0x2A7B5123),
    "sglang.group_128_ue8m0": (BF16, [0x00, 0x80], 0x2F000000),
    "sglang.group_128_v2": (BF16, [0x00, 0x80], 0x2A7B5124),
}

# Every path of the systems that the registry covers, and the rules that say what it does.
PATHS = {
    "vLLM static": ("vllm.per_tensor_static",),
    "vLLM dynamic tensor": ("vllm.per_tensor",),
    "vLLM dynamic token": ("vllm.per_token",),
    "vLLM native": ("vllm.per_token_native", "vllm.per_tensor_native", "vllm.group_128_native"),
    "vLLM group": ("vllm.group_128", "vllm.group_128_ue8m0"),
    "vLLM group of 0.11": ("vllm.group_128@0.11",),
    "vLLM group, Triton": ("vllm.group_128_triton", "vllm.group_128_triton_ue8m0"),
    "vLLM fused": ("vllm.group_128_rms_norm", "vllm.group_128_silu_mul"),
    "vLLM online blocks": ("vllm.block_128x128", "vllm.block_128x128_ue8m0"),
    "vLLM KV store": ("vllm.kv_cache", "vllm.kv_cache_per_token_head"),
    "compressed-tensors eager": (
        "compressed_tensors.channel",
        "compressed_tensors.tensor",
        "compressed_tensors.token",
        "compressed_tensors.group_128",
        "compressed_tensors.block_128x128",
    ),
    "compressed-tensors GPU": (
        "compressed_tensors.channel@gpu",
        "compressed_tensors.tensor@gpu",
        "compressed_tensors.block_128x128@gpu",
    ),
    "compressed-tensors before 2025-11": ("compressed_tensors.channel@0.12", "compressed_tensors.tensor@0.12"),
    "llm-compressor": ("llm_compressor.mse_channel", "llm_compressor.mse_tensor"),
    "AutoFP8": ("autofp8.per_tensor", "autofp8.per_tensor_static"),
    "FBGEMM CUDA": ("fbgemm.per_row", "fbgemm.per_tensor"),
    "FBGEMM Triton": ("fbgemm.per_row_triton",),
    "FBGEMM torch": ("fbgemm.per_row_torch",),
    "Hugging Face finegrained weights": ("transformers.block_128x128", "transformers.block_128x128_ue8m0"),
    "Hugging Face act_quant of 4.57": ("transformers.group_128@4.57",),
    "Transformer Engine tensor": (
        "transformer_engine.current",
        "transformer_engine.current_pow2",
        "transformer_engine.delayed",
    ),
    "Transformer Engine block": (
        "transformer_engine.group_128",
        "transformer_engine.block_128x128",
        "transformer_engine.group_128_fp32",
        "transformer_engine.block_128x128_fp32",
    ),
    "torchao training": (
        "torchao.train_tensor",
        "torchao.train_row",
        "torchao.train_tensor_pow2",
        "torchao.train_row_pow2",
    ),
    "torchao inference": ("torchao.infer_tensor", "torchao.infer_row", "torchao.infer_row_e8m0"),
    "DeepGEMM": (
        "deepgemm.group_128",
        "deepgemm.group_128@cpu",
        "deepgemm.group_128_ue8m0",
        "deepgemm.group_128_ue8m0@2026-03",
        "deepgemm.block_128x128",
        "deepgemm.block_128x128@cpu",
        "deepgemm.block_128x128_ue8m0",
    ),
    "DeepSeek act_quant": ("deepseek_v3.group_128", "deepseek_v3.group_128_ue8m0"),
    "SGLang token": ("sglang.per_token", "sglang.per_token@large_batch"),
    "SGLang tensor": ("sglang.per_tensor", "sglang.per_tensor_torch"),
    "SGLang group": ("sglang.group_128", "sglang.group_128_ue8m0", "sglang.group_128_triton"),
    "SGLang group v2": ("sglang.group_128_v2", "sglang.group_128_v2_ue8m0"),
}
MANTISSAS = 1 + np.arange(128) / 128


def _check(rule: str, x: Any, arguments: dict[str, float], codes: list[int], scale: int) -> None:
    given = {name: np.float32(value) for name, value in arguments.items()}
    got, stored = quantize(x, rule, **given)
    assert_same_bits(got.ravel(), from_bits(codes, got.dtype))
    assert_same_bits(stored.ravel(), from_bits([scale], np.float32))


@pytest.mark.parametrize("shown", KNOWN, ids=str)
def test_known_bits(shown):
    rule, dtype, x, arguments, codes, scale = KNOWN[shown]
    _check(rule, np.array([x], np.float32).astype(dtype), arguments, codes, scale)


@pytest.mark.parametrize("rule", ZERO, ids=lambda rule: f"zero row {rule}")
def test_zero_rows(rule):
    dtype, codes, scale = ZERO[rule]
    _check(rule, np.array([[0.0, -0.0]], np.float32).astype(dtype), {}, codes, scale)


def test_every_path_has_its_rules_and_every_rule_its_path():
    known = {rule.name for rule in fp8ref.rules()}
    named = [rule for rules in PATHS.values() for rule in rules]
    assert {path for path, rules in PATHS.items() if not set(rules) <= known} == set()
    assert len(named) == len(set(named))
    assert set(named) == known


def _scales(rule: str, amax: Any, dtype: np.dtype = BF16) -> np.ndarray:
    """The scale that each amax has, alone."""
    return np.array([quantize(np.array([[a]]).astype(np.float32).astype(dtype), rule)[1].item() for a in amax])


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        ("vllm.per_token", "vllm.per_token_native", 71),  # amax/448 and amax*R
        ("vllm.per_token", "fbgemm.per_row_triton", 40),  # amax/448 and 1/(448/amax)
        ("vllm.per_token", "transformers.block_128x128", 55),  # amax/448 and 1/((1/amax)*448)
        ("deepgemm.group_128_ue8m0", "deepgemm.group_128_ue8m0@2026-03", 0),
        ("deepgemm.group_128_ue8m0", "vllm.group_128_ue8m0", 0),
        ("deepgemm.group_128_ue8m0", "transformers.block_128x128_ue8m0", 0),
        ("deepgemm.group_128_ue8m0", "transformer_engine.group_128", 0),
    ],
)
def test_how_many_of_the_128_mantissas_have_another_scale(one, other, count):
    assert np.count_nonzero(_scales(one, MANTISSAS) != _scales(other, MANTISSAS)) == count


@pytest.mark.parametrize(("dtype", "count"), [(FP32, 62), (FP16, 61), (BF16, 59)], ids=str)
def test_round_of_log2_is_not_its_ceil(dtype, count):
    """In 16 bits the logarithm is rounded before round() sees it, which moves some of the mantissas back."""
    one, other = (_scales(rule, MANTISSAS, dtype) for rule in ("deepgemm.group_128_ue8m0", "torchao.infer_row_e8m0"))
    assert np.count_nonzero(one != other) == count


def test_448_over_amax_is_one_rounding_or_two():
    """33 of 128 mantissas have another multiplier; 1.046875 is the first."""
    amax = MANTISSAS.astype(np.float32)
    once, twice = np.float32(448) / amax, np.float32(448) * (np.float32(1) / amax)
    assert np.count_nonzero(once != twice) == 33
    assert AMAX["1.046875"] == amax[once != twice][0]


@pytest.mark.parametrize(("power", "count"), [(-8, 1), (-10, 2), (-20, 5)])
def test_ceil_of_a_rounded_log2_loses_floats_above_a_power_of_two(power, count):
    """So many floats above 2**power have 2**power by log2, and 2**(power+1) by their bits."""
    start = int(pattern(np.float32(448 * 2.0**power)))
    amax = from_bits(np.arange(start - 8, start + 24), np.float32)
    exact = _scales("deepgemm.group_128", amax, FP32)
    by_bits, by_log2 = (_scales(f"deepgemm.group_128_ue8m0{version}", amax, FP32) for version in ("", "@2026-03"))
    lost = np.unique(exact[by_bits != by_log2].astype(np.float32))
    above = from_bits(int(pattern(np.float32(2.0**power))) + 1 + np.arange(count), np.float32)
    assert_same_bits(lost, above)


@pytest.mark.parametrize(("least", "count"), [(2.0**-9, 76), (0.0, 140)])
def test_the_reciprocal_moves_codes(least, count):
    """Pairs of bf16 (amax, x) with amax in [1, 2) and least <= x <= amax whose code is another by x*(1/s)."""
    x = from_bits(np.arange(0x4000), BF16)
    found = 0
    for amax in MANTISSAS.astype(BF16):
        row = np.append(amax, x[(x >= least) & (x <= amax)])[None]
        divided, scale = quantize(row, "vllm.per_token")
        multiplied, _ = quantize(row, "vllm.per_tensor_static", scale[0, 0])
        found += np.count_nonzero(pattern(divided) != pattern(multiplied))
    assert found == count
