# SPDX-License-Identifier: Apache-2.0
"""Inputs from a counter: word ``i`` of a stream is a hash of its name and ``i``, nothing else. [CASE-INPUTS]

So inputs are the same on every machine, device and numpy version, and a case does not change when another is added.
Only integer arithmetic modulo 2**64 and exact conversions are used; numpy's generators promise less.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Words = NDArray[np.uint64]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT16 = np.dtype(np.float16)
FLOAT32 = np.dtype(np.float32)
FLOAT8 = np.dtype(ml_dtypes.float8_e4m3fn)

# SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class Stream:
    """A named sequence of 64-bit words, and the arrays that cases are made of.

    Example:
        >>> Stream("a name").integers((3,), 0, 10).tolist() == Stream("a name").integers((3,), 0, 10).tolist()
        True
    """

    def __init__(self, name: str) -> None:
        self._key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:8], dtype="<u8").astype(np.uint64)
        self._next = 0

    def words(self, shape: Sequence[int]) -> Words:
        """The next 64-bit words, uint64 of that shape."""
        count = math.prod(shape)
        counter = np.arange(self._next, self._next + count, dtype=np.uint64) + np.uint64(1)
        self._next += count
        z = counter * _GAMMA + self._key
        z = (z ^ (z >> np.uint64(30))) * _MIX[0]
        z = (z ^ (z >> np.uint64(27))) * _MIX[1]
        return (z ^ (z >> np.uint64(31))).reshape(tuple(shape))

    def integers(self, shape: Sequence[int], low: int, high: int) -> NDArray[np.int64]:
        """Integers in [low, high), int64; high - low below 2**31 (the bias is below 2**-32 and of no concern here)."""
        span = np.uint64(high - low)
        return ((self.words(shape) >> np.uint64(32)) * span >> np.uint64(32)).astype(np.int64) + low

    def pick(self, values: Array, shape: Sequence[int]) -> Array:
        """Elements of a one-dimensional array, each with the same probability."""
        chosen: Array = values[self.integers(shape, 0, len(values))]
        return chosen

    def bits(self, shape: Sequence[int], dtype: np.dtype[Any] = BFLOAT16) -> Array:
        """Every bit pattern of a 1, 2, 4 or 8 byte type with the same probability: NaN, infinity, subnormals too."""
        size = dtype.itemsize
        word = (self.words(shape) >> np.uint64(64 - 8 * size)).astype(np.dtype(f"u{size}"))
        return word.view(dtype)

    def normal(self, shape: Sequence[int], dtype: np.dtype[Any] = BFLOAT16, exponent: int = 0) -> Array:
        """Bell-shaped values of standard deviation 1.15 * 2**exponent: a sum of four 16-bit uniforms, rounded once."""
        parts = self.words(shape)[..., None] >> np.array([0, 16, 32, 48], dtype=np.uint64)
        total = (parts & np.uint64(0xFFFF)).astype(np.int64).sum(axis=-1) - 2 * 0xFFFF
        # At most 18 bits: exact in float32, so the cast to a 16-bit type is the only rounding.
        values: Array = np.ldexp(total.astype(np.float32), exponent - 15).astype(dtype)
        return values

    def spread(self, shape: Sequence[int], low: int, high: int, dtype: np.dtype[Any] = BFLOAT16) -> Array:
        """Values with random sign, random fraction of 7 bits and exponent uniform in [low, high)."""
        word = self.integers(shape, 0, 256)
        sign = 1 - 2 * (word & 1)
        fraction = 128 + (word >> 1)
        exponent = self.integers(shape, low, high) - 7
        return np.ldexp((sign * fraction).astype(np.float64), exponent).astype(np.float32).astype(dtype)

    def codes(self, shape: Sequence[int]) -> Array:
        """Finite E4M3 codes, uniform over the 254 of them."""
        finite = np.array([code for code in range(256) if code & 0x7F != 0x7F], dtype=np.uint8)
        return self.pick(finite, shape).view(FLOAT8)

    def code_bell(self, shape: Sequence[int]) -> Array:
        """Codes as quantized weights have them: the magnitude of a bell-shaped value with maximum near 448."""
        values = self.normal(shape, FLOAT32, exponent=7)
        return np.clip(values, -448, 448).astype(FLOAT8)

    def scales(self, shape: Sequence[int], low: int = -12, high: int = 0) -> NDArray[np.float32]:
        """Positive float32 scales with full 24-bit fractions and exponents uniform in [low, high)."""
        fraction = (1 << 23) + self.integers(shape, 0, 1 << 23)
        exponent = self.integers(shape, low, high) - 23
        return np.ldexp(fraction.astype(np.float64), exponent).astype(np.float32)
