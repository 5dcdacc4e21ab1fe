# SPDX-License-Identifier: Apache-2.0
"""The FP8 matrix product with scales: exact, or as a named tensor core computes it. spec/scaled_mm.md"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _tensor_core
from ._args import Array, bias_vector, choice, codes_array, fail, float32_scale
from ._exact import round_exact, round_odd, two_sum
from ._round import FORMATS, check_environment, round_to

Codes = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

OP = "scaled_mm"
OUT_DTYPES = ("float32", "bfloat16", "float16")
ACCUMULATORS = ("exact", *_tensor_core.UNITS)

# A finite code is an integer times 2**-9 of at most 448 * 2**9. So a product is an integer times 2**-18, and float64
# holds every partial sum of EXACT_K of them, in any order. [MM-EXACT]
UNIT = 18
EXACT_K = 2**53 // (448 * 448 << UNIT)  # 171,196
BLOCK = 1 << 22  # elements of B decoded at once
OUTPUTS = 1 << 20  # outputs worked on at once
FINITE = _tensor_core.FINITE.astype(np.float64)


@dataclass(frozen=True)
class Operand:
    """Codes kept for many calls of :func:`scaled_mm`: decoded once, NaN as 0, with the rows that hold NaN."""

    codes: Codes  # (rows, K)
    values: Float64  # (rows, K)
    nan: NDArray[np.bool_]  # (rows,)


def operand(codes: Any) -> Operand:
    """Decode weights once; :func:`scaled_mm` takes the result in place of ``b``, with the same bits.

    Args:
        codes: (N, K), float8_e4m3fn or uint8. They are kept, not copied: do not change them afterwards.

    Raises:
        OpError: wrong dtype or number of dimensions.

    Example:
        >>> import numpy as np
        >>> kept = operand(np.full((1, 4), 0x38, np.uint8))
        >>> scaled_mm(np.full((1, 4), 0x40, np.uint8), kept, 1.0, 1.0).tolist()
        [[8.0]]
    """
    return _decoded(codes_array(OP, "b", codes, 2))


def _decoded(codes: Codes) -> Operand:
    nan = ((codes & 0x7F) == 0x7F).any(axis=1)
    return Operand(codes, np.take(FINITE, codes), nan)


def _exact(a: Operand, b: Operand) -> Float32:
    """RN32 of the exact dot products; an exact zero is +0. [MM-EXACT], [MM-ZERO]"""
    k = a.codes.shape[1]
    if k <= EXACT_K:
        return (a.values @ b.values.T + 0.0).astype(np.float32)  # the product is exact: this is the only rounding
    total = np.zeros((a.codes.shape[0], b.codes.shape[0]), object)
    for start in range(0, k, EXACT_K):
        part = slice(start, start + EXACT_K)
        units = np.ldexp(a.values[:, part] @ b.values[:, part].T, UNIT)
        total += units.astype(np.int64).astype(object)  # Python integers: no limit to K
    rounded = [round_exact(units, -UNIT, "float32") for units in total.ravel().tolist()]
    return np.array(rounded, np.float32).reshape(total.shape)


def _accumulators(a: Operand, b: Operand, accumulate: str) -> Float32:
    """The float32 accumulators (M, N); NaN where either row holds a NaN code, and never through the BLAS. [MM-NAN]"""
    if accumulate == "exact":
        out = _exact(a, b)
    else:
        out = _tensor_core.accumulate(_tensor_core.UNITS[accumulate], a.codes, b.codes)
    out[a.nan] = np.nan
    out[:, b.nan] = np.nan
    return out


def _scale_then_bias(scale: Float32, y: Float32, bias: Float32 | None) -> Float32:
    """RN32(scale * y), or RN32(scale * y + bias) with one rounding. [MM-BIAS]"""
    if bias is None:
        return scale * y
    product = scale.astype(np.float64) * y.astype(np.float64)  # exact: 48 bits, far from float64's limits
    return round_to(round_odd(*two_sum(product, bias)), "float32")


def _a_b(acc: Float32, a_scale: Float32, b_scale: Float32, bias: Float32 | None) -> Float32:
    """RN32(a_scale * RN32(b_scale * acc) + bias): vLLM's CUTLASS kernels above 64 rows. [MM-EPILOGUE-A-B]"""
    return _scale_then_bias(a_scale, b_scale.T * acc, bias)


Epilogue = Callable[[Float32, Float32, Float32, Float32 | None], Float32]
EPILOGUES: dict[str, Epilogue] = {"a_b": _a_b}


def scaled_mm(
    a: Any,
    b: Any,
    a_scale: Any,
    b_scale: Any,
    bias: Any = None,
    out_dtype: str = "bfloat16",
    accumulate: str = "exact",
    epilogue: str = "a_b",
) -> Array:
    """The scaled product of E4M3 codes: ``out[m, n] ~ a_scale * b_scale * sum_k a[m, k] * b[n, k] + bias[n]``.

    Args:
        a: codes (M, K), float8_e4m3fn or uint8.
        b: codes (N, K), as ``nn.Linear`` stores weights, or what :func:`operand` made of them.
        a_scale: float32 (bfloat16 and float16 widen exactly), one value or (M, 1); sign bit clear.
        b_scale: the same, one value or (N, 1).
        bias: (N,) float32, bfloat16 or float16, or None.
        out_dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        accumulate: ``"exact"``, or the tensor core whose bits are wanted: ``"sm90_wgmma"``.
        epilogue: the order of the scales; ``"a_b"`` multiplies by ``b_scale`` first.

    Returns:
        (M, N) of ``out_dtype``. The clauses [MM-...] of spec/scaled_mm.md say which steps round.

    Raises:
        OpError: shapes, dtypes or policies that have no meaning, or a scale whose sign bit is set.

    Example:
        >>> import numpy as np
        >>> one = np.full((1, 32), 0x38, np.uint8)
        >>> scaled_mm(one, one, 0.5, 0.25, out_dtype="float32").tolist()
        [[4.0]]

    Source: vLLM, csrc/quantization/w8a8/cutlass (ScaledEpilogue, ScaledEpilogueBias).
    """
    check_environment(OP)
    choice(OP, "out_dtype", out_dtype, OUT_DTYPES)
    choice(OP, "accumulate", accumulate, ACCUMULATORS)
    choice(OP, "epilogue", epilogue, EPILOGUES)
    left = codes_array(OP, "a", a, 2)
    right = b.codes if isinstance(b, Operand) else codes_array(OP, "b", b, 2)
    (m, k), n = left.shape, right.shape[0]
    if right.shape[1] != k:
        raise fail(OP, f"a {left.shape} and b {right.shape} must have the same K, as (M, K) and (N, K)")
    a_s, b_s = float32_scale(OP, "a_scale", a_scale, m), float32_scale(OP, "b_scale", b_scale, n)
    offset = bias_vector(OP, bias, n)

    decoded, out = _decoded(left), np.empty((m, n), FORMATS[out_dtype].dtype)
    step = max(1, min(BLOCK // max(k, 1), OUTPUTS // max(m, 1)))
    for start in range(0, n, step):
        part = slice(start, start + step)
        if isinstance(b, Operand):
            weights = Operand(b.codes[part], b.values[part], b.nan[part])
        else:
            weights = _decoded(right[part])
        acc = _accumulators(decoded, weights, accumulate)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            y = EPILOGUES[epilogue](acc, a_s, b_s[part] if b_s.ndim else b_s, None if offset is None else offset[part])
        out[:, part] = round_to(y, out_dtype)  # [MM-OUT]
    return out
