# SPDX-License-Identifier: Apache-2.0
"""How an outcome is judged: by its bits. [CLAIM-BITS]"""

from __future__ import annotations

from collections.abc import Callable

from .cases import Case, ModelCase
from .claim import Claim
from .outcome import Mismatch, Outcome, compare

Judge = Callable[[Case | ModelCase, Outcome, Outcome], Mismatch | None]


def judge_of(claim: Claim) -> Judge:
    """The judge of a claim."""
    del claim
    return lambda case, expected, got: compare(case.name, expected, got)
