# SPDX-License-Identifier: Apache-2.0
"""Quantization by named scale rules: each rule is a row of data, walked by one interpreter. spec/quantize.md"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import e4m3
from ._args import FLOAT8, SCALES, Array, choice, codes_array, describe, fail, float32_scale, float_array
from ._round import FORMATS, check_environment, round_to, widen

Float32 = NDArray[np.float32]

OP = "quantize"
OUT_DTYPES = ("float32", "bfloat16", "float16")
MINS = float(np.float32(1.0 / (448.0 * 512.0)))  # vLLM's smallest scale, 4.3596542e-06
BLOCK = 1 << 18  # elements worked on at once


@dataclass(frozen=True)
class Rule:
    """One scale rule. [QUANT-RULE] ``"input"`` as a type means the dtype T of the tensor that is quantized."""

    name: str
    source: str  # the upstream code and version whose bits these are
    granularity: str  # one scale per "row" or per "tensor"
    amax_nan: str  # a NaN element is "ignored" by amax, or it "propagates" into amax
    scale: str  # an expression out of SCALES_OF, or "given" by the caller
    scale_type: str  # the type that each step of that expression rounds to
    quantize: str  # an expression out of QUOTIENTS
    quantize_type: str  # the type that each step of that expression rounds to
    stored: str = "float32"  # the type of the scale as it is kept
    amax_floor: float = 0.0  # amax is at least this (rounded to scale_type)
    scale_floor: float = 0.0  # the scale is at least this
    zero_scale: str = "kept"  # a scale of 0 is "kept", or becomes the "epsilon" of scale_type
    empty_amax: float = 0.0  # amax of no elements [QUANT-EMPTY]
    nan_code: int = e4m3.NAN  # the code of a NaN quotient
    zero: str = "signed"  # -0 keeps its sign ("signed"), or a zero point is added and it does not ("positive")


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            name="vllm.per_token",
            source="vLLM 0.33.0, csrc/quantization/w8a8/fp8/common.cu: dynamic_per_token_scaled_fp8_quant",
            granularity="row",
            amax_nan="ignored",
            scale="amax/448",
            scale_type="float32",
            scale_floor=MINS,
            quantize="x/s",
            quantize_type="float32",
            nan_code=e4m3.LARGEST,
        ),
        Rule(
            name="vllm.per_tensor_static",
            source="vLLM 0.33.0, csrc/quantization/w8a8/fp8/common.cu: static_scaled_fp8_quant",
            granularity="tensor",
            amax_nan="ignored",
            scale="given",
            scale_type="float32",
            quantize="x*(1/s)",
            quantize_type="float32",
            nan_code=e4m3.LARGEST,
        ),
        Rule(
            name="compressed_tensors.channel",
            source="compressed-tensors 0.19.0, eager, as llm-compressor 0.14.0 writes weights (strategy channel)",
            granularity="row",
            amax_nan="propagates",
            scale="amax/448",
            scale_type="input",
            stored="input",
            zero_scale="epsilon",
            quantize="x/s",
            quantize_type="input",
            zero="positive",
        ),
        Rule(
            name="compressed_tensors.tensor",
            source="compressed-tensors 0.19.0, eager, as llm-compressor 0.14.0 writes weights (strategy tensor)",
            granularity="tensor",
            amax_nan="propagates",
            scale="amax/448",
            scale_type="input",
            stored="input",
            zero_scale="epsilon",
            quantize="x/s",
            quantize_type="input",
            zero="positive",
        ),
        Rule(
            name="autofp8.per_tensor",
            source="AutoFP8 505a7eda, auto_fp8/quantize.py: per_tensor_quantize",
            granularity="tensor",
            amax_nan="propagates",
            scale="1/((1/amax)*448)",
            scale_type="input",
            amax_floor=1e-12,
            empty_amax=16.0,
            quantize="x*a",
            quantize_type="input",
        ),
    )
}


# ---- steps, each one rounding ----------------------------------------------------------------------------------------


def _divide(x: Any, y: Any, name: str) -> Float32:
    """RN of x / y to the format ``name``, for x and y of that format, as float32. [QUANT-DIVIDE]

    Through float32 this is still one rounding: the quotient of two numbers of at most 11 bits is a midpoint of their
    format, or further from it than float32's rounding moves it (one part in 2**24; the same holds for subnormals).
    """
    return widen(round_to(np.divide(x, y, dtype=np.float32), name))


def _multiply(x: Any, y: Any, name: str) -> Float32:
    """RN of x * y to the format ``name``, as float32; the product of two 16-bit floats is exact in float64."""
    wide = np.float32 if name == "float32" else np.float64
    return widen(round_to(np.multiply(x, y, dtype=wide), name))


def _amax_over_448(amax: Float32, name: str) -> tuple[Float32, Float32 | None]:
    return _divide(amax, np.float32(448.0), name), None


def _reciprocal_times_448(amax: Float32, name: str) -> tuple[Float32, Float32 | None]:
    """The multiplier a = RN(RN(1 / amax) * 448) quantizes; its float32 reciprocal is the scale. [QUANT-AUTOFP8]"""
    multiplier = _multiply(_divide(np.float32(1.0), amax, name), np.float32(448.0), name)
    return _divide(np.float32(1.0), multiplier, "float32"), multiplier


# amax and a format -> the scale and, where the rule quantizes by one, the multiplier.
SCALES_OF: dict[str, Callable[[Float32, str], tuple[Float32, Float32 | None]]] = {
    "amax/448": _amax_over_448,
    "1/((1/amax)*448)": _reciprocal_times_448,
}

# x, the scale, the multiplier and a format -> the number that is encoded.
QUOTIENTS: dict[str, Callable[[Float32, Float32, Float32 | None, str], Float32]] = {
    "x/s": lambda x, s, a, name: _divide(x, s, name),
    "x*(1/s)": lambda x, s, a, name: _multiply(x, _divide(np.float32(1.0), s, name), name),
    "x*a": lambda x, s, a, name: _multiply(x, a, name),
}


# ---- the interpreter -------------------------------------------------------------------------------------------------


def _type(name: str, x: Array) -> str:
    return x.dtype.name if name == "input" else name


def _amax(x: Array, rule: Rule) -> Float32:
    """The largest magnitude, per row (rows, 1) or of all (). [QUANT-AMAX]"""
    step = max(1, BLOCK // max(x.shape[1], 1))
    amax = np.zeros((x.shape[0], 1), np.float32)
    for start in range(0, x.shape[0], step):
        part = slice(start, start + step)
        magnitude = np.abs(widen(x[part]))
        if rule.amax_nan == "ignored":  # not by np.fmax, which lets a signaling NaN through in some positions
            magnitude = np.where(np.isnan(magnitude), np.float32(0), magnitude)
        amax[part] = np.maximum.reduce(magnitude, axis=1, keepdims=True, initial=np.float32(0))
    if rule.granularity == "row":
        return amax
    return np.asarray(np.maximum.reduce(amax, None) if x.size else np.float32(rule.empty_amax))


def _scale(x: Array, rule: Rule) -> tuple[Float32, Float32 | None]:
    """Scale and multiplier of a dynamic rule. [QUANT-SCALE], [QUANT-ZERO-AMAX]"""
    name = _type(rule.scale_type, x)
    amax = np.maximum(_amax(x, rule), widen(round_to(np.asarray(rule.amax_floor), name)))
    scale, multiplier = SCALES_OF[rule.scale](amax, name)
    scale = np.maximum(scale, np.float32(rule.scale_floor))
    if rule.zero_scale == "epsilon":
        scale = np.where(scale == 0, np.float32(2.0 ** (1 - FORMATS[name].precision)), scale)
    return widen(round_to(scale, _type(rule.stored, x))), multiplier


def _codes(x: Array, rule: Rule, scale: Float32, multiplier: Float32 | None) -> NDArray[np.uint8]:
    """Codes of some rows. [QUANT-CODE], [QUANT-NAN], [QUANT-INF], [QUANT-MINUS-ZERO]"""
    y = QUOTIENTS[rule.quantize](widen(x), scale, multiplier, _type(rule.quantize_type, x))
    if rule.zero == "positive":
        y = y + np.float32(0.0)
    codes = e4m3.encode(y, "saturate").view(np.uint8)
    codes[np.isnan(y)] = rule.nan_code
    return codes


def quantize(x: Any, rule: str, scale: Any = None) -> tuple[Array, Float32]:
    """Codes and scale of a tensor by a named rule, so that ``code * scale`` is near ``x``.

    Args:
        x: bfloat16, float16 or float32; (rows, K) for rules with a scale per row, any shape of at least one
            dimension for rules with one scale per tensor.
        rule: a name out of ``RULES``, for example ``"vllm.per_token"``.
        scale: for ``"vllm.per_tensor_static"`` only: the float32 scale to use, one value, sign bit clear.

    Returns:
        ``(codes, scale)``: float8_e4m3fn of the shape of ``x``; float32 (rows, 1) or ().

    Raises:
        OpError: an unknown rule, a wrong dtype or shape, a scale that is missing or not asked for.

    Example:
        >>> import numpy as np
        >>> codes, scale = quantize(np.array([[448.0, 1.0]], np.float32), rule="vllm.per_token")
        >>> codes.view("uint8").tolist(), scale.tolist()
        ([[126, 56]], [[1.0]])

    Source: each rule's ``source``.
    """
    check_environment(OP)
    row = RULES[choice(OP, "rule", rule, RULES)]
    array = float_array(OP, "x", x)
    if array.dtype not in SCALES:
        raise fail(OP, f"x must be bfloat16, float16 or float32, got {describe(array)}")
    if array.ndim != 2 if row.granularity == "row" else array.ndim == 0:
        wanted = "be (rows, K)" if row.granularity == "row" else "have at least one dimension"
        raise fail(OP, f"x must {wanted} for rule {rule!r}, got {describe(array)}")
    if (row.scale == "given") != (scale is not None):
        raise fail(OP, f"rule {rule!r} {'needs' if scale is None else 'computes its own'} scale")
    flat = array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
    with np.errstate(all="ignore"):
        multiplier: Float32 | None = None
        if scale is None:
            kept, multiplier = _scale(flat, row)
        else:
            kept = float32_scale(OP, "scale", scale)  # [QUANT-STATIC-SCALE]
        codes = np.empty(flat.shape, np.uint8)
        step = max(1, BLOCK // max(flat.shape[1], 1))
        for start in range(0, flat.shape[0], step):
            part = slice(start, start + step)
            codes[part] = _codes(flat[part], row, kept[part] if kept.ndim else kept, multiplier)
    return codes.reshape(array.shape).view(FLOAT8), kept


def dequantize(codes: Any, scale: Any, out_dtype: str = "bfloat16") -> Array:
    """``RN_out(RN32(code * scale))``. [QUANT-DEQUANTIZE]

    Args:
        codes: float8_e4m3fn or uint8 of any shape.
        scale: one float32 value, or (rows, 1) for codes (rows, K); sign bit clear.
        out_dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Returns:
        Array of ``out_dtype`` with the shape of ``codes``; NaN codes give the canonical NaN.

    Raises:
        OpError: wrong dtypes or shapes, or a scale whose sign bit is set.

    Example:
        >>> import numpy as np
        >>> dequantize(np.array([[0x38, 0x7E]], np.uint8), 0.5).tolist()
        [[0.5, 224.0]]
    """
    check_environment("dequantize")
    choice("dequantize", "out_dtype", out_dtype, OUT_DTYPES)
    array = codes_array("dequantize", "codes", codes)
    factor = float32_scale("dequantize", "scale", scale, array.shape[0] if array.ndim == 2 else None)
    with np.errstate(all="ignore"):
        return round_to(e4m3.decode(array) * factor, out_dtype)
