# SPDX-License-Identifier: Apache-2.0
"""What ``scaled_mm`` and ``grouped_mm`` pass to the extension in the same way."""

from __future__ import annotations

from ...golden._mm_args import Policy
from ._arrays import FLOAT8, OUT_DTYPES

MATMUL_DTYPES = OUT_DTYPES | {"float8_e4m3fn": FLOAT8}


def policies(how: Policy) -> tuple[str, str, str, int, float, str]:
    """The last arguments of both functions of the extension; those of E4M3 have no meaning for other types."""
    scale, overflow = how.output.scale, how.output.overflow
    tail = (1.0 if scale is None else float(scale), overflow or "saturate")
    return (how.output.dtype, how.accumulate, how.epilogue, how.split_k, *tail)
