# SPDX-License-Identifier: Apache-2.0
"""Defects written blind: ``quick`` catches each, and its report gives the reason that the author had in mind."""

from __future__ import annotations

import functools
from typing import Any
from unittest.mock import patch

import pytest

from conformance import blind_nn
from conformance.blind import BLIND, Row
from fp8ref.conformance import BackendTarget, CallableTarget, Case, Claim, Outcome, Report, check
from fp8ref.conformance.cases import ModelCase
from fp8ref.conformance.runner import _reference

assert blind_nn  # registers its rows

KINDS = {
    "tie_rule",
    "truncation",
    "double_rounding",
    "missing_rounding",
    "overflow_policy",
    "subnormal_flush",
    "special_values",
    "scale_rule",
    "reciprocal",
    "accumulator",
    "epilogue_order",
    "factor",
    "scale_broadcast",
    "layout",
    "k_tail",
    "group_boundary",
    "stale_output",
    "unwritten",
    "nondeterministic",
    "interface",
}
MISSED: dict[str, str] = {}  # what quick does not catch, and why not
MISCLASSIFIED: dict[str, str] = {}  # what is known to be given another kind, and which


REFERENCE = _reference()
GOLDEN: dict[tuple[str, str, str], Outcome] = {}  # by contract, op and case: each is computed once


@functools.cache
def report_of(row: Row) -> Report:
    """quick on the defect alone."""

    def golden(case: Case | ModelCase) -> Outcome:
        key = row.contract, row.stem, case.name
        if key not in GOLDEN:
            GOLDEN[key] = BackendTarget.run(REFERENCE, case)
        return GOLDEN[key]

    claim = Claim.parse(row.contract) if row.contract else None
    target = CallableTarget({row.function: row.wrong})
    with patch.object(REFERENCE, "run", golden):
        return check(target, [row.stem], "quick", claim=claim, invariance=())


def name_of(row: Row) -> Any:
    return f"{row.stem}-{row.name}"


def test_the_rows() -> None:
    assert {kind for row in BLIND for kind in row.kinds} <= KINDS
    assert len(BLIND) >= 24 and len({row.name for row in BLIND}) == len(BLIND)
    assert {*MISSED, *MISCLASSIFIED} <= {row.name for row in BLIND}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("row", BLIND, ids=name_of)
def test_quick_catches(row: Row) -> None:
    assert report_of(row).equal == (row.name in MISSED)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("row", [row for row in BLIND if row.name not in MISSED], ids=name_of)
def test_quick_says_why(row: Row) -> None:
    kind = report_of(row).results[0].reasons[0].kind
    if row.name in MISCLASSIFIED:
        assert kind == MISCLASSIFIED[row.name] and kind not in row.kinds
    else:
        assert kind in row.kinds
