# SPDX-License-Identifier: Apache-2.0
"""Scale rules of libraries that write checkpoints, train or quantize on the fly. Data only. [QUANT-RULE]"""

from __future__ import annotations

from dataclasses import replace

from ._rule import MINS, Rule

_CT_OLD = "compressed-tensors 0.12 (before 84712640, 2025-11-10)"
_AUTOFP8 = "AutoFP8 505a7eda"
_FBGEMM = "FBGEMM 71d6f8b2"
_TRANSFORMERS = "transformers 5.23.0"
_ENGINE = "Transformer Engine d0067d0d"
_TORCHAO = "torchao 36027d82"

_channel = Rule(
    "compressed_tensors.channel",
    "compressed-tensors 0.19.0",
    "calculate_qparams and lifecycle/forward.py, eager, as llm-compressor 0.14.0 writes weights (strategy channel)",
    "row",
    amax_nan="propagates",
    scale_type="input",
    zero_scale="epsilon",
    quantize_type="input",
    zero="positive",
)
_tensor = replace(
    _channel,
    name="compressed_tensors.tensor",
    source="calculate_qparams and lifecycle/forward.py, eager (strategy tensor)",
    granularity="tensor",
)
_block = replace(
    _channel,
    name="compressed_tensors.block_128x128",
    source="calculate_qparams and lifecycle/forward.py, eager (strategy block)",
    granularity="block",
)


def _on_gpu(rule: Rule) -> Rule:
    """The quotient is float32, so that the code is the only rounding after it."""
    version, source = "compressed-tensors 0.20.0", "_quantize_triton (tl.div_rn), on a GPU"
    return replace(rule, name=f"{rule.name}@gpu", version=version, source=source, quantize_type="float32")


def _before_zero_rule(rule: Rule) -> Rule:
    """The scale was clamped to the epsilon of float32, whatever T is."""
    return replace(rule, name=f"{rule.name}@0.12", version=_CT_OLD, zero_scale="kept", scale_floor=2.0**-23)


COMPRESSED_TENSORS = (
    _channel,
    _tensor,
    replace(
        _channel,
        name="compressed_tensors.token",
        source="calculate_qparams and lifecycle/forward.py, eager (dynamic activations, strategy token)",
    ),
    replace(
        _channel,
        name="compressed_tensors.group_128",
        source="calculate_qparams and lifecycle/forward.py, eager (dynamic activations, strategy group)",
        granularity="group",
    ),
    _block,
    _on_gpu(_channel),
    _on_gpu(_tensor),
    _on_gpu(_block),
    _before_zero_rule(_channel),
    _before_zero_rule(_tensor),
    replace(
        _channel,
        name="llm_compressor.mse_channel",
        version="llm-compressor 0.14.0",
        source="observers/mse_quant.py: _grid_search_mse, eager, then compressed-tensors (strategy channel)",
        search="mse",
    ),
    replace(
        _tensor,
        name="llm_compressor.mse_tensor",
        version="llm-compressor 0.14.0",
        source="observers/mse_quant.py: _grid_search_mse, eager, then compressed-tensors (strategy tensor)",
        search="mse",
    ),
)

AUTOFP8 = (
    Rule(
        "autofp8.per_tensor",
        _AUTOFP8,
        "auto_fp8/quantize.py: per_tensor_quantize",
        "tensor",
        amax_nan="propagates",
        amax_type="input",
        amax_floor=1e-12,
        empty_amax=16.0,
        scale="1/((1/amax)*448)",
        scale_type="input",
        quantize="x*a",
        quantize_type="input",
    ),
    Rule(
        "autofp8.per_tensor_static",
        _AUTOFP8,
        "auto_fp8/quantize.py: static_per_tensor_quantize",
        "tensor",
        scale="given",
        quantize_type="input",
    ),
)

_cuda_row = Rule("fbgemm.per_row", _FBGEMM, "quantize_fp8_per_row (CUDA)", "row", upper_bound="amax", scale_floor=MINS)

FBGEMM = (
    _cuda_row,
    replace(_cuda_row, name="fbgemm.per_tensor", source="quantize_fp8_per_tensor (CUDA)", granularity="tensor"),
    Rule(
        "fbgemm.per_row_triton",
        _FBGEMM,
        "quantize_fp8_row (Triton)",
        "row",
        amax_floor=1e-12,
        upper_bound="amax",
        scale="1/(448/amax)",
        quantize="x*a",
    ),
    Rule(
        "fbgemm.per_row_torch",
        _FBGEMM,
        "quantize_fp8_row (torch fallback, CPU)",
        "row",
        amax_nan="propagates",
        amax_type="input",
        amax_floor=1e-12,
        upper_bound="amax",
        scale="1/((1/amax)*448)",
        infinite_multiplier="one",
        quantize="x*a",
    ),
)

_fine = Rule(
    "transformers.block_128x128",
    _TRANSFORMERS,
    "integrations/finegrained_fp8.py: Fp8Quantize",
    "block",
    amax_nan="propagates",
    scale="1/((1/amax)*448)",
    unit_amax="zero or NaN",
    quantize="x*a",
)

TRANSFORMERS = (
    _fine,
    replace(
        _fine,
        name="transformers.block_128x128_ue8m0",
        scale_floor=2.0**-126,
        power="log2 up, no infinity",
        quantize="x*(1/s)",
    ),
    Rule(
        "transformers.group_128@4.57",
        "transformers 4.57.1",
        "integrations/finegrained_fp8.py: act_quant (Triton)",
        "group",
    ),
)

_current = Rule(
    "transformer_engine.current",
    _ENGINE,
    "recipe: current scaling; compute_scale_from_amax (amax_epsilon 0)",
    "tensor",
    scale="1/(448/amax)",
    unit_amax="zero or infinite",
    infinite_multiplier="largest float32",
    quantize="x*a",
)
_te_group = replace(
    _current,
    name="transformer_engine.group_128",
    source="recipe: block scaling, 1 x 128 (powers of two, the default)",
    granularity="group",
    infinite_multiplier="largest input",
    power="down",
)
_te_block = replace(
    _te_group,
    name="transformer_engine.block_128x128",
    source="recipe: block scaling, 128 x 128 (powers of two, the default)",
    granularity="block",
)


def _fp32_scales(rule: Rule) -> Rule:
    source = "recipe: block scaling with NVTE_FP8_BLOCK_SCALING_FP32_SCALES=1"
    return replace(rule, name=f"{rule.name}_fp32", source=source, power="none")


TRANSFORMER_ENGINE = (
    _current,
    replace(_current, name="transformer_engine.current_pow2", power="down"),
    Rule(
        "transformer_engine.delayed",
        _ENGINE,
        "recipe: delayed scaling (the multiplier of earlier amaxes is given)",
        "tensor",
        scale="given multiplier",
        quantize="x*a",
    ),
    _te_group,
    _fp32_scales(_te_group),
    _te_block,
    _fp32_scales(_te_block),
)

_train = Rule(
    "torchao.train_tensor",
    _TORCHAO,
    "float8/float8_utils.py: amax_to_scale",
    "tensor",
    amax_nan="propagates",
    amax_type="float64",
    amax_floor=1e-12,
    scale="1/((1/amax)*448)",
    scale_type="float64",
    quantize="x*a",
)
_infer = Rule(
    "torchao.infer_tensor",
    _TORCHAO,
    "quantization/quant_primitives.py: _choose_scale_float8 (torch)",
    "tensor",
    amax_nan="propagates",
    scale_type="input",
)

TORCHAO = (
    _train,
    replace(_train, name="torchao.train_row", granularity="row"),
    replace(_train, name="torchao.train_tensor_pow2", power="log2 down"),
    replace(_train, name="torchao.train_row_pow2", granularity="row", power="log2 down"),
    _infer,
    replace(_infer, name="torchao.infer_row", granularity="row"),
    replace(_infer, name="torchao.infer_row_e8m0", granularity="row", power="log2 nearest"),
)
