# SPDX-License-Identifier: Apache-2.0
"""The result as one JSON object. [FINGERPRINT-JSON]"""

from __future__ import annotations

import json

from ._fingerprint import Fingerprint


def to_json(found: Fingerprint) -> str:
    """``accumulator`` is the name or null; ``parameters`` has the value and the evidence of each."""
    from ... import __version__

    verified = None if found.verified is None else vars(found.verified)
    document = {
        "fp8ref": __version__,
        "target": found.target,
        "accumulator": found.accumulator,
        "also": list(found.also),
        "verdict": found.verdict,
        "reproducible": found.reproducible,
        "out_dtype": found.out_dtype,
        "parameters": {f.parameter: {"value": f.value, "evidence": f.evidence} for f in found.findings},
        "numbers": None if found.numbers is None else vars(found.numbers),
        "verified": verified,
        "calls": found.calls,
        "facts": dict(found.facts),
    }
    return json.dumps(document, indent=2) + "\n"
