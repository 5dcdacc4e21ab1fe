# SPDX-License-Identifier: Apache-2.0
"""Cases of the residual sum: all pairs of special values, ties, cancellation, overflow and random bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._case import BF16_SPECIAL, Case
from ._stream import Stream


def cases(level: str) -> Iterator[Case]:
    """Elementwise, so one case holds thousands of sums."""
    yield Case("special", "residual", {"x": np.repeat(BF16_SPECIAL, 28), "y": np.tile(BF16_SPECIAL, 28)})
    for part in range(16 if level == "full" else 1):
        s = Stream(f"residual/{part}")
        yield Case(f"bits/{part}", "residual", {"x": s.bits((1 << 15,)), "y": s.bits((1 << 15,))})
        # Exponents within 10 of each other: most sums are inexact, one in a few is a tie.
        yield Case(f"near/{part}", "residual", {"x": s.spread((1 << 14,), -5, 5), "y": s.spread((1 << 14,), -5, 5)})
    s = Stream("residual/edges")
    low = s.spread((4096,), -133, -120), s.spread((4096,), -133, -120)
    yield Case("subnormal", "residual", {"x": low[0], "y": low[1]})
    high = s.spread((4096,), 120, 128), s.spread((4096,), 120, 128)
    yield Case("overflow", "residual", {"x": high[0], "y": high[1]})
    x = s.normal((3, 5, 7))
    yield Case("cancel", "residual", {"x": x, "y": -x})
    yield Case("shape_3d", "residual", {"x": x, "y": s.normal((3, 5, 7))})
    yield Case("empty", "residual", {"x": s.normal((0, 7)), "y": s.normal((0, 7))})
    yield Case("error/broadcast", "residual", {"x": s.normal((2, 3)), "y": s.normal((3,))})
