# SPDX-License-Identifier: Apache-2.0
"""The bf16 projection."""

from __future__ import annotations

from collections.abc import Sequence

from . import mma
from .arithmetic import add, dot, via_fp32
from .formats import BF16, FP32, Format, decode, encode

Rows = Sequence[Sequence[int]]


def linear(
    x: Rows, weight: Rows, bias: Sequence[int] | None = None, bias_format: Format = BF16, accumulate: str = "exact"
) -> list[list[int]]:
    """RNbf(RN32(dot + bias)), the dot exact or a chain's: x (M, K) and weight (N, K) are bf16, and so is the result."""
    unit = mma.MODES.get(accumulate, (None, accumulate))[1]

    def element(row: Sequence[int], column: int) -> int:
        if unit == "exact":
            value = dot(BF16, row, BF16, weight[column])
        else:
            value = decode(FP32, mma.chain(unit, row, BF16, weight[column], BF16))
        if bias is not None:
            value = add(value, decode(bias_format, bias[column]))
        return encode(BF16, via_fp32(value))

    return [[element(row, column) for column in range(len(weight))] for row in x]
