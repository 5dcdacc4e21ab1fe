# SPDX-License-Identifier: Apache-2.0
"""torchao 36027d82: float8 training and float8 inference."""

from __future__ import annotations

import math
from fractions import Fraction

from .arithmetic import divide, is_number, multiply, rounded, via_fp32
from .formats import FP32, FP64, Value
from .quantize_steps import (
    MAX,
    ONE,
    Result,
    Tile,
    all_over,
    all_times,
    amax_with_nan,
    at_least,
    exp2_of_integer,
    log2,
    over32,
)

EPS = rounded(FP64, Fraction(1, 10**12))


def _training_multiplier(t: Tile) -> Value:
    """amax_to_scale: 448.0 / amax in float64, where torch makes two roundings of it; then float32."""
    amax = at_least(amax_with_nan(t.values), EPS)
    return via_fp32(rounded(FP64, multiply(rounded(FP64, divide(ONE, amax)), MAX)))


def train(t: Tile) -> Result:
    multiplier = _training_multiplier(t)
    return all_times(t.values, multiplier), over32(ONE, multiplier)


def train_pow2(t: Tile) -> Result:
    """exp2(floor(log2(multiplier))), in float32."""
    power = log2(FP32, _training_multiplier(t))
    multiplier = exp2_of_integer(FP32, Fraction(math.floor(power)) if is_number(power) else power)
    return all_times(t.values, multiplier), over32(ONE, multiplier)


def _inference_scale(t: Tile) -> Value:
    """amax / 448 in the type of x, and no floor: zeros have the scale 0 and NaN codes."""
    return rounded(t.fmt, divide(amax_with_nan(t.values), MAX))


def infer(t: Tile) -> Result:
    scale = _inference_scale(t)
    return all_over(t.values, scale), scale


def infer_e8m0(t: Tile) -> Result:
    """exp2(round(log2(s))), all in the type of x: to the nearest exponent, which may be too small by one."""
    power = log2(t.fmt, _inference_scale(t))
    scale = exp2_of_integer(t.fmt, Fraction(round(power)) if is_number(power) else power)
    return all_over(t.values, scale), scale


ROW = {
    "torchao.train_row": train,
    "torchao.train_row_pow2": train_pow2,
    "torchao.infer_row": infer,
    "torchao.infer_row_e8m0": infer_e8m0,
}
TENSOR = {"torchao.train_tensor": train, "torchao.train_tensor_pow2": train_pow2, "torchao.infer_tensor": infer}
