# SPDX-License-Identifier: Apache-2.0
"""How an outcome is judged: by its bits, or by the bound and the statistics of an accumulator. [CLAIM-BITS]"""

from __future__ import annotations

from collections.abc import Callable

from ._bounded import judge_bound
from .cases import Case, ModelCase
from .claim import BOUNDED, Claim
from .outcome import Mismatch, Outcome, compare

Judge = Callable[[Case | ModelCase, Outcome, Outcome], Mismatch | None]


def judge_of(claim: Claim) -> Judge:
    """The judge of a claim. Under ``bound``, functions that have no bound are judged by their bits. [CLAIM-BOUND]"""
    if claim.check != "bound":
        return lambda case, expected, got: compare(case.name, expected, got)

    def judge(case: Case | ModelCase, expected: Outcome, got: Outcome) -> Mismatch | None:
        found = compare(case.name, expected, got)
        if found is None or isinstance(case, ModelCase) or case.function not in BOUNDED or not found.index:
            return found  # what has no index is no difference of numbers
        return judge_bound(case, expected, got, claim.of(case.function)["accumulate"])

    return judge
