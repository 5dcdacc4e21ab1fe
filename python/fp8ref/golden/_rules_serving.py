# SPDX-License-Identifier: Apache-2.0
"""Scale rules of serving engines and their kernels: vLLM, SGLang, DeepGEMM, DeepSeek-V3. Data only. [QUANT-RULE]"""

from __future__ import annotations

from dataclasses import replace

from ._rule import LARGEST, MINS, SMALLEST, Rule

_VLLM, _VLLM_0_11 = "vLLM 0.33.0", "vLLM 0.11.0"
_SGLANG = "SGLang 0.5.10.post1"
_DEEPGEMM = "DeepGEMM 54e22612"
_DEEPSEEK = "DeepSeek-V3 9b4e9788"
_COMMON = "csrc/quantization/w8a8/fp8/common.cu"
_GROUP = "csrc/quantization/w8a8/fp8/per_token_group_quant.cu"
_NATIVE = "model_executor/layers/quantization/input_quant_fp8.py: QuantFP8.forward_native, on CUDA"

_per_tensor = Rule(
    "vllm.per_tensor",
    _VLLM,
    f"{_COMMON}: dynamic_scaled_fp8_quant",
    "tensor",
    quantize="x*(1/s)",
    nan_code=LARGEST,
)
_native = Rule(
    "vllm.per_token_native",
    _VLLM,
    _NATIVE,
    "row",
    amax_nan="propagates",
    upper_bound="amax",
    scale="amax*(1/448)",
    scale_floor=MINS,
    quantize="x*(1/s)",
)
_group = Rule("vllm.group_128", _VLLM, _GROUP, "group", amax_floor=1e-10, quantize="x*(1/s)", nan_code=SMALLEST)
_triton = Rule(
    "vllm.group_128_triton",
    _VLLM,
    "quantization/utils/fp8_utils.py: _per_token_group_quant_fp8 (Triton, x not contiguous)",
    "group",
    amax_floor=1e-10,
    scale="amax*(1/448)",
)
_cast_block = Rule(
    "vllm.block_128x128",
    _VLLM,
    "utils/deep_gemm.py: per_block_cast_to_fp8, on CUDA (weights quantized at loading)",
    "block",
    amax_nan="propagates",
    amax_floor=1e-4,
    scale="amax*(1/448)",
    quantize="x*(1/s)",
)

VLLM = (
    Rule(
        "vllm.per_token",
        _VLLM,
        f"{_COMMON}: dynamic_per_token_scaled_fp8_quant",
        "row",
        upper_bound="amax",
        scale_floor=MINS,
        nan_code=LARGEST,
    ),
    _per_tensor,
    replace(
        _per_tensor,
        name="vllm.per_tensor_static",
        source=f"{_COMMON}: static_scaled_fp8_quant",
        scale="given",
    ),
    _native,
    replace(_native, name="vllm.per_tensor_native", granularity="tensor", upper_bound="none"),
    _group,
    replace(_group, name="vllm.group_128@0.11", version=_VLLM_0_11, quantize="x/s"),
    replace(_group, name="vllm.group_128_ue8m0", scale_floor=1e-10, power="log2 up"),
    Rule(
        "vllm.group_128_native",
        _VLLM,
        _NATIVE,
        "group",
        amax_nan="propagates",
        scale="amax*(1/448)",
        scale_floor=MINS,
    ),
    _triton,
    replace(_triton, name="vllm.group_128_triton_ue8m0", power="log2 up"),
    Rule(
        "vllm.group_128_rms_norm",
        _VLLM,
        "rms_norm_per_block_quant, its quantizing end",
        "group",
        upper_bound="amax",
        scale_floor=MINS,
        quantize="x*(1/s)",
        nan_code=LARGEST,
    ),
    Rule(
        "vllm.group_128_silu_mul",
        _VLLM,
        "silu_and_mul_per_block_quant, its quantizing end (x is fp32 there)",
        "group",
        upper_bound="scale",
        scale_floor=MINS,
        nan_code=LARGEST,
    ),
    _cast_block,
    replace(_cast_block, name="vllm.block_128x128_ue8m0", power="log2 up"),
    Rule("vllm.kv_cache", _VLLM, "reshape_and_cache, CUDA (store with k_scale, v_scale)", "tensor", scale="given"),
    Rule(
        "vllm.kv_cache_per_token_head",
        _VLLM,
        "KV-cache store per token and head (a row is one head of one token)",
        "row",
        scale_floor=1e-6,
        quantize="x*(1/s)",
    ),
)

_token = Rule(
    "sglang.per_token",
    _SGLANG,
    "sgl_per_token_quant_fp8, the kernel for small batches",
    "row",
    quantize="x*(1/s)",
    nan_code=LARGEST,
)
_jit = Rule(
    "sglang.group_128",
    _SGLANG,
    "per_token_group_quant_8bit, jit CUDA",
    "group",
    amax_floor=1e-10,
    nan_code=SMALLEST,
)
_v2 = Rule(
    "sglang.group_128_v2",
    _SGLANG,
    "per_token_group_quant_8bit_v2, CUDA",
    "group",
    amax_floor=1e-10,
    scale="amax*(1/448), 448/amax",
    quantize="x*a",
    nan_code=SMALLEST,
)

SGLANG = (
    _token,
    replace(
        _token,
        name="sglang.per_token@large_batch",
        source="sgl_per_token_quant_fp8, the kernel for large batches",
        quantize="x*(1/s), 1/0 is 0",
    ),
    replace(_token, name="sglang.per_tensor", source="sgl_per_tensor_quant_fp8", granularity="tensor"),
    Rule(
        "sglang.per_tensor_torch",
        _SGLANG,
        "input_to_float8",
        "tensor",
        amax_nan="propagates",
        amax_floor=1e-12,
        scale="1/((1/amax)*448)",
        quantize="x*a",
    ),
    _jit,
    replace(_jit, name="sglang.group_128_ue8m0", scale_floor=1e-10, power="log2 up"),
    Rule(
        "sglang.group_128_triton",
        _SGLANG,
        "_per_token_group_quant_8bit, Triton",
        "group",
        amax_floor=1e-10,
        quantize="x*(1/s)",
    ),
    _v2,
    replace(_v2, name="sglang.group_128_v2_ue8m0", scale="amax*(1/448)", power="up", quantize="x*(1/s)"),
)

_cast_token = Rule(
    "deepgemm.group_128",
    _DEEPGEMM,
    "per_token_cast_to_fp8, on CUDA",
    "group",
    amax_nan="propagates",
    amax_floor=1e-4,
    scale="amax*(1/448)",
    quantize="x*(1/s)",
)
_cast_weight = replace(
    _cast_token, name="deepgemm.block_128x128", source="per_block_cast_to_fp8, on CUDA", granularity="block"
)
_act = Rule("deepseek_v3.group_128", _DEEPSEEK, "inference/kernel.py: act_quant (Triton)", "group", amax_floor=1e-4)

DEEPSEEK = (
    _cast_token,
    replace(_cast_token, name="deepgemm.group_128@cpu", source="per_token_cast_to_fp8, on a CPU", scale="amax/448"),
    replace(_cast_token, name="deepgemm.group_128_ue8m0", power="up, finite"),
    replace(
        _cast_token,
        name="deepgemm.group_128_ue8m0@2026-03",
        version="DeepGEMM before 7f2a703 (2026-04-17)",
        power="log2 up",
    ),
    _cast_weight,
    replace(
        _cast_weight, name="deepgemm.block_128x128@cpu", source="per_block_cast_to_fp8, on a CPU", scale="amax/448"
    ),
    replace(_cast_weight, name="deepgemm.block_128x128_ue8m0", power="up, finite"),
    _act,
    replace(_act, name="deepseek_v3.group_128_ue8m0", power="log2 up"),
)
