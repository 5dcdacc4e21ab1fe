# SPDX-License-Identifier: Apache-2.0
"""The residual addition."""

from __future__ import annotations

from .arithmetic import add
from .formats import BF16, decode, encode


def residual(x: int, y: int) -> int:
    """RNbf(x + y) of two bf16 patterns."""
    return encode(BF16, add(decode(BF16, x), decode(BF16, y)))
