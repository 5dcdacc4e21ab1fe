# SPDX-License-Identifier: Apache-2.0
"""llm-compressor's observer "mse": of 20 shrunken ranges the one with the least error, arithmetic in T. [QUANT-MSE]"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import e4m3
from ._decide import Compare, log2, nearest
from ._exact import certify, enclose, exact_sum, round_exact
from ._round import FORMATS, Array, round_to, widen
from ._rule import Rule
from ._rule_steps import Float32, Scale, codes_of, multiply, scale_shape, spread, strips

STEPS, PATIENCE = 20, 5
NORM = 2.4
POW_ERROR = 2.0**-48  # relative; ours is far above what any libm's pow errs
_BITS: dict[int, Any] = {2: np.uint16, 4: np.uint32}


def _compare_power(base: float, exponent: Fraction) -> Compare:
    """The sign of base**exponent - m by their logarithms; equal they are for no midpoint m. [QUANT-MSE]"""
    scale = int(np.frexp(base)[1]) - 1
    fraction = Fraction(base) / Fraction(2) ** scale

    def compare(m: Fraction) -> int:
        power = m.numerator.bit_length() - m.denominator.bit_length()
        power -= m < Fraction(2) ** power
        rest, bits = m / Fraction(2) ** power, 64
        while True:
            low, high = log2(fraction, bits) if fraction > 1 else (Fraction(0), Fraction(0))
            low_m, high_m = log2(rest, bits) if rest > 1 else (Fraction(0), Fraction(0))
            least, most = (scale + low) * exponent - power - high_m, (scale + high) * exponent - power - low_m
            if least > 0 or most < 0:
                return 1 if least > 0 else -1
            bits *= 2

    return compare


def power(x: Float32, name: str) -> Float32:
    """RN_T(x ** RN_T(2.4)) for x >= 0 of type T. [QUANT-MSE]"""
    exponent = float(round_to(np.asarray(NORM), name))
    flat = np.asarray(x, np.float64).ravel()
    finite = np.isfinite(flat)
    approximation = np.power(np.where(finite, flat, 0.0), exponent)
    lo, hi = enclose(approximation, approximation * POW_ERROR)
    lo = np.maximum(lo, 0.0)

    def tail(y: NDArray[np.float64]) -> Array:
        return round_to(y, name)

    out, certain = certify(lo, hi, tail)
    out = np.where(finite, out, flat.astype(out.dtype))
    unsigned = _BITS[out.dtype.itemsize]
    for i in np.flatnonzero(~certain & finite & (flat != 0)).tolist():
        low, high = (int(tail(end[i : i + 1]).view(unsigned)[0]) for end in (lo, hi))
        pattern = nearest(name, _compare_power(float(flat[i]), Fraction(exponent)), low, high)
        out[i] = unsigned(pattern).view(out.dtype)
    return widen(out).reshape(x.shape)


def total(terms: Float32, name: str) -> Float32:
    """RN_T of the exact sum of each row of terms >= 0. [QUANT-MSE]"""
    wide = np.asarray(terms, np.float64)
    sums = wide.sum(axis=1)
    finite = np.isfinite(sums)
    lo, hi = enclose(sums, np.where(finite, sums, 0.0) * ((terms.shape[1] + 2) * 2.0**-52))
    lo, hi = (np.where(finite, np.maximum(end, 0.0), sums) for end in (lo, hi))
    out, certain = certify(lo, hi, lambda y: round_to(y, name))
    for i in np.flatnonzero(~certain & finite).tolist():
        out[i] = round_exact(*exact_sum(wide[i]), name)
    return widen(out)


def _terms(x: Array, rule: Rule, scale: Float32) -> Float32:
    """|dequantized - x| ** 2.4 of some rows; every step is a number of T."""
    name = x.dtype.name
    back = multiply(e4m3.decode(codes_of(x, rule, Scale(scale, scale))), scale, name)
    difference = widen(round_to(back - widen(x), name))  # through float32 still one rounding: 24 >= 2 * 11 + 2
    return power(np.abs(difference), name)


def _errors(x: Array, rule: Rule, scale: Float32) -> Float32:
    """The sum of the terms of each row, or of all. [QUANT-MSE]"""
    parts = [_terms(x[part], rule, spread(scale, x.shape, part)) for part in strips(x.shape)]
    terms = np.concatenate(parts) if parts else np.zeros(x.shape, np.float32)
    if rule.granularity == "tensor":
        terms = terms.reshape(1, -1)
    return total(terms, x.dtype.name).reshape(scale_shape(rule.granularity, x.shape))


def search(x: Array, rule: Rule, amax: Float32, scale_of: Callable[[Float32], Scale]) -> Float32:
    """The amax, of up to 20 shrunken ones, whose scale has the least error; ties keep the larger. [QUANT-MSE]

    Args:
        x: (rows, K).
        rule: a row with ``search="mse"``.
        amax: of each row, or of all.
        scale_of: the rule's own way from amax to its scale.
    """
    name, best = x.dtype.name, amax
    least = np.full(amax.shape, FORMATS[name].largest, np.float32)
    idle = 0
    for step in range(STEPS):
        shrunken = widen(round_to(amax * np.float32(1 - step / 100), name))
        errors = _errors(x, rule, scale_of(shrunken).s.astype(np.float32))
        improved = errors < least
        best, least = np.where(improved, shrunken, best), np.where(improved, errors, least)
        idle = 0 if improved.any() else idle + 1
        if idle == PATIENCE:
            break
    return best
