# SPDX-License-Identifier: Apache-2.0
"""Why results differ: hypotheses about what an implementation does instead, tried against its results."""

from __future__ import annotations

from ._evidence import KINDS, Evidence, Reason

__all__ = ["KINDS", "Evidence", "Reason", "classify"]


def classify(evidence: list[Evidence]) -> tuple[Reason, ...]:
    """The reasons for the mismatches of one function, the best first; the last resort is ``unknown``."""
    wrong = sum(not item.equal for item in evidence)
    return (Reason("unknown", "no hypothesis fits", 0, wrong),) if wrong else ()
