# SPDX-License-Identifier: Apache-2.0
"""Operands as real numbers and exponents, and the checks of what :func:`fp8ref.compare.bound` is given."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..golden._args import describe, fail
from ..golden._foreign import as_array

Float64 = NDArray[np.float64]
OP = "compare"
BLOCK = 128
NOTHING = -2000  # the "exponent" of a zero: a product with it lies below every real one
# The class of operands, mantissa bits, the exponent of the smallest normal number, and a type for scaled products.
FORMATS: dict[np.dtype[Any], tuple[str, int, int, type[np.floating[Any]]]] = {
    np.dtype(ml_dtypes.float8_e4m3fn): ("fp8", 3, -6, np.float32),
    np.dtype(ml_dtypes.float8_e5m2): ("fp8", 2, -14, np.float32),
    np.dtype(ml_dtypes.bfloat16): ("bf16", 7, -126, np.float64),
    np.dtype(np.float16): ("fp16", 10, -14, np.float32),
}


@dataclass(frozen=True)
class Side:
    """One operand: (rows, K) values with NaN and infinities as 0, exponents as the units count them."""

    values: Float64
    exponents: NDArray[np.int16]
    mantissa_bits: int
    finite: NDArray[np.bool_]  # (rows,)
    operands: str  # "fp8", "bf16" or "fp16"
    work: type[np.floating[Any]]

    def rows(self, part: slice) -> Side:
        """Some of the rows."""
        return Side(
            self.values[part], self.exponents[part], self.mantissa_bits, self.finite[part], self.operands, self.work
        )

    @functools.cached_property
    def last_bit(self) -> int:
        """Every value is a multiple of 2**last_bit."""
        used = self.exponents[self.exponents > NOTHING]
        return int(used.min()) - self.mantissa_bits if used.size else 0


def side(name: str, x: Any) -> Side:
    """Decode E4M3 (or uint8 codes), E5M2, bfloat16 or float16."""
    array = as_array(x)
    if array.dtype == np.uint8:
        array = array.view(ml_dtypes.float8_e4m3fn)
    if array.dtype not in FORMATS or array.ndim != 2:
        raise fail(OP, f"{name} must be FP8, bfloat16 or float16 with 2 dimensions, got {describe(array)}")
    operands, mantissa_bits, smallest, work = FORMATS[array.dtype]
    with np.errstate(invalid="ignore"):
        values = array.astype(np.float64)
    good = np.isfinite(values)
    values[~good] = 0
    exponents = np.where(values == 0, NOTHING, np.maximum(np.frexp(values)[1] - 1, smallest)).astype(np.int16)
    return Side(values, exponents, mantissa_bits, np.asarray(good.all(axis=1)), operands, work)


def blocks(k: int) -> int:
    """The number of scale blocks of a row."""
    return -(-k // BLOCK)


def scale(name: str, x: Any, rows: int, k: int) -> Float64:
    """A scale as (), (rows, 1) or (rows, blocks) float64; 128 x 128 blocks are repeated for each row."""
    array = as_array(x).astype(np.float64)
    if array.shape in ((), (1,), (1, 1)):
        array = array.reshape(())
    elif name == "b_scale" and array.ndim == 2 and array.shape[0] == blocks(rows) != rows:
        array = np.repeat(array, BLOCK, axis=0)[:rows]
    if array.ndim and array.shape not in ((rows, 1), (rows, blocks(k))):
        raise fail(OP, f"{name} must be one value, ({rows}, 1) or blocks of 128, got shape {array.shape}")
    if np.signbit(array).any():
        raise fail(OP, f"{name} must have its sign bit clear")
    return array
