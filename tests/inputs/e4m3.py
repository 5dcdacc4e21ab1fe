# SPDX-License-Identifier: Apache-2.0
"""Inputs of encode and decode: everything small enough to list, and every place where rounding decides."""

from __future__ import annotations

from functools import cache

import numpy as np

from bits import BF16, E4M3, from_bits
from witness import formats

from .case import Case

POLICIES = ("saturate", "nan")

CODES = [float(formats.decode(formats.E4M3, code)) for code in range(0x7F)]  # non-negative numbers, ascending
MIDPOINTS = [(low + high) / 2 for low, high in zip(CODES, [*CODES[1:], 480.0], strict=True)]


def _around(values: np.ndarray) -> np.ndarray:
    """The values, their neighbours in their own type, and in float64 also points 2**-40 and 2**-26 away."""
    infinity = values.dtype.type(np.inf)
    parts = [values, np.nextafter(values, infinity), np.nextafter(values, -infinity)]
    if values.dtype == np.float64:
        parts += [values * (1 + side * 2.0**-n) for side in (-1, 1) for n in (40, 26)]
    positive = np.concatenate(parts)
    return np.concatenate([positive, -positive])


@cache
def cases() -> list[Case]:
    """All calls of encode and decode."""
    specials = [0.0, np.inf, np.nan, 5e-324, 2.0**-150, 2.0**-11, 448, 464, 465, 480, 500, 3e38, 1.7e308]
    edges = np.array([*CODES, *MIDPOINTS, *specials])
    with np.errstate(over="ignore", invalid="ignore"):
        sources = {
            "edges in float64": _around(edges),
            "edges in float32": _around(edges.astype(np.float32)),
            "every bf16": from_bits(np.arange(1 << 16), BF16),
            "every fp16": from_bits(np.arange(1 << 16), np.float16),
        }
    listed = [
        Case(f"{name}, {overflow}", "encode", x=x, overflow=overflow)
        for name, x in sources.items()
        for overflow in POLICIES
    ]
    return [*listed, Case("every code", "decode", codes=from_bits(np.arange(256), E4M3))]
