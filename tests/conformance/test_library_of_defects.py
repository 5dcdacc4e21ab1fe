# SPDX-License-Identifier: Apache-2.0
"""Every labelled mistake is caught by ``quick`` and given the right reason; what is right is given none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import fp8ref
from conformance import defects_attention, defects_mm, defects_mma, defects_nn, defects_rules, library_mm
from conformance.library import MISTAKES, Mistake, labelled_defects
from fp8ref.compare.classify import KINDS
from fp8ref.conformance import CallableTarget, Case, Claim, ModelCase, OpResult, Outcome, check, runner
from fp8ref.conformance.claim import claimed_cases
from fp8ref.conformance.targets import BackendTarget

# They register their defects.
assert defects_attention and defects_mm and defects_mma and defects_nn and defects_rules and library_mm
LIBRARY = [*MISTAKES, *labelled_defects()]
# Given another reason than their own, with why.
MISSED: dict[str, str] = {}
SHARE = 0.9  # of the mistakes that must be given their reason

_cases: dict[tuple[str, str, str], list[Case | ModelCase]] = {}
_expected: dict[int, tuple[Any, Outcome]] = {}


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Cases and golden's outcomes are computed once for all mistakes of a claim."""

    def cases(stem: str, level: str, claim: Claim) -> list[Case | ModelCase]:
        key = stem, level, str(claim)
        if key not in _cases:
            _cases[key] = list(claimed_cases(stem, level, claim))
        return _cases[key]

    run = BackendTarget.run

    def outcome(self: BackendTarget, case: Case | ModelCase) -> Outcome:
        if id(case) not in _expected:
            _expected[id(case)] = case, run(self, case)
        return _expected[id(case)][1]

    monkeypatch.setattr(runner, "claimed_cases", cases)
    monkeypatch.setattr(BackendTarget, "run", outcome)
    yield


def verdict(mistake: Mistake) -> OpResult:
    default = "vllm.per_token" if mistake.function == "quantize" else ""
    claim = Claim.parse(mistake.claim or default)
    target = CallableTarget({mistake.function: mistake.make()})
    (result,) = check(target, [mistake.function], "quick", claim=claim).results
    return result


def test_the_library_is_large_and_covers_every_kind() -> None:
    assert len(LIBRARY) >= 80
    assert len({mistake.id for mistake in LIBRARY}) == len(LIBRARY)
    assert {mistake.kind for mistake in LIBRARY} == KINDS.keys() - {"unknown"}
    assert len(MISSED) <= (1 - SHARE) * len(LIBRARY)
    assert MISSED.keys() <= {mistake.id for mistake in LIBRARY}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("mistake", LIBRARY, ids=lambda mistake: mistake.id)
def test_quick_catches_it_and_says_why(mistake: Mistake) -> None:
    result = verdict(mistake)
    assert result.verdict == "differs"
    assert result.reasons
    reason = result.reasons[0]
    if mistake.id in MISSED:
        assert reason.kind != mistake.kind, f"{mistake.id} is classified now: take it off the list"
        return
    assert reason.kind == mistake.kind, "\n".join(map(str, result.reasons))
    assert mistake.detail in reason.detail


@pytest.mark.parametrize("op", [op.stem for op in fp8ref.table.ops() if op.stem != "llama"])
def test_what_is_right_is_given_no_reason(op: str) -> None:
    functions = next(row.functions for row in fp8ref.table.ops() if row.stem == op)
    target = CallableTarget({name: getattr(fp8ref, name) for name in functions})
    (result,) = check(target, [op], "quick", claim=Claim.parse("vllm.group_128" if op == "quantize" else "")).results
    assert (result.verdict, result.reasons) == ("equal", ())
