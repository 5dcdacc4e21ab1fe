# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of tensor cores: truncated fused dot-product-add, one row of data per unit. [MM-TFDPA]

One step takes a block of products and the accumulator, aligns all of them to the largest exponent, cuts each toward
zero at F fraction bits, adds exactly and converts once. Units differ only in the numbers of a row.

Sources: MMA-Sim (arXiv 2511.10909, algorithm 7), Khattak and Mikaitis (arXiv 2512.07004, table II).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import e4m3

Float32 = NDArray[np.float32]
SMALLEST_EXPONENT = -126  # of a float32 accumulator
SMALLEST_PRODUCT = -12  # exponent of a product of two E4M3 subnormals
ZERO = -60  # "exponent" of a zero operand: a product with it stays below every real product
PLANE = 1 << 15  # outputs worked on at once, so that the planes stay in cache
COLUMNS = 1 << 21  # elements of B decoded at once


@dataclass(frozen=True)
class TruncatedFDPA:
    """One tensor-core unit: a chain over K of steps of ``block`` products, from an accumulator of +0."""

    name: str
    block: int  # products per step
    fraction_bits: int  # F: terms are cut below 2**(E - F)
    result_bits: int  # significant bits that the result keeps, toward zero
    source: str

    @property
    def work(self) -> type[np.floating[Any]]:
        """The type in which the integer sum of a step is exact: block + 1 terms below 2**(F + 2)."""
        return np.float32 if (self.block + 1) << (self.fraction_bits + 2) <= 1 << 24 else np.float64


UNITS = {
    unit.name: unit
    for unit in (
        TruncatedFDPA(
            "sm90_wgmma", block=32, fraction_bits=13, result_bits=14, source="Hopper wgmma, FastAccum: one chain over K"
        ),
    )
}


def _exponent_table() -> NDArray[np.int8]:
    """The exponent of each code's significand, not normalised: subnormals have that of the smallest normal, -6."""
    code = np.arange(256) & 0x7F
    exponent = np.maximum(code >> 3, 1) - 7
    return np.where((code == 0) | (code == e4m3.NAN), ZERO, exponent).astype(np.int8)


EXPONENTS = _exponent_table()
FINITE = np.where(np.isnan(e4m3.VALUES), np.float32(0), e4m3.VALUES)  # rows with NaN are answered by the caller


@dataclass(frozen=True)
class Planes:
    """Codes of several rows as values and exponents, K first: (K, rows)."""

    values: Float32
    exponents: NDArray[np.int8]

    @staticmethod
    def of(codes: NDArray[np.uint8]) -> Planes:
        """From codes (rows, K)."""
        turned = np.ascontiguousarray(codes.T)
        return Planes(np.take(FINITE, turned), np.take(EXPONENTS, turned))


def _largest_exponent(a: Planes, b: Planes, block: slice, accumulator: Float32) -> NDArray[np.int32]:
    """E: the largest exponent of the non-zero products of the block and of the accumulator. [MM-TFDPA]"""
    top = np.full(accumulator.shape, 2 * ZERO, np.int8)
    pair = np.empty_like(top)
    for ea, eb in zip(a.exponents[block], b.exponents[block], strict=True):
        np.maximum(top, np.add(ea[:, None], eb, out=pair), out=top)
    exponent = np.where(top < SMALLEST_PRODUCT, SMALLEST_EXPONENT, top.astype(np.int32))
    own = np.where(accumulator == 0, SMALLEST_EXPONENT, np.frexp(accumulator)[1] - 1)
    return np.maximum(np.maximum(own, SMALLEST_EXPONENT), exponent)


def _toward_zero(x: NDArray[np.float64], bits: int) -> Float32:
    """Keep ``bits`` significant bits of finite numbers, toward zero; subnormals kept; 2**128 and above is infinite."""
    quantum = np.maximum(np.frexp(x)[1] - bits, SMALLEST_EXPONENT - bits + 1)
    with np.errstate(over="ignore"):
        return np.asarray(np.ldexp(np.trunc(np.ldexp(x, -quantum)), quantum) + 0.0, np.float32)  # + 0.0: never -0


def step(unit: TruncatedFDPA, a: Planes, b: Planes, block: slice, accumulator: Float32) -> Float32:
    """One step for all pairs of rows: the block's products and the accumulator, (M, N) -> (M, N). [MM-TFDPA]

    The products (8 significant bits), their scaling by a power of two and the sum of the integers are all exact in
    the unit's work type, so the order of the loop does not matter.
    """
    exponent = _largest_exponent(a, b, block, accumulator)
    shift = unit.fraction_bits - exponent
    total = np.trunc(np.ldexp(accumulator.astype(np.float64), shift)).astype(unit.work)
    # Where no product is near E, a larger scale would only risk overflow.
    scale = np.ldexp(unit.work(1), np.minimum(shift, unit.fraction_bits - SMALLEST_PRODUCT))
    term = np.empty_like(total)
    for va, vb in zip(a.values[block], b.values[block], strict=True):
        np.multiply(va[:, None], vb, out=term)
        np.multiply(term, scale, out=term)
        np.add(total, np.trunc(term, out=term), out=total)
    return _toward_zero(np.ldexp(total.astype(np.float64), -shift), unit.result_bits)


def _chain(unit: TruncatedFDPA, a: Planes, b: Planes) -> Float32:
    """All steps over K, in order, from +0. A short last block equals one padded with zeros. [MM-SM90-WGMMA]"""
    k, m = a.values.shape
    accumulator = np.zeros((m, b.values.shape[1]), np.float32)
    for start in range(0, k, unit.block):
        accumulator = step(unit, a, b, slice(start, start + unit.block), accumulator)
    return accumulator


def accumulate(unit: TruncatedFDPA, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Float32:
    """The accumulators of codes ``a`` (M, K) and ``b`` (N, K) as (M, N); NaN codes count as zeros here."""
    (m, k), n = a.shape, b.shape[0]
    out = np.empty((m, n), np.float32)
    wide = max(1, min(PLANE, COLUMNS // max(k, 1)))
    for column in range(0, n, wide):
        columns = Planes.of(b[column : column + wide])
        tall = max(1, PLANE // min(wide, n - column))
        for row in range(0, m, tall):
            part = _chain(unit, Planes.of(a[row : row + tall]), columns)
            out[row : row + tall, column : column + wide] = part
    return out
