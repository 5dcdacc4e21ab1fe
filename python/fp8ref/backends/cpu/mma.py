# SPDX-License-Identifier: Apache-2.0
"""``mma`` in C++. spec/mma.md"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _ext
from ...golden.mma import mma_arrays
from ._arrays import Array, bits


def mma(a: Any, b: Any, c: Any = None, accumulate: str = "sm90_wgmma", out_dtype: str = "float32") -> Array:
    """``c + a @ b.T`` as a tensor core computes it, as :func:`fp8ref.mma`.

    Args:
        a: (M, K): float8_e4m3fn (or uint8, its codes) or float8_e5m2, also mixed; or bfloat16; or float16.
        b: (N, K), of the same class.
        c: (M, N) of ``out_dtype``: any number, infinity or NaN; None is +0.
        accumulate: the unit: ``"sm80_mma"``, ``"sm89_mma"``, ``"sm90_mma_sync"``, ``"sm90_wgmma"``,
            ``"sm100_tcgen05"`` or ``"sm120_mma"``.
        out_dtype: ``"float32"``, or ``"float16"`` where the unit accumulates in it.

    Returns:
        (M, N) of ``out_dtype``. A NaN is 0x7FFFFFFF or 0x7FFF; a zero is +0 where there was a step.

    Raises:
        OpError: shapes and types that do not fit, or a unit that has no such operands.

    Example:
        >>> import fp8ref, numpy as np
        >>> codes = np.full((1, 32), 0x18, np.uint8)  # 2**-4
        >>> fp8ref.backend("cpu").mma(codes, codes, np.array([[64.0]], np.float32)).tolist()
        [[64.0]]

    Source: MMA-Sim (arXiv 2511.10909), algorithm 7; Khattak and Mikaitis (arXiv 2512.07004), table II.
    """
    _, left, right, accumulator = mma_arrays(a, b, c, accumulate, out_dtype)
    out = np.empty(accumulator.shape, out_dtype)
    start = None if c is None else bits(accumulator)
    _ext.mma(bits(left), bits(right), start, bits(out), left.dtype.name, right.dtype.name, accumulate, out_dtype)
    return out
