# SPDX-License-Identifier: Apache-2.0
"""Exponents of scores, and weights of eight significant bits. spec/attention.md"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ._decide import log2

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def exponents(score: Float32, factor: np.float32) -> Float32:
    """t = RN32(c * s). [ATTN-EXPONENT]"""
    with np.errstate(over="ignore", invalid="ignore"):
        return score * factor


@cache
def thresholds() -> Float64:
    """128 numbers that sort fractions as the midpoints log2((2 m + 1) / 256), m = 128..255, would. [ATTN-THRESHOLDS]

    Near the thresholds (0.0056 to 0.9972) the fraction of a float32 t is a multiple of 2**-32, for |t| >= 2**-9; a
    threshold is irrational. So it may be moved within its gap between two multiples, to the middle of it, which
    float64 holds. Fractions of smaller |t| lie within 2**-9 of 0 or 1, beyond all thresholds.
    """
    middles = []
    for m in range(128, 256):
        low, high = (int(bound * 2**32) for bound in log2(Fraction(2 * m + 1, 256), 96))
        if low != high:
            raise ArithmeticError("a threshold is not separated by 96 bits")
        middles.append((low + 0.5) * 2.0**-32)
    return np.array(middles)


def weights(t: Float64) -> tuple[Float64, Float64]:
    """Integers m in 128..256 and n so that 2**t, rounded to 8 significant bits, is m * 2**(n - 7). [ATTN-WEIGHT]"""
    n = np.floor(t)
    # Of a tiny negative t the fraction rounds to 1: above all thresholds, as it should be.
    return (128 + np.searchsorted(thresholds(), t - n)).astype(np.float64), n
