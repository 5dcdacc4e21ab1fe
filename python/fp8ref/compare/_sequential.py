# SPDX-License-Identifier: Apache-2.0
"""The reference of statistics for float32 sums, whose order nobody states: one after the other. [BOUND-SEQUENTIAL]"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden._args import bias_vector, float32_scale
from ..golden._blocks import PROMOTIONS
from ..golden._epilogue import EPILOGUES, Output
from ._operands import BLOCK, OP, Float64, blocks, scale, side

Float32 = NDArray[np.float32]


def _dot(a: Float32, b: Float32) -> Float32:
    """float32 products, added in the order of k with a rounding each."""
    acc = np.zeros((len(a), len(b)), np.float32)
    term = np.empty_like(acc)
    for left, right in zip(np.ascontiguousarray(a.T), np.ascontiguousarray(b.T), strict=True):
        np.add(acc, np.multiply(left[:, None], right, out=term), out=acc)
    return acc


def _column(scales: Float64, block: int) -> Float32:
    """The scales of a block as a column, or one value."""
    if scales.ndim == 0 or scales.shape[1] == 1:
        return scales.astype(np.float32)
    return scales[:, block : block + 1].astype(np.float32)


def sequential(
    a: Any,
    b: Any,
    a_scale: Any = 1.0,
    b_scale: Any = 1.0,
    bias: Any = None,
    out_dtype: str = "float32",
    epilogue: str = "a_b",
    out_scale: Any = None,
    overflow: str | None = None,
) -> NDArray[Any]:
    """``scaled_mm`` with float32 sums in the order of k.

    With scales of blocks, each block is a sum of its own, and the order of scales is that of the epilogue; ``triton``
    for those that say nothing of blocks. A NaN or an infinity follows IEEE addition.

    Args: as of :func:`fp8ref.compare.bound`.

    Returns:
        (M, N) of ``out_dtype``.
    """
    left, right = side("a", a), side("b", b)
    (m, k), n = left.values.shape, right.values.shape[0]
    x, y = (np.where(s.finite[:, None], s.values, np.nan).astype(np.float32) for s in (left, right))
    scales = scale("a_scale", a_scale, m, k), scale("b_scale", b_scale, n, k)
    offset = bias_vector(OP, bias, n)
    by_block = epilogue in PROMOTIONS or any(s.ndim and s.shape[1] > 1 for s in scales)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if by_block:
            total = np.zeros((m, n), np.float32)
            promote = PROMOTIONS[epilogue if epilogue in PROMOTIONS else "triton"]
            for block in range(blocks(k)):
                part = slice(block * BLOCK, (block + 1) * BLOCK)
                a_s, b_s = (np.broadcast_to(_column(s, block), (r, 1)) for s, r in zip(scales, (m, n), strict=True))
                total = promote(_dot(x[:, part], y[:, part]), a_s, b_s[:, 0], total)
            result = total if offset is None else total + offset
        else:
            a_s, b_s = (_column(s, 0) for s in scales)
            result = EPILOGUES[epilogue](_dot(x, y), a_s, b_s, offset)
        multiplier = None if out_scale is None else float32_scale(OP, "out_scale", out_scale)
        return Output(out_dtype, multiplier, overflow).round(result)
