# SPDX-License-Identifier: Apache-2.0
"""Root mean square normalisation. See spec/rmsnorm.md."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import positive, rmsnorm_arrays
from ._bf16 import multiply
from ._decide import Compare, settle, sign
from ._exact import certify, exact_dot, round_exact
from ._round import Array, check_environment, round_to, widen


def rmsnorm(x: Any, weight: Any, eps: float) -> Array:
    """x / sqrt(mean(x^2) + eps) * weight along the last dimension, rounded as spec/rmsnorm.md says. [RMSNORM-STEPS]

    Args:
        x: bfloat16, shape (..., K) with 1 <= K <= 2**24. [RMSNORM-SHAPES]
        weight: bfloat16, shape (K,); None leaves the last multiplication out.
        eps: a number whose rounding to float32 is positive and finite. [RMSNORM-EPS]

    Returns:
        bfloat16, the shape of x. Special values follow from IEEE 754 at each step. [RMSNORM-SPECIAL]

    Raises:
        OpError: a wrong dtype, shape or eps.

    Source: transformers ``LlamaRMSNorm.forward``; the sum is exact here, where torch sums in float32.

    Example:
        >>> import ml_dtypes, numpy as np, fp8ref
        >>> fp8ref.rmsnorm(np.array([[3.0, 4.0]], ml_dtypes.bfloat16), None, 1e-5).astype(float).tolist()
        [[0.84765625, 1.1328125]]
    """
    check_environment("rmsnorm")
    x, weight = rmsnorm_arrays(x, weight)
    small = np.float32(positive("rmsnorm", "eps", eps, "float32"))
    values = widen(x.reshape(-1, x.shape[-1]))
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sum_of_squares(values) / np.float32(x.shape[-1])  # RN32
        scale = reciprocal_sqrt(mean + small)  # RN32 of the sum, then of the root
        y = round_to(values * scale[:, None], "bfloat16")  # RN32, then RNbf
    return (y if weight is None else multiply(y, weight)).reshape(x.shape)


def sum_of_squares(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """RN32 of the exact sum of squares of each row of bfloat16 values (rows, K). [RMSNORM-SUM]

    The squares are exact in float64 and cannot overflow it. None is negative, so K - 1 additions in any order lose
    less than K * 2**-53 of the sum; the bound is twice that. An infinity or a NaN makes the sum one.
    """
    values = x.astype(np.float64)
    total = np.einsum("rk,rk->r", values, values)
    error = np.where(np.isfinite(total), (values.shape[1] + 4) * 2.0**-52 * total, 0.0)
    out, certain = certify(total - error, total + error, lambda s: round_to(s, "float32"))
    for i in np.flatnonzero(~certain):
        out[i] = round_exact(*exact_dot(values[i], values[i]), "float32")
    return out


def reciprocal_sqrt(v: NDArray[np.float32]) -> NDArray[np.float32]:
    """RN32(1/sqrt(v)) for v > 0, +Inf (gives +0) or NaN. [RMSNORM-RSQRT]

    A float64 root and quotient are wrong by less than 2**-52; what that leaves open is decided by 1 against m^2 v.
    """
    known = np.where(np.isinf(v), 1.0, v.astype(np.float64))

    def real(i: int) -> Compare:
        exact = Fraction(float(known[i]))
        return lambda m: sign(1 - m * m * exact)

    return np.where(np.isinf(v), np.float32(0.0), settle(1.0 / np.sqrt(known), 2.0**-51, real))
