# SPDX-License-Identifier: Apache-2.0
"""E4M3 codes."""

from __future__ import annotations

from . import formats
from .formats import E4M3, FP32, Format


def encode(bits: int, source: Format, overflow: str) -> int:
    """The code of a number of format `source`: one rounding; `overflow` is "saturate" or "nan" [E4M3-OVERFLOW]."""
    return formats.encode(E4M3, formats.decode(source, bits), overflow)


def decode(code: int) -> int:
    """The fp32 pattern of a code, exact."""
    return formats.encode(FP32, formats.decode(E4M3, code))
