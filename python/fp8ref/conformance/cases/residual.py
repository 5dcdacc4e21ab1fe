# SPDX-License-Identifier: Apache-2.0
"""Cases of the residual sums: all pairs of special values, ties, cancellation, overflow; and every gate's tanh."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._case import BF16_SPECIAL, Case
from ._stream import BFLOAT16, Array, Stream


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
    yield from _gated(level)


# Gates: zeros, where tanh is the gate itself, steep, beside midpoints of bfloat16, next to 1, and 1; infinite, NaN.
GATES = (0x0000, 0x0001, 0x3C00, 0x3D40, 0x3DB9, 0x3EE7, 0x3F00, 0x3F80, 0x3FEC, 0x3FFE, 0x405E, 0x4080, 0x4400, 0x7F80)

SPECIAL_GATES = (0x0000, 0x8000, 0x3F80, 0xBF00, 0x7F80, 0x7FC0)  # with all pairs of special values


def _gate(bits: int) -> Array:
    return np.array([bits], np.uint16).view(BFLOAT16)


def _gated(level: str) -> Iterator[Case]:
    x, y = np.repeat(BF16_SPECIAL, 28), np.tile(BF16_SPECIAL, 28)
    for bits in (*GATES, *(0x8000 | bits for bits in GATES), 0x7FC0):
        s = Stream(f"gated/{bits:04x}")
        near = {"x": s.spread((512,), -5, 5), "y": s.spread((512,), -5, 5), "gate": _gate(bits)}
        yield Case(f"gated/near/{bits:04x}", "gated_residual", near)
        if bits in SPECIAL_GATES:
            yield Case(f"gated/special/{bits:04x}", "gated_residual", {"x": x, "y": y, "gate": _gate(bits)})
    zero, one = np.zeros((1,), BFLOAT16), np.ones((1,), BFLOAT16)
    for bits in range(0x3A00, 0x4100, 1 if level == "full" else 64):
        yield Case(f"gated/tanh/{bits:04x}", "gated_residual", {"x": zero, "y": one, "gate": _gate(bits)})
    s = Stream("gated")
    low = {"x": s.spread((4096,), -133, -120), "y": s.spread((4096,), -130, -118), "gate": _gate(0x3F00)}
    yield Case("gated/subnormal", "gated_residual", low)
    yield Case("gated/shape_3d", "gated_residual", {"x": s.normal((3, 5, 7)), "y": s.normal((3, 5, 7)), "gate": one})
    yield Case("gated/empty", "gated_residual", {"x": s.normal((0, 7)), "y": s.normal((0, 7)), "gate": one})
    x = s.normal((2, 2))
    yield Case("error/gate", "gated_residual", {"x": x, "y": x, "gate": s.normal((2,))})
