# SPDX-License-Identifier: Apache-2.0
"""Greedy sampling."""

from __future__ import annotations

from collections.abc import Sequence

from .formats import Format, decode


def sample(logits: Sequence[int], fmt: Format) -> int:
    """The index of the largest logit: NaN is above all numbers, -0 equals +0, the lowest index wins."""
    best, best_key = -1, None
    for index, bits in enumerate(logits):
        value = decode(fmt, bits)
        key = (1, 0) if value != value else (0, value)
        if best_key is None or key > best_key:
            best, best_key = index, key
    return best
