# SPDX-License-Identifier: Apache-2.0
"""Rotary positions: frequencies, tables of cosines and sines, and the rotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache

import mpmath

from .arithmetic import add, divide, multiply, negate, rounded, via_fp32
from .formats import BF16, FP32, Value, decode, encode, encode_real


def _power(base: Fraction, exponent: Fraction) -> Value:
    """RN32(base ** exponent), base > 0."""
    if exponent == 0:
        return Fraction(1)
    p, q = exponent.numerator, exponent.denominator

    def compute() -> mpmath.mpf:
        return mpmath.power(mpmath.mpf(base.numerator) / base.denominator, mpmath.mpf(p) / q)

    return decode(FP32, encode_real(FP32, compute, equals=lambda middle: middle**q == base**p))


@cache
def _two_pi() -> Value:
    return decode(FP32, encode_real(FP32, lambda: 2 * mpmath.pi))


def _llama3(inverse: Value, scaling: Mapping[str, float]) -> Value:
    factor, low, high, original = (
        via_fp32(Fraction(scaling[key]))
        for key in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    )
    wavelength = via_fp32(multiply(via_fp32(divide(Fraction(1), inverse)), _two_pi()))
    if wavelength > via_fp32(divide(original, low)):
        return via_fp32(divide(inverse, factor))
    if wavelength < via_fp32(divide(original, high)) or low == high:
        return inverse
    turns = via_fp32(multiply(via_fp32(divide(Fraction(1), wavelength)), original))
    smooth = via_fp32(divide(via_fp32(add(turns, -low)), via_fp32(add(high, -low))))
    rest = via_fp32(add(Fraction(1), -smooth))
    slowed = via_fp32(divide(via_fp32(multiply(rest, inverse)), factor))
    return via_fp32(add(slowed, via_fp32(multiply(smooth, inverse))))


def rope_frequencies(head_dim: int, base: float, scaling: Mapping[str, float] | None = None) -> list[int]:
    """fp32 patterns of the head_dim / 2 inverse frequencies, llama3's scaling applied where it is given."""
    result = []
    for i in range(head_dim // 2):
        inverse = via_fp32(divide(Fraction(1), _power(Fraction(base), Fraction(2 * i, head_dim))))
        result.append(encode(FP32, inverse if scaling is None else _llama3(inverse, scaling)))
    return result


def rope_table(positions: Sequence[int], frequencies: Sequence[int]) -> tuple[list[list[int]], list[list[int]]]:
    """fp32 patterns of cos and sin of RN32(position * frequency), correctly rounded: (T, head_dim / 2) each."""
    angles = [[via_fp32(multiply(Fraction(p), decode(FP32, f))) for f in frequencies] for p in positions]
    return [[_cosine(t) for t in row] for row in angles], [[_sine(t) for t in row] for row in angles]


def _cosine(angle: Value) -> int:
    if angle == 0:
        return encode(FP32, Fraction(1))
    return encode_real(FP32, lambda: mpmath.cos(mpmath.mpf(angle.numerator) / angle.denominator))


def _sine(angle: Value) -> int:
    if angle == 0:
        return encode(FP32, angle)
    return encode_real(FP32, lambda: mpmath.sin(mpmath.mpf(angle.numerator) / angle.denominator))


def rotate(x: Sequence[int], cos: Sequence[int], sin: Sequence[int]) -> list[int]:
    """One head (bf16 patterns) at one position: pairs are (x[i], x[i + d/2]); every step is rounded to bf16."""
    half = len(x) // 2

    def product(value: int, table: int) -> Value:
        return rounded(BF16, multiply(decode(BF16, value), rounded(BF16, decode(FP32, table))))

    first = [encode(BF16, add(product(x[i], cos[i]), negate(product(x[i + half], sin[i])))) for i in range(half)]
    second = [encode(BF16, add(product(x[i + half], cos[i]), product(x[i], sin[i]))) for i in range(half)]
    return first + second


def rotate_interleaved(x: Sequence[int], cos: Sequence[int], sin: Sequence[int]) -> list[int]:
    """The same with pairs (x[2i], x[2i + 1]): a complex product whose steps are rounded to fp32, and then to bf16."""

    def product(value: int, table: int) -> Value:
        return via_fp32(multiply(decode(BF16, value), decode(FP32, table)))

    result = []
    for i, (c, s) in enumerate(zip(cos, sin, strict=True)):
        a, b = x[2 * i], x[2 * i + 1]
        for value in (add(product(a, c), negate(product(b, s))), add(product(a, s), product(b, c))):
            result.append(encode(BF16, via_fp32(value)))
    return result
