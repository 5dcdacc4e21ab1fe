# SPDX-License-Identifier: Apache-2.0
"""What ``scaled_mm`` and ``grouped_mm`` pass to the extension in the same way."""

from __future__ import annotations

from ...golden._mm_args import Policy, blocks_of
from ._libraries import Shape

BLOCK_BITS = 7  # 2**7 rows of b share their scales, where not each row has its own


def policies(how: Policy) -> tuple[str, str, str, int, float, str]:
    """The last arguments of both functions of the extension; those of E4M3 have no meaning for other types."""
    scale, overflow = how.output.scale, how.output.overflow
    tail = (1.0 if scale is None else float(scale), overflow or "saturate")
    return (how.output.dtype, how.accumulate, how.epilogue, how.split_k, *tail)


def row_stride(shape: Shape, kind: str) -> int:
    """From one row's scales to the next one's: none where one value is for all rows."""
    return shape[-1] if kind == "blocks" or (len(shape) > 1 and shape[-2] > 1) else 0


def row_bits(shape: Shape, kind: str, n: int) -> int:
    """Rows of b that share their scales, as the power of two. [MM-SCALES-BLOCK]"""
    return BLOCK_BITS if kind == "blocks" and shape[-2] == blocks_of(n) != n else 0
