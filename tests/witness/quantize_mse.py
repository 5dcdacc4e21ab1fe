# SPDX-License-Identifier: Apache-2.0
"""llm-compressor's observer "mse": of 20 shrunken ranges, the one whose error is least, all arithmetic in T.

In bf16 and fp16 these are the library's bits. In fp32 its power and its sum are a little off, by the vector unit; here
the power is rounded once, and so is the sum [QUANT-MSE].
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import mpmath

from .arithmetic import add, is_number, multiply, negate, rounded, total, via_fp32
from .formats import E4M3, FP64, Format, Value, decode, encode, encode_real
from .quantize_compressed_tensors import quotients, scale_of
from .quantize_steps import Result, Tile, amax_with_nan

STEPS, PATIENCE = 20, 5
NORM = Fraction(12, 5)


@cache
def _power(fmt: Format, d: Value) -> Value:
    """d ** 2.4 for d >= 0, rounded once; torch takes the exponent as a number of T, which 2.4 is not."""
    if not is_number(d) or d == 0:
        return d
    x, norm = Fraction(d), Fraction(rounded(fmt, NORM))

    def compute() -> mpmath.mpf:
        base = mpmath.mpf(x.numerator) / x.denominator
        return mpmath.power(base, mpmath.mpf(norm.numerator) / norm.denominator)

    # Where the power is rational it is a power of two, which is no tie.
    return decode(fmt, encode_real(fmt, compute))


def _error(t: Tile, amax: Value) -> Value:
    """The sum of |dequantized - x| ** 2.4; every step is a number of T."""
    scale = scale_of(amax, t.fmt)
    terms = []
    for x, y in zip(t.values, quotients(t, scale), strict=True):
        code = encode(E4M3, y, "saturate")
        back = rounded(t.fmt, multiply(decode(E4M3, code), scale))
        terms.append(_power(t.fmt, abs(rounded(t.fmt, add(back, negate(x))))))
    return rounded(t.fmt, total(terms))


def _shrunken(fmt: Format, amax: Value, step: int) -> Value:
    """amax times p = 1 - step/100: p is a Python float, which torch makes an fp32 number and multiplies by in fp32."""
    p = via_fp32(rounded(FP64, 1 - rounded(FP64, Fraction(step, 100))))
    return rounded(fmt, via_fp32(multiply(amax, p)))


def search(tiles: Sequence[Tile]) -> list[Result]:
    """Ties keep the larger range. The search ends for all tiles when for five steps none of them improves."""
    amaxes = [amax_with_nan(t.values) for t in tiles]
    best = list(amaxes)
    least: list[Value] = [decode(t.fmt, t.fmt.largest) for t in tiles]
    idle = 0
    for step in range(STEPS):
        improved = False
        for n, t in enumerate(tiles):
            candidate = _shrunken(t.fmt, amaxes[n], step)
            error = _error(t, candidate)
            if error < least[n]:
                least[n], best[n], improved = error, candidate, True
        idle = 0 if improved else idle + 1
        if idle == PATIENCE:
            break
    scales = [scale_of(amax, t.fmt) for amax, t in zip(best, tiles, strict=True)]
    return [(quotients(t, s), s) for t, s in zip(tiles, scales, strict=True)]


SEARCH = {"llm_compressor.mse_channel": "row", "llm_compressor.mse_tensor": "tensor"}
