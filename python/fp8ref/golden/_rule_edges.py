# SPDX-License-Identifier: Apache-2.0
"""What becomes of zeros, NaN and infinity by a rule: rows that are quantized, not a description."""

from __future__ import annotations

import numpy as np

from ._round import round_to
from ._rule import Rule
from .quantize import quantize

ROWS = {"0, -0": (0.0, -0.0), "NaN, 1, -2": (np.nan, 1.0, -2.0), "Inf, 1, -2": (np.inf, 1.0, -2.0)}


def edges(rule: Rule) -> dict[str, str]:
    """Codes and scale of each of ROWS in bfloat16, as text; rules with a given scale have 1."""
    found = {}
    for label, row in ROWS.items():
        x = round_to(np.array([row]), "bfloat16")
        codes, scale = quantize(x, rule.name, np.float32(1) if rule.given else None)
        text = " ".join(f"0x{code:02X}" for code in codes.view(np.uint8).ravel().tolist())
        value = scale.ravel()[0]
        found[label] = f"{text} by {'NaN' if np.isnan(value) else f'0x{value.view(np.uint32):08X}'}"
    return found
