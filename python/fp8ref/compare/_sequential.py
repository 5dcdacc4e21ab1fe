# SPDX-License-Identifier: Apache-2.0
"""The reference of statistics for float32 sums, whose order nobody states: one after the other. [BOUND-SEQUENTIAL]"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden._args import bias_vector, float32_scale
from ..golden._blocks import PROMOTIONS
from ..golden._epilogue import Output
from ._operands import BLOCK, OP, Float64, blocks, scale, side

Float32 = NDArray[np.float32]


def _dot(a: Float32, b: Float32) -> Float32:
    """float32 products, added in the order of k with a rounding each."""
    acc = np.zeros((len(a), len(b)), np.float32)
    term = np.empty_like(acc)
    for left, right in zip(np.ascontiguousarray(a.T), np.ascontiguousarray(b.T), strict=True):
        np.add(acc, np.multiply(left[:, None], right, out=term), out=acc)
    return acc


def _spread(scales: Float64, k: int) -> Float32:
    """The scale of each element, or of each row."""
    narrow = scales.astype(np.float32)
    return narrow if narrow.ndim == 0 or narrow.shape[1] == 1 else np.repeat(narrow, BLOCK, axis=1)[:, :k]


def _columns(scales: Float64, rows: int, block: int) -> Float32:
    """The scales of a block as a column."""
    one = scales if scales.ndim == 0 or scales.shape[1] == 1 else scales[:, block : block + 1]
    return np.asarray(np.broadcast_to(one.astype(np.float32), (rows, 1)))


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
    """``scaled_mm`` with float32 sums in the order of k, every step of it rounded: the least precise honest way.

    Operands are multiplied by their scales first, then with each other, then added, and the bias last. Only the orders
    of blocks (``deepgemm``, ``triton``, ``triton_ba``) scale the sum of each block. A NaN or an infinity follows IEEE
    arithmetic.

    Args: as of :func:`fp8ref.compare.bound`.

    Returns:
        (M, N) of ``out_dtype``.

    Example:
        >>> import numpy as np
        >>> one = np.full((1, 32), 0x38, np.uint8)
        >>> sequential(one, one, 0.5, 0.25).tolist()
        [[4.0]]
    """
    left, right = side("a", a), side("b", b)
    (m, k), n = left.values.shape, right.values.shape[0]
    x, y = (np.where(s.finite[:, None], s.values, np.nan).astype(np.float32) for s in (left, right))
    scales = scale("a_scale", a_scale, m, k), scale("b_scale", b_scale, n, k)
    offset = bias_vector(OP, bias, n)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if epilogue in PROMOTIONS:
            total = np.zeros((m, n), np.float32)
            for block in range(blocks(k)):
                part = slice(block * BLOCK, (block + 1) * BLOCK)
                a_s, b_s = (_columns(s, rows, block) for s, rows in zip(scales, (m, n), strict=True))
                total = PROMOTIONS[epilogue](_dot(x[:, part], y[:, part]), a_s, b_s[:, 0], total)
        else:
            total = _dot(*(codes * _spread(s, k) for codes, s in zip((x, y), scales, strict=True)))
        multiplier = None if out_scale is None else float32_scale(OP, "out_scale", out_scale)
        return Output(out_dtype, multiplier, overflow).round(total if offset is None else total + offset)
