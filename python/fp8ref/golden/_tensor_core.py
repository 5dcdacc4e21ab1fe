# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of tensor cores: truncated fused dot-product-add, a row of data for each unit. spec/mma.md

One step takes a block of products and the accumulator, aligns all of them to the largest exponent, cuts each toward
zero at F fraction bits, adds exactly and converts once [MMA-STEP]. Units differ only in the numbers of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ._round import round_to
from ._units import ACCUMULATORS as ACCUMULATORS
from ._units import TILE, UNITS, Result, Unit

Array = NDArray[Any]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

ZERO = -60  # "exponent" of a zero FP8 operand: with any other it stays below every product of non-zero numbers
SMALLEST = {"fp8": -28, "bf16": -252, "fp16": -28}  # exponents of products of two subnormals
PLANE = 1 << 15  # outputs worked on at once, so that the planes stay in cache
COLUMNS = 1 << 21  # elements of B decoded at once
NAN32 = np.uint32(0x7FFFFFFF).view(np.float32)  # what tensor cores answer [MMA-SPECIAL]
NAN16 = np.uint16(0x7FFF).view(np.float16)


@dataclass(frozen=True)
class Operand:
    """The type of an operand: significant bits, and the exponent of its smallest normal number and its subnormals."""

    dtype: np.dtype[Any]
    emin: int
    zero: int  # the "exponent" of 0: below that of every product with it
    exponent: np.dtype[Any]  # of exponents, of their sums as well
    work: np.dtype[Any]  # holds values, and products of two exactly


OPERANDS = {
    row.dtype: row
    for row in (
        Operand(np.dtype(ml_dtypes.float8_e4m3fn), -6, ZERO, np.dtype(np.int8), np.dtype(np.float32)),
        Operand(np.dtype(ml_dtypes.float8_e5m2), -14, ZERO, np.dtype(np.int8), np.dtype(np.float32)),
        Operand(np.dtype(ml_dtypes.bfloat16), -126, -1000, np.dtype(np.int16), np.dtype(np.float64)),
        Operand(np.dtype(np.float16), -14, -1000, np.dtype(np.int16), np.dtype(np.float64)),
    )
}


@cache
def tables(dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
    """For each pattern: the finite value (others 0), the exponent of its significand, and the value as it is.

    Significands are not normalised: subnormals have the exponent of the smallest normal number. [MMA-STEP]
    """
    row, bits = OPERANDS[dtype], 8 * dtype.itemsize
    with np.errstate(invalid="ignore"):  # signalling NaNs
        every = np.arange(1 << bits, dtype=np.uint32).astype(f"u{dtype.itemsize}").view(dtype).astype(row.work)
    finite = np.where(np.isfinite(every), every, 0)
    exponent = np.maximum(np.frexp(finite)[1] - 1, row.emin)
    return finite, np.where(finite == 0, row.zero, exponent).astype(row.exponent), every


@dataclass(frozen=True)
class Planes:
    """Several rows of an operand, K first: (K, rows)."""

    values: Array  # finite; 0 for what is not
    exponents: Array
    special: Mask  # (K,): some row has an infinity or a NaN here
    true: Array | None  # the values as they are, where there is such a row

    @staticmethod
    def of(rows: Array) -> Planes:
        """From (rows, K)."""
        patterns = np.ascontiguousarray(rows.T).view(f"u{rows.dtype.itemsize}")
        finite, exponent, true = tables(rows.dtype)
        special = ~np.isfinite(true[patterns]).all(axis=1) if patterns.size else np.zeros(len(patterns), np.bool_)
        kept = np.take(true, patterns) if special.any() else None
        return Planes(np.take(finite, patterns), np.take(exponent, patterns), special, kept)


def _largest_exponent(unit: Unit, a: Planes, b: Planes, block: slice, accumulator: Array) -> NDArray[np.int32]:
    """E: the largest exponent of the non-zero products of the block and of the accumulator, and at least the floor."""
    top = np.full(accumulator.shape, np.iinfo(a.exponents.dtype).min, a.exponents.dtype)
    pair = np.empty_like(top)
    for ea, eb in zip(a.exponents[block], b.exponents[block], strict=True):
        np.maximum(top, np.add(ea[:, None], eb, out=pair), out=top)
    own = np.where(accumulator == 0, unit.floor, np.maximum(np.frexp(accumulator)[1] - 1, unit.result.emin))
    products = np.where(top < SMALLEST[unit.operands], unit.floor, top.astype(np.int32))
    return np.maximum(np.maximum(own, unit.floor), products)


def _convert(x: NDArray[np.float64], result: Result) -> Array:
    """The exact sum as the unit's result: cut or rounded to its bits, never -0; too large is infinite. [MMA-RESULT]"""
    if result.rounding == "nearest":
        return np.asarray(round_to(x, result.dtype) + np.float16(0))
    quantum = np.maximum(np.frexp(x)[1] - result.bits, result.emin - result.bits + 1)
    with np.errstate(over="ignore"):
        return np.asarray(np.ldexp(np.trunc(np.ldexp(x, -quantum)), quantum) + 0.0, np.float32)


def _specials(a: Planes, b: Planes, block: slice, accumulator: Array) -> Array | None:
    """IEEE sums of the infinite and NaN terms of a step, 0 where there is none; None if nowhere. [MMA-SPECIAL]"""
    outside = ~np.isfinite(accumulator)
    places = np.flatnonzero(a.special[block] | b.special[block]) + block.start
    if not places.size and not outside.any():
        return None
    with np.errstate(invalid="ignore"):
        total = np.where(outside, accumulator, 0).astype(np.float64)
        for k in places:
            va, vb = (side.values[k] if side.true is None else side.true[k] for side in (a, b))
            product = np.multiply.outer(va.astype(np.float64), vb.astype(np.float64))
            total += np.where(np.isfinite(product), 0.0, product)
    return total


def step(unit: Unit, a: Planes, b: Planes, block: slice, accumulator: Array) -> Array:
    """One step for all pairs of rows: the block's products and the accumulator, (M, N) -> (M, N). [MMA-STEP]

    The products, their scaling by a power of two and the sum of the integers are exact in the work type, so the order
    of the loop does not matter: FP8 products have 8 bits, and with F = 13 a sum of up to 33 terms below 2**15 is
    exact in float32; everything else is below 2**33 in float64.
    """
    special = _specials(a, b, block, accumulator)
    c = accumulator if special is None else np.where(np.isfinite(accumulator), accumulator, 0)
    exponent = _largest_exponent(unit, a, b, block, c)
    shift = unit.fraction_bits - exponent
    narrow = a.values.dtype == np.float32 and (unit.block + 1) << (unit.fraction_bits + 2) <= 1 << 24
    work = np.float32 if narrow else np.float64
    total = np.trunc(np.ldexp(c.astype(np.float64), shift)).astype(work)
    # Where no FP8 product is near E, a larger scale would only risk overflow of float32: the smallest is 2**-32.
    scale = np.ldexp(work(1), np.minimum(shift, 90) if narrow else shift)
    term = np.empty_like(total)
    for va, vb in zip(a.values[block], b.values[block], strict=True):
        np.multiply(va[:, None], vb, out=term)
        np.multiply(term, scale, out=term)
        np.add(total, np.trunc(term, out=term), out=total)
    out = _convert(np.ldexp(total.astype(np.float64), -shift), unit.result)
    if special is not None:
        np.copyto(out, special.astype(out.dtype), where=special != 0)  # NaN is not 0 either
        out[np.isnan(out)] = NAN16 if out.dtype == np.float16 else NAN32
    return out


def _rewritten(rows: Array) -> Array:
    """FP8 operands as mma.sync takes them on Hopper: as float16, and of each 32 the k with k % 4 < 2 first."""
    wide = np.zeros((rows.shape[0], -(-rows.shape[1] // 32) * 32), np.float16)
    wide[:, : rows.shape[1]] = round_to(rows, "float16")  # exact
    quads = wide.reshape(len(rows), wide.shape[1] // 32, 8, 2, 2)  # (row, step, quad, half, k of the pair)
    return np.ascontiguousarray(quads.transpose(0, 1, 3, 2, 4).reshape(wide.shape))


def _late(unit: Unit, a: Planes, b: Planes, accumulator: Array) -> Array:
    """Steps of 32 as two of 16 from +0, and the accumulator added to their result. [MMA-REWRITE]"""
    for start in range(0, len(a.values), 2 * unit.block):
        part = np.zeros_like(accumulator)
        for first in (start, start + unit.block):
            part = step(unit, a, b, slice(first, first + unit.block), part)
        with np.errstate(over="ignore", invalid="ignore"):
            accumulator = part + accumulator  # one rounding to nearest, in the type of both
        accumulator[np.isnan(accumulator)] = NAN16 if accumulator.dtype == np.float16 else NAN32
    return accumulator


def _chain(unit: Unit, a: Planes, b: Planes, accumulator: Array) -> Array:
    """All steps over K, in order. A short last block equals one padded with zeros. [MMA-CHAIN]"""
    if unit.order == "rewritten":
        return _late(unit, a, b, accumulator)
    for start in range(0, len(a.values), unit.block):
        accumulator = step(unit, a, b, slice(start, min(start + unit.block, len(a.values))), accumulator)
    return accumulator


def chain(unit: Unit, a: Array, b: Array, c: Array | None = None) -> Array:
    """One chain over all of K from the accumulator ``c`` (M, N), or +0: rows a (M, K) and b (N, K). [MMA-CHAIN]"""
    if unit.order == "rewritten":
        a, b = _rewritten(a), _rewritten(b)
    (m, k), n = a.shape, b.shape[0]
    out = np.zeros((m, n), unit.out_dtype) if c is None else c.astype(unit.out_dtype)  # a copy
    wide = max(1, min(PLANE, COLUMNS // max(k, 1)))
    for column in range(0, n, wide):
        columns = Planes.of(b[column : column + wide])
        tall = max(1, PLANE // min(wide, n - column))
        for row in range(0, m, tall):
            part = (slice(row, row + tall), slice(column, column + wide))
            out[part] = _chain(unit, Planes.of(a[row : row + tall]), columns, out[part])
    return out


def _added(partials: list[Float32]) -> Float32:
    """Partial results added in float32, the first to +0. [MMA-PROMOTE]"""
    total = np.zeros_like(partials[0])
    with np.errstate(over="ignore", invalid="ignore"):
        for part in partials:
            total = total + part
    return total


def accumulate(name: str, a: Array, b: Array, split_k: int = 1) -> Float32:
    """The float32 accumulators (M, N) of FP8 operands a (M, K) and b (N, K). [MMA-CHAIN] [MMA-SPLIT-K]

    Args:
        name: out of ``ACCUMULATORS``.
        a, b: float8_e4m3fn or float8_e5m2 arrays.
        split_k: the number of runs of whole tiles of 128 that are summed apart.
    """
    row = ACCUMULATORS[name]
    unit = UNITS[row.unit, "fp8", "float32"]
    k = a.shape[1]
    each = -(-max(-(-k // TILE), 1) // split_k) * TILE  # elements of K of one run

    def run(part: slice) -> Float32:
        interval = row.interval or max(part.stop - part.start, 1)
        starts = range(part.start, max(part.stop, part.start + 1), interval)
        chains = [chain(unit, *(x[:, s : min(s + interval, part.stop)] for x in (a, b))) for s in starts]
        return chains[0] if row.interval is None else _added(chains)

    runs = [run(slice(start, min(start + each, k))) for start in range(0, max(k, 1), each)]
    return runs[0] if len(runs) == 1 else _added(runs)
