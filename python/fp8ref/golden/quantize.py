# SPDX-License-Identifier: Apache-2.0
"""Quantization by named scale rules: each rule is a row of data, walked by one interpreter. spec/quantize.md"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _mse, e4m3
from ._args import FLOAT8, SCALES, Array, choice, codes_array, describe, fail, float32_scale, float_array, scale_array
from ._round import check_environment, round_to, widen
from ._rule import Rule
from ._rule_steps import (
    INFINITE,
    POWERS,
    SCALES_OF,
    TILE,
    UNIT_AMAX,
    Number,
    Scale,
    amax,
    codes_of,
    reciprocal,
    spread,
    strips,
    type_of,
)
from ._rules import RULES

Float32 = NDArray[np.float32]

OP = "quantize"
OUT_DTYPES = ("float32", "bfloat16", "float16")


# ---- the interpreter -------------------------------------------------------------------------------------------------


def _bounded_amax(found: Float32, x: Array, rule: Rule, bound: Float32 | None) -> Number:
    """amax between its floor and its bound; NaN stays. [QUANT-AMAX], [QUANT-UB]"""
    name = type_of(rule.amax_type, x)
    wide = np.asarray(found, np.float64) if name == "float64" else found
    floor = rule.amax_floor if name == "float64" else widen(round_to(np.asarray(rule.amax_floor), name))
    least = np.maximum(wide, floor)
    if rule.upper_bound != "amax" or bound is None:
        return np.asarray(least)
    return np.asarray(np.minimum(least, widen(round_to(bound, name))))


def _scale(m: Number, x: Array, rule: Rule, bound: Float32 | None) -> Scale:
    """Scale and multiplier of an amax. [QUANT-SCALE], [QUANT-MULTIPLIER], [QUANT-ZERO-AMAX]"""
    name = type_of(rule.scale_type, x)
    s, a = SCALES_OF[rule.scale](m, name)
    if rule.scale.startswith("1/("):
        a = np.where(UNIT_AMAX[rule.unit_amax](m), np.float32(1), a)
        a = np.where(np.isposinf(a), np.float32(INFINITE[rule.infinite_multiplier](x.dtype.name)), a)
        if rule.power in ("down", "log2 down"):
            a = POWERS[rule.power](a, x.dtype.name)
        s = reciprocal(a, "float32")
    if rule.upper_bound == "scale" and bound is not None:
        s = np.minimum(s, bound)
    s = np.maximum(s, np.float32(rule.scale_floor))
    if rule.zero_scale == "epsilon":
        s = np.where(s == 0, np.float32(EPSILON[name]), s)
    if rule.power not in ("down", "log2 down"):
        s = POWERS[rule.power](s, x.dtype.name)
    return Scale(np.asarray(round_to(s, "float32")), np.asarray(a))


EPSILON = {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}  # from 1 to the next number


def _given(scale: Any, rule: Rule) -> Scale:
    """The caller's scale, or the caller's multiplier and its reciprocal. [QUANT-GIVEN]"""
    value = float32_scale(OP, "scale", scale)
    return Scale(reciprocal(value, "float32"), value) if rule.scale == "given multiplier" else Scale(value, value)


def _computed(x: Array, rule: Rule, bound: Float32 | None) -> Scale:
    """The scale of x itself."""
    found = amax(x, rule)

    def scale_of(m: Float32) -> Scale:
        return _scale(_bounded_amax(m, x, rule, bound), x, rule, bound)

    return scale_of(_mse.search(x, rule, found, scale_of) if rule.search == "mse" else found)


# ---- the public functions --------------------------------------------------------------------------------------------


def arguments(x: Any, rule: str, scale: Any, scale_ub: Any) -> tuple[Rule, Array, Float32 | None]:
    """The rule's row, x, and the bound, if they fit together. [QUANT-SHAPES], [QUANT-UB]"""
    row = RULES[choice(OP, "rule", rule, RULES)]
    array = float_array(OP, "x", x)
    if array.dtype not in SCALES:
        raise fail(OP, f"x must be bfloat16, float16 or float32, got {describe(array)}")
    if array.ndim == 0 if row.granularity == "tensor" else array.ndim != 2:
        wanted = "have at least one dimension" if row.granularity == "tensor" else "be (rows, K)"
        raise fail(OP, f"x must {wanted} for rule {rule!r}, got {describe(array)}")
    if row.given != (scale is not None):
        raise fail(OP, f"rule {rule!r} {'needs' if scale is None else 'computes its own'} scale")
    if scale_ub is None:
        return row, array, None
    if row.upper_bound == "none":
        raise fail(OP, f"rule {rule!r} takes no scale_ub")
    bound = float32_scale(OP, "scale_ub", scale_ub)
    if not 0 < int(bound.view(np.uint32)) < 0x7F800000:  # bits: the cpu backend may flush subnormals [ROUND-ENV]
        raise fail(OP, f"scale_ub must be positive and finite, got {scale_ub!r}")
    return row, array, bound


def quantize(x: Any, rule: str, scale: Any = None, scale_ub: Any = None) -> tuple[Array, Float32]:
    """Codes and scale of a tensor by a named rule, so that ``code * scale`` is near ``x``.

    Args:
        x: bfloat16, float16 or float32; (rows, K) for rules with a scale per row, group or block, any shape of at
            least one dimension for rules with one scale per tensor.
        rule: a name of ``fp8ref.rules()``, for example ``"vllm.per_token"``.
        scale: for rules whose scale is given, and for no others: one float32 value, sign bit clear. For
            ``"transformer_engine.delayed"`` it is the multiplier.
        scale_ub: for rules that have an upper bound: one positive, finite float32 value, a bound of amax or of the
            scale as the rule has it. None: no bound.

    Returns:
        ``(codes, scale)``: float8_e4m3fn of the shape of ``x``; the float32 scale by which codes are multiplied, of
        shape () per tensor, (rows, 1) per row, (rows, ceil(K/128)) per group, (ceil(rows/128), ceil(K/128)) per block.

    Raises:
        OpError: an unknown rule, a wrong dtype or shape, a scale or bound that is missing, wrong or not asked for.

    Example:
        >>> import numpy as np
        >>> codes, scale = quantize(np.array([[448.0, 1.0]], np.float32), rule="vllm.per_token")
        >>> codes.view("uint8").tolist(), scale.tolist()
        ([[126, 56]], [[1.0]])

    Source: each rule's ``version`` and ``source``.
    """
    check_environment(OP)
    row, array, bound = arguments(x, rule, scale, scale_ub)
    flat = array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
    with np.errstate(all="ignore"):
        of = _computed(flat, row, bound) if scale is None else _given(scale, row)
        codes = np.empty(flat.shape, np.uint8)
        for part in strips(flat.shape):
            each = Scale(spread(of.s, flat.shape, part), spread(of.a, flat.shape, part))
            codes[part] = codes_of(flat[part], row, each)
    return codes.reshape(array.shape).view(FLOAT8), np.asarray(of.s, np.float32)


def dequantize_scale(scale: Any, shape: tuple[int, ...]) -> Float32:
    """A scale for codes of that shape: (), or for (rows, K) one per row, group or block. [QUANT-DEQUANTIZE]"""
    shapes: tuple[tuple[int, ...], ...] = ()
    if len(shape) == 2:
        rows, k = shape
        shapes = ((rows, 1), (rows, -(-k // TILE)), (-(-rows // TILE), -(-k // TILE)))
    return scale_array("dequantize", "scale", scale, shapes)


def dequantize(codes: Any, scale: Any, out_dtype: str = "bfloat16") -> Array:
    """``RN_out(RN32(code * scale))``. [QUANT-DEQUANTIZE]

    Args:
        codes: float8_e4m3fn or uint8 of any shape.
        scale: one float32 value, or for codes (rows, K) one for each row (rows, 1), group (rows, ceil(K/128)) or
            block (ceil(rows/128), ceil(K/128)); sign bit clear.
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
    factor = dequantize_scale(scale, array.shape)
    if factor.ndim:
        factor = spread(factor, array.shape, slice(0, array.shape[0]))
    with np.errstate(all="ignore"):
        return round_to(e4m3.decode(array) * factor, out_dtype)
