# SPDX-License-Identifier: Apache-2.0
"""The bf16 linear layer: RNbf(RN32(exact dot product + bias)). spec/linear.md"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _tensor_core
from ._args import BFLOAT16, Array, bf16_array, bias_vector, choice, fail
from ._exact import (
    Rows,
    certify,
    dots,
    exact_add,
    exact_dot,
    exact_pairs,
    exact_sum,
    prepare,
    round_exact,
    round_odd,
    two_sum,
)
from ._round import check_environment, round_to, widen
from ._units import MODES, UNITS, units_of

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

OP = "linear"
ACCUMULATORS = (*MODES, *units_of("bf16", "float32"))
OUTPUTS = 1 << 17  # outputs worked on at once, so that temporaries stay in cache
WEIGHTS = 1 << 22  # weights prepared at once


@dataclass(frozen=True)
class Operand:
    """Weights kept for many calls of :func:`linear`: float64, with what the exactness test and certificate need."""

    source: Array  # (N, K) bfloat16, as it was given
    rows: Rows  # (N, K); rows that hold NaN or Inf are zeros here
    special: NDArray[np.intp]  # the indices of those rows ...
    values: Float64  # ... and their true values

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K)."""
        n, k = self.source.shape
        return n, k


def operand(weight: Any) -> Operand:
    """Widen weights once; :func:`linear` takes the result in place of ``weight``, with the same bits.

    Args:
        weight: (N, K) bfloat16.

    Raises:
        OpError: wrong dtype or number of dimensions.

    Example:
        >>> import numpy as np, ml_dtypes
        >>> kept = operand(np.ones((1, 2), ml_dtypes.bfloat16))
        >>> linear(np.ones((1, 2), ml_dtypes.bfloat16), kept).tolist()
        [[2.0]]
    """
    check_environment(OP)
    return _widened(bf16_array(OP, "weight", weight, 2))


def _widened(x: Array) -> Operand:
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = np.asarray(widen(x), np.float64)
    special = np.flatnonzero(~np.isfinite(values).all(axis=1))
    kept = values[special]
    values[special] = 0.0
    return Operand(x, prepare(values), special, kept)


def _tail(sums: Float64, bias: Float32 | None) -> Array:
    """RNbf(RN32(sum + bias)) of an exact sum: the addition and RN32 are one rounding. [LINEAR-ROUND], [LINEAR-BIAS]"""
    total = sums if bias is None else round_odd(*two_sum(sums, bias))
    return round_to(round_to(total, "float32"), "bfloat16")


def _exactly(x: Float64, weight: Float64, bias: Float32 | None) -> Array:
    """One output in integers. [LINEAR-CERTIFY]"""
    total = exact_dot(x, weight)
    if bias is not None:
        total = exact_add(total, exact_sum(bias))
    return round_to(round_exact(*total, "float32"), "bfloat16")


def _finite(x: Rows, weight: Rows, bias: Float32 | None) -> Array:
    """All outputs of finite rows: certificate, else exactness test, else integers. [LINEAR-CERTIFY]"""
    sums, error = dots(x, weight)
    out, certain = certify(sums - error, sums + error, lambda s: _tail(s, bias))
    i, j = np.nonzero(~certain)
    exact = exact_pairs(x, weight, i, j)
    out[i[exact], j[exact]] = _tail(sums[i[exact], j[exact]], None if bias is None else bias[j[exact]])
    for row, column in zip(i[~exact].tolist(), j[~exact].tolist(), strict=True):
        offset = None if bias is None else bias[column]
        out[row, column] = _exactly(x.values[row], weight.values[column], offset)
    return out


def _special(row: Float64, others: Float64, bias: Float32 | None) -> Array:
    """A row that holds NaN or Inf against many rows: each sum has such a term. [LINEAR-SPECIAL], [SUM-SPECIAL]

    So IEEE addition in any order gives the result: NaN from a NaN, from Inf * 0 or from both infinities; else Inf.
    Float64 cannot overflow on the way, and the BLAS, which may skip zeros, has no part in it.
    """
    with np.errstate(invalid="ignore"):
        sums = (row * others).sum(axis=1)
        return round_to(sums if bias is None else sums + bias, "bfloat16")


def linear(x: Any, weight: Any, bias: Any = None, accumulate: str = "exact") -> Array:
    """``x @ weight.T + bias`` in bfloat16: each output correctly rounded, or as a tensor core has it. [LINEAR-ROUND]

    Args:
        x: (M, K) bfloat16.
        weight: (N, K) bfloat16, as ``nn.Linear`` stores it, or what :func:`operand` made of it.
        bias: (N,) bfloat16, float16 or float32, or None.
        accumulate: ``"exact"``, or the tensor core whose bits are wanted, such as ``"sm90_wgmma"``, or a mode such as
            ``"sm90"``, which names one. [LINEAR-UNIT]

    Returns:
        (M, N) bfloat16: with ``exact`` the exact real ``sum_k x[m, k] * weight[n, k] + bias[n]``, rounded to float32
        and that to bfloat16. A zero sum is +0 [LINEAR-ZERO], [SUM-ZERO]; only the result can overflow
        [LINEAR-OVERFLOW].

    Raises:
        OpError: wrong dtypes or shapes.

    Example:
        >>> import numpy as np, ml_dtypes
        >>> x = np.array([[1.0, 2.0]], ml_dtypes.bfloat16)
        >>> linear(x, x, bias=np.array([0.5], np.float32)).tolist()
        [[5.5]]
    """
    check_environment(OP)
    choice(OP, "accumulate", accumulate, ACCUMULATORS)
    array = bf16_array(OP, "x", x, 2)
    kept = weight if isinstance(weight, Operand) else bf16_array(OP, "weight", weight, 2)
    shape = kept.shape
    (m, k), n = array.shape, shape[0]
    if shape[1] != k:
        raise fail(OP, f"x {array.shape} and weight {shape} must have the same K, as (M, K) and (N, K)")
    offset = bias_vector(OP, bias, n)
    unit = MODES[accumulate].bf16 if accumulate in MODES else accumulate
    if unit != "exact":
        return _by_unit(unit, array, kept.source if isinstance(kept, Operand) else kept, offset)
    left, out = _widened(array), np.empty((m, n), BFLOAT16)
    step = n if isinstance(kept, Operand) else max(1, WEIGHTS // max(k, 1))
    for start in range(0, n, step or 1):
        part = slice(start, start + step)
        right = kept if isinstance(kept, Operand) else _widened(kept[part])
        out[:, part] = _product(left, right, None if offset is None else offset[part])
    return out


def _by_unit(unit: str, x: Array, weight: Array, bias: Float32 | None) -> Array:
    """RNbf(RN32(acc + bias)) of the accumulators of a tensor core: one chain over K, from +0. [LINEAR-UNIT]"""
    acc = _tensor_core.chain(UNITS[unit, "bf16", "float32"], x, weight)
    with np.errstate(over="ignore", invalid="ignore"):
        return round_to(acc if bias is None else acc + bias, "bfloat16")


def _product(x: Operand, weight: Operand, bias: Float32 | None) -> Array:
    """All outputs for prepared operands, in blocks; then the rows and columns with NaN or Inf again."""
    (m, _), (n, _) = x.shape, weight.shape
    out = np.empty((m, n), BFLOAT16)
    tall = 1 << 10
    wide = max(64, OUTPUTS // max(1, min(m, tall)))
    for row in range(0, m, tall):
        some = x.rows.part(row, row + tall)
        for column in range(0, n, wide):
            part = slice(column, column + wide)
            offset = None if bias is None else bias[part]
            out[row : row + tall, part] = _finite(some, weight.rows.part(column, column + wide), offset)
    for index, row_values in zip(x.special, x.values, strict=True):
        out[index] = _special(row_values, weight.rows.values, bias)
    for index, row_values in zip(weight.special, weight.values, strict=True):
        out[:, index] = _special(row_values, _restored(x), None if bias is None else bias[index])
    return out


def _restored(x: Operand) -> Float64:
    """The true values of all rows."""
    if not x.special.size:
        return x.rows.values
    values = x.rows.values.copy()
    values[x.special] = x.values
    return values
