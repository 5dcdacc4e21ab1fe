# SPDX-License-Identifier: Apache-2.0
"""Defects written blind: ``quick`` catches each, and its report gives the reason that the author had in mind."""

from __future__ import annotations

import functools
from typing import Any
from unittest.mock import patch

import pytest

from conformance import blind_nn
from conformance.blind import BLIND, Row
from fp8ref.compare.classify import KINDS
from fp8ref.conformance import BackendTarget, CallableTarget, Case, Claim, Outcome, Report, check
from fp8ref.conformance.cases import ModelCase
from fp8ref.conformance.runner import _reference

assert blind_nn  # registers its rows

MISSED: dict[str, str] = {}  # what quick does not catch, and why not
# Those that take the longest, and are not of a kind of their own.
SLOW = (
    "blackwell_is_not_hopper",
    "split_k_workspace_is_bfloat16",
    "last_rows_of_m_are_not_stored",
    "weights_are_fnuz",
    "expert_of_the_tiles_first_row",
    "tail_of_k_reads_the_next_row",
    "subnormal_operands_are_zero",
    "short_tiles_of_a_group_are_not_stored",
    "largest_number_is_240",
    "one_a_scale_for_eight_rows",
    "codes_by_the_scale_of_the_first_row",
    "accumulator_tile_is_transposed",
    "outputs_are_cut",
    "a_scales_of_the_first_block",
    "bfloat16_is_the_upper_half",
    "subnormal_codes_are_zero",
)
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


def param(row: Row) -> Any:
    return pytest.param(row, id=f"{row.stem}-{row.name}", marks=pytest.mark.slow if row.name in SLOW else ())


def test_the_rows() -> None:
    assert {kind for row in BLIND for kind in row.kinds} <= KINDS.keys() - {"unknown"}
    assert len(BLIND) >= 24 and len({row.name for row in BLIND}) == len(BLIND)
    assert {*MISSED, *MISCLASSIFIED, *SLOW} <= {row.name for row in BLIND}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("row", [param(row) for row in BLIND])
def test_quick_catches(row: Row) -> None:
    assert report_of(row).equal == (row.name in MISSED)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("row", [param(row) for row in BLIND if row.name not in MISSED])
def test_quick_says_why(row: Row) -> None:
    kind = report_of(row).results[0].reasons[0].kind
    if row.name in MISCLASSIFIED:
        assert kind == MISCLASSIFIED[row.name] and kind not in row.kinds
    else:
        assert kind in row.kinds
