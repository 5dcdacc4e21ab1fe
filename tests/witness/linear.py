# SPDX-License-Identifier: Apache-2.0
"""The bf16 projection."""

from __future__ import annotations

from collections.abc import Sequence

from .arithmetic import add, dot, via_fp32
from .formats import BF16, Format, decode, encode

Rows = Sequence[Sequence[int]]


def linear(x: Rows, weight: Rows, bias: Sequence[int] | None = None, bias_format: Format = BF16) -> list[list[int]]:
    """RNbf(RN32(exact dot + bias)): x is (M, K), weight is (N, K), both bf16; the result is (M, N) bf16."""

    def element(row: Sequence[int], column: int) -> int:
        value = dot(BF16, row, BF16, weight[column])
        if bias is not None:
            value = add(value, decode(bias_format, bias[column]))
        return encode(BF16, via_fp32(value))

    return [[element(row, column) for column in range(len(weight))] for row in x]
