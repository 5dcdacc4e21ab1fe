# SPDX-License-Identifier: Apache-2.0
"""Cases of silu_mul: every gate there is, against one and against random and special values of ``up``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._case import BF16_SPECIAL, Case
from ._stream import BFLOAT16, Stream


def cases(level: str) -> Iterator[Case]:
    """All 65,536 gates in each case that is not about shapes."""
    gates = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(BFLOAT16)
    s = Stream("silu_mul")
    yield Case("every_gate/one", "silu_mul", {"gate": gates, "up": np.ones(1 << 16, dtype=BFLOAT16)})
    yield Case("every_gate/random", "silu_mul", {"gate": gates, "up": s.normal((1 << 16,))})
    gate, up = np.repeat(BF16_SPECIAL, 28), np.tile(BF16_SPECIAL, 28)
    yield Case("special", "silu_mul", {"gate": gate, "up": up})
    # Products below 2**-126 round once, in the subnormal range.
    small = s.spread((4096,), -60, 0), s.spread((4096,), -80, -60)
    yield Case("subnormal", "silu_mul", {"gate": small[0], "up": small[1]})
    yield Case("shape_3d", "silu_mul", {"gate": s.normal((3, 5, 7)), "up": s.normal((3, 5, 7))})
    yield Case("empty", "silu_mul", {"gate": s.normal((0, 7)), "up": s.normal((0, 7))})
    if level == "full":
        for part in range(16):
            up = Stream(f"silu_mul/full/{part}").bits((1 << 16,))
            yield Case(f"every_gate/bits_{part}", "silu_mul", {"gate": gates, "up": up})
    yield Case("error/shape", "silu_mul", {"gate": s.normal((3,)), "up": s.normal((4,))})
