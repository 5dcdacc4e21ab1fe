# SPDX-License-Identifier: Apache-2.0
"""The ``quick`` level catches every seeded defect, and what has none passes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import fp8ref
from conformance import defects_attention, defects_experts, defects_mm, defects_mma, defects_nn, defects_rules
from conformance.defects import DEFECTS, Defect, concerns
from conformance.defects_llama import MODELS, run
from fp8ref.conformance import Case, Outcome, cases_of
from fp8ref.conformance.outcome import compare
from fp8ref.conformance.targets import BackendTarget

# They register their defects.
assert defects_attention and defects_experts and defects_mm and defects_mma and defects_nn and defects_rules

GOLDEN = BackendTarget("golden")
_expected: dict[str, Outcome] = {}


def expected(stem: str, case: Case) -> Outcome:
    """Golden's outcome, computed once for all defects of an op."""
    key = f"{stem}/{case.name}"
    if key not in _expected:
        _expected[key] = GOLDEN.run(case)
    return _expected[key]


def first_mismatch(defect: Defect) -> str:
    """The first quick case that catches it; empty if none does."""
    subject = BackendTarget(SimpleNamespace(name="golden", **{defect.function: defect.wrong}))
    for case in cases_of(defect.stem, "quick"):
        if case.function == defect.function and concerns(defect.wrong, case.arguments):
            mismatch = compare(case.name, expected(defect.stem, case), subject.run(case))
            if mismatch is not None:
                return mismatch.case
    return ""


def test_there_are_many_defects() -> None:
    stems = {defect.stem for defect in DEFECTS}
    assert stems == {op.stem for op in fp8ref.table.ops()} - {"llama"}
    assert len(DEFECTS) >= 60


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.stem}-{defect.name}")
def test_quick_catches(defect: Defect) -> None:
    assert first_mismatch(defect), f"no quick case of {defect.stem} notices {defect.name}"


@pytest.mark.parametrize("word, name", [(word, name) for word, wrong in MODELS.items() for name in wrong])
def test_quick_catches_wrong_models(word: str, name: str) -> None:
    for case in cases_of("llama", "quick"):
        if word in case.name and compare(case.name, expected("llama", case), run(case, MODELS[word][name])) is not None:
            return
    pytest.fail(f"no quick case of llama notices {name}")


def test_the_unchanged_composition_passes() -> None:
    """So that what catches the wrong models is their defect, not the way they are run."""
    for case in cases_of("llama", "quick"):
        assert compare(case.name, expected("llama", case), run(case)) is None
