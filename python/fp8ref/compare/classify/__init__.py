# SPDX-License-Identifier: Apache-2.0
"""Why results differ: hypotheses about what an implementation does instead, tried against its results.

spec/classify.md says how a reason is found and what its share means.
"""

from __future__ import annotations

from dataclasses import replace

from ._evidence import KINDS, Evidence, Reason
from ._memory import misshapen
from ._structure import SHAPES, SIGNS, WEAK
from ._table import ideas_of
from ._try import Hypothesis, Search, Sign, partly, tried

WEAK_CREDIT = 0.4  # of a weak sign's calls, beside those that a hypothesis reproduces

__all__ = ["KINDS", "Evidence", "Reason", "classify"]


def classify(evidence: list[Evidence]) -> tuple[Reason, ...]:
    """The reasons for the mismatches, the best first; the last resort is ``unknown``. [CLASSIFY-REASON]

    Args:
        evidence: the calls of a target in order, those with right results too. Calls of several functions are
            classified apart, and the reasons of the function with most mismatches come first.

    Example:
        >>> import numpy as np
        >>> x = np.float32([1.0625, 1.1875, 3.0])
        >>> right, wrong = np.uint8([0x38, 0x3A, 0x44]), np.uint8([0x39, 0x3A, 0x44])
        >>> e4m3 = "float8_e4m3fn"
        >>> import ml_dtypes
        >>> want, have = ({"codes": codes.view(ml_dtypes.float8_e4m3fn)} for codes in (right, wrong))
        >>> classify([Evidence("midpoints", "encode", {"x": x}, want, have)])[0].kind
        'tie_rule'
    """
    functions: dict[str, list[Evidence]] = {}
    for call in evidence:
        functions.setdefault(call.function, []).append(call)
    found = []
    for name, calls in functions.items():
        wrong = sum(not call.equal for call in calls)
        if wrong:
            reasons = _function(calls)
            if len(functions) > 1:
                reasons = [replace(reason, detail=f"{name}: {reason.detail}") for reason in reasons]
            found.append((wrong, reasons))
    return tuple(reason for _, reasons in sorted(found, key=lambda item: -item[0]) for reason in reasons)


def _function(calls: list[Evidence]) -> list[Reason]:
    """The reasons of one function, of results of another form and of the others, by share."""
    calls = tried(calls)
    wrong = sum(not call.equal for call in calls)
    broken = [call for call in calls if not call.equal and misshapen(call)]
    found: list[Reason] = []
    if broken:
        found += Search(calls).reasons(SHAPES, broken)[0]
    form = {id(call) for call in broken}
    sound = [call for call in calls if id(call) not in form]
    differing = [call for call in sound if not call.equal]
    first: list[Reason] = []
    credits: dict[str, float] = {}
    if differing:
        ideas: list[Hypothesis | Sign] = [*SIGNS, *ideas_of(calls[0].function)]
        search = Search(sound)
        reasons, rest = search.reasons(ideas, differing)
        found += reasons
        if rest:
            part = partly(ideas, rest, wrong, 1 if reasons else 2)
            weak, left = search.reasons(WEAK, rest) if part is None else ([part], [])
            # A weak sign computes nothing: it counts less than a hypothesis of fewer calls. [CLASSIFY-SIGNS]
            credits |= {reason.kind + reason.detail: WEAK_CREDIT for reason in weak}
            # What is reproduced in part comes first where it concerns more calls than what is reproduced whole.
            if part is not None and len(rest) > max((reason.explains for reason in found), default=0):
                first = weak
            else:
                found += weak
            if left:
                found.append(Reason("unknown", f"{len(left)} cases fit no hypothesis", 0, wrong))
    found.sort(key=lambda reason: -reason.explains * credits.get(reason.kind + reason.detail, 1.0))
    return [replace(reason, of=wrong) for reason in (*first, *found)]
