# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of an unknown scaled_mm, from its answers alone. spec/fingerprint.md

Example:
    >>> import fp8ref
    >>> from fp8ref.conformance import CallableTarget
    >>> found = fingerprint(CallableTarget({"scaled_mm": fp8ref.scaled_mm}), {"accumulate": "sm89_mma"}, rows=32)
    >>> found.accumulator, found.value("block length"), found.value("fraction bits")
    ('sm89_mma', '16', '13')
"""

from __future__ import annotations

from ._fingerprint import Fingerprint, fingerprint
from ._json import to_json

__all__ = ["Fingerprint", "fingerprint", "to_json"]
