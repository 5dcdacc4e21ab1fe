# SPDX-License-Identifier: Apache-2.0
"""Scaled products with a scale for every 128 elements of K. spec/scaled_mm.md, "Block scales"

The exact sum is certified: one float64 matrix product of the scaled operands with an error bound, both ends of the
interval sent through bias and output rounding; what stays open is summed in integers. [ROUND-CERTIFY]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._epilogue import Output, fused
from ._exact import Dyadic, bits_equal, enclose, exact_add, exact_sum, lowest_exponents, round_exact, round_odd, two_sum
from ._operand import Operand, accumulators
from ._round import Array, round_to

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]

BLOCK = 128  # elements of K that share a scale
TOP_HALF = np.uint32(0xFFFFF000)  # the sign, the exponent and the leading 12 bits of a float32 significand


@dataclass(frozen=True)
class Side:
    """One operand with the scales of its blocks, and its scaled values, ready for the certificate."""

    operand: Operand
    scales: Float32  # (rows, ceil(K / 128))
    special: Mask  # (rows,), those with a code or a scale that is no finite number
    scaled: Float64  # (rows, K), code times scale: 4 bits and 24, so exact; 0 where a scale is no number
    norms: Float64  # (rows,), at least the Euclidean norm of the scaled values

    @staticmethod
    def of(operand: Operand, scales: Float32) -> Side:
        """Prepare codes and the scales of their blocks."""
        finite = np.isfinite(scales)
        scaled = operand.values * _spread(np.where(finite, scales, 0), operand.values.shape[1])
        # K squares and K - 1 sums, each rounded once, and the square root halves their errors. [ROUND-CERTIFY]
        inflation = 1.0 + (scaled.shape[1] + 8) * 2.0**-53
        norms = np.sqrt(np.einsum("rk,rk->r", scaled, scaled)) * inflation
        return Side(operand, scales, operand.special | ~finite.all(axis=1), scaled, norms)

    def rows(self, part: Mask) -> Side:
        """Some of the rows."""
        return Side(self.operand.rows(part), self.scales[part], self.special[part], self.scaled[part], self.norms[part])


def _spread(scales: Float32, k: int) -> Float64:
    """Each block's scale at each of its elements; the last block may be short. [MM-SCALES-BLOCK]"""
    return np.repeat(scales.astype(np.float64), BLOCK, axis=1)[:, :k]


def _plus_bias(sums: Float64, bias: Float32 | None) -> Float32:
    """RN32(sum + bias), one rounding, of sums that are exact or ends of an interval. [MM-BLOCK-EXACT]"""
    if bias is None:
        return np.asarray(round_to(sums, "float32"))
    return np.asarray(round_to(round_odd(*two_sum(sums, bias)), "float32"))


def _special_sums(a: Side, b: Side) -> Float64:
    """Sums over the blocks of the IEEE products scale * scale * dot, where one of them is Inf or NaN.

    No finite term comes near float64's limits, and RN32 of a block's dot has the sign of the exact one, so the IEEE
    sum is the infinity or the NaN that the rule asks for. [MM-BLOCK-SPECIAL]
    """
    total = np.zeros((len(a.scales), len(b.scales)))
    for block in range(a.scales.shape[1]):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        dots = accumulators(a.operand.columns(part), b.operand.columns(part), "exact").astype(np.float64)
        scales = np.multiply.outer(a.scales[:, block].astype(np.float64), b.scales[:, block].astype(np.float64))
        total += scales * dots
    return total


def _exact_pair(a: Side, b: Side, i: int, j: int) -> Dyadic:
    """The exact sum over k of (a * a_scale) * (b * half of b_scale), twice: 28 bits times 4 + 12, exact in float64."""
    scales = b.scales[j : j + 1]
    top = (scales.view(np.uint32) & TOP_HALF).view(np.float32)
    halves = [_spread(part, a.scaled.shape[1])[0] * b.operand.values[j] for part in (top, scales - top)]
    return exact_sum(np.concatenate([a.scaled[i] * half for half in halves]))


def _settle(a: Side, b: Side, sums: Float64, bias: Float32 | None, i: Index, j: Index) -> Float32:
    """RN32(sum + bias) of the pairs (i, j) that no interval decides: float64 where it was exact, else integers."""
    low = [np.zeros(len(side.norms), np.int32) for side in (a, b)]
    for side, exponents, index in zip((a, b), low, (i, j), strict=True):
        rows = np.unique(index)
        exponents[rows] = lowest_exponents(side.scaled[rows])
    exact = a.norms[i] * b.norms[j] < np.ldexp(1.0, low[0][i] + low[1][j] + 53)
    offsets = None if bias is None else bias[j]
    z = _plus_bias(sums, offsets)
    for p in np.flatnonzero(~exact).tolist():
        total = _exact_pair(a, b, int(i[p]), int(j[p]))
        if offsets is not None:
            total = exact_add(total, exact_sum(offsets[p]))
        z[p] = round_exact(*total, "float32")
    return z


def exact_blocks(a: Side, b: Side, bias: Float32 | None, output: Output) -> Array:
    """RN_out(RN32(sum over blocks of a_scale * b_scale * dot + bias)), (M, N). [MM-BLOCK-EXACT]

    The float64 products are rounded here, unlike those of :func:`fp8ref.golden._exact.dots`: K roundings instead of
    K - 1, to nearest, so that the bound of K * 2**-52 has room to spare. Overflow to NaN is not monotone: both ends
    must have the same sign as well.
    """
    sums = a.scaled @ b.scaled.T + 0.0  # an exact zero is +0
    error = np.multiply.outer(a.norms * ((a.scaled.shape[1] + 4) * 2.0**-52), b.norms)
    low, high = (_plus_bias(end, bias) for end in enclose(sums, error))
    out = output.round(low)
    certain = bits_equal(out, output.round(high)) & (np.signbit(low) == np.signbit(high))
    special = a.special[:, None] | b.special
    i, j = np.nonzero(~(certain | special))
    if i.size:
        out[i, j] = output.round(_settle(a, b, sums[i, j], bias, i, j))
    if special.any():
        every = np.ones(len(b.special), np.bool_)
        for rows, columns in ((a.special, every), (~a.special, b.special)):
            offsets = None if bias is None else bias[columns]
            sums = _special_sums(a.rows(rows), b.rows(columns))
            out[np.ix_(rows, columns)] = output.round(_plus_bias(sums, offsets))
    return out


def _deepgemm(dot: Float32, a: Float32, b: Float32, acc: Float32) -> Float32:
    """RN32(RN32(a * b) * dot + acc). [MM-EPILOGUE-DEEPGEMM]"""
    return fused(a * b, dot, acc)


def _triton(dot: Float32, a: Float32, b: Float32, acc: Float32) -> Float32:
    """RN32(RN32(dot * a) * b + acc). [MM-EPILOGUE-TRITON]"""
    return fused(dot * a, b, acc)


def _triton_ba(dot: Float32, a: Float32, b: Float32, acc: Float32) -> Float32:
    """RN32(RN32(dot * b) * a + acc). [MM-EPILOGUE-TRITON-BA]"""
    return fused(dot * b, a, acc)


Promotion = Callable[[Float32, Float32, Float32, Float32], Float32]
PROMOTIONS: dict[str, Promotion] = {"deepgemm": _deepgemm, "triton": _triton, "triton_ba": _triton_ba}


def promoted_blocks(
    a: Operand, b: Operand, a_scale: Float32, b_scale: Float32, accumulate: str, epilogue: str
) -> Float32:
    """The blocks of 128 in order, each a fresh accumulator, scaled and added to the sum before it. [MM-BLOCK-ORDERS]"""
    acc = np.zeros((len(a.codes), len(b.codes)), np.float32)
    for block in range(a_scale.shape[1]):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        dot = accumulators(a.columns(part), b.columns(part), accumulate)
        acc = PROMOTIONS[epilogue](dot, a_scale[:, block, None], b_scale[:, block], acc)
    return acc
