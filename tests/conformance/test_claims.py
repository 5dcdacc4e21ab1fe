# SPDX-License-Identifier: Apache-2.0
"""Every claim is asked every trap: the same operands under its own policies, once, and none that golden refuses."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest

import fp8ref
from fp8ref.conformance import CallableTarget, Case, Claim, cases_of, check
from fp8ref.conformance.cases._flags import PATTERNS
from fp8ref.conformance.claim import claimed_cases, defaults
from fp8ref.conformance.derive import content
from fp8ref.conformance.report import to_json
from fp8ref.conformance.targets import BackendTarget
from fp8ref.golden._operand import ACCUMULATORS
from golden.test_quantize_known_bits import KNOWN, ZERO

GOLDEN = BackendTarget("golden")
EPILOGUES = ("a_b", "b_a", "ab", "deepgemm", "triton", "triton_ba")
# Ops and claims that have cases there.
CLAIMS = [
    *(
        ("scaled_mm", name)
        for name in ("exact", "sm100_tcgen05", "b_a", "deepgemm", "sm89_mma,ab", "sm90_wgmma,triton")
    ),
    *(("grouped_mm", name) for name in ("exact", "sm120_mma", "ab", "deepgemm", "sm90_wgmma,triton")),
    *(("linear", name) for name in ("exact", "sm90", "sm89", "sm80", "sm100_tcgen05", "sm80_mma")),
    *(("mma", name) for name in ("sm80_mma", "sm89_mma", "sm90_wgmma", "sm90_mma_sync", "sm120_mma")),
    *(("attention", name) for name in ("exact", "sm90", "sm89", "sm80")),
]


@cache
def asked(stem: str, name: str) -> tuple[Case, ...]:
    """The cases of a claim at the quick level."""
    return tuple(case for case in claimed_cases(stem, "quick", Claim.parse(name)) if isinstance(case, Case))


@pytest.mark.parametrize(("stem", "name"), CLAIMS)
def test_a_claim_is_asked_every_trap_once(stem: str, name: str) -> None:
    cases, claim = asked(stem, name), Claim.parse(name)
    assert all(claim.covers(case) for case in cases)
    assert max(Counter(case.name for case in cases).values()) == 1
    valid = [case for case in cases if "misuse" not in case.flags]
    new = [content(case, defaults(case.function)) for case in valid if not _is_original(stem, case)]
    assert len(set(new)) == len(new)
    assert {flag for case in cases for flag in case.flags} | {"misuse"} >= set(PATTERNS[stem])


@cache
def _originals(stem: str) -> frozenset[str]:
    return frozenset(case.name for case in cases_of(stem, "quick"))


def _is_original(stem: str, case: Case) -> bool:
    return case.name in _originals(stem)


@pytest.mark.parametrize(
    ("stem", "name"),
    [("scaled_mm", "deepgemm"), ("grouped_mm", "sm90_wgmma,triton"), ("linear", "sm80"), ("mma", "sm80_mma"),
     ("attention", "sm89"), ("scaled_mm", "sm89_mma,ab")],
)  # fmt: skip
def test_golden_refuses_none_of_them(stem: str, name: str) -> None:
    for case in asked(stem, name):
        small = sum(np.size(value) for value in case.arguments.values()) < 200_000
        if small and "misuse" not in case.flags:
            assert not GOLDEN.run(case).error, case.name


def test_accumulators_are_asked_the_same() -> None:
    """The traps laid for one are those laid for all, but for the operands that only one of them had cases of."""
    counts = {name: len(asked("scaled_mm", name)) for name in ACCUMULATORS if name != "exact"}
    assert len(set(counts.values())) <= 2
    assert min(counts.values()) > 250, counts


def test_every_is_asked_as_it_stands() -> None:
    names = [case.name for case in claimed_cases("scaled_mm", "quick", Claim("every"))]
    assert names == [case.name for case in cases_of("scaled_mm", "quick")]


def test_names_say_what_is_asked() -> None:
    names = {case.name for case in asked("scaled_mm", "sm100_tcgen05")}
    assert {"float32_midpoint/sm100_tcgen05/bfloat16", "k300/sm100_tcgen05/split_2"} <= names
    # Other operands had that name already.
    assert "orders/b_a/float32@exact,a_b" in {case.name for case in asked("scaled_mm", "exact")}


def test_rows_become_blocks() -> None:
    """Each block has the scale of its row, so with powers of two the result is the same as without blocks."""
    case = next(case for case in asked("scaled_mm", "deepgemm") if case.name.startswith("cancel_to_tiny/"))
    a, a_scale = case.arguments["a"], case.arguments["a_scale"]
    assert a_scale.shape == (len(a), -(-a.shape[1] // 128))
    case = next(case for case in asked("grouped_mm", "triton") if case.name.startswith("scales/experts"))
    b, b_scale = case.arguments["b"], case.arguments["b_scale"]
    assert b_scale.shape == (*b.shape[:2], -(-b.shape[2] // 128))
    assert all(len(np.unique(scale)) == 1 for scale in b_scale)


@pytest.mark.parametrize("stem", ["scaled_mm", "mma", "linear", "grouped_mm", "attention"])
def test_nothing_is_asked_under_a_policy_that_it_has_not(stem: str) -> None:
    claim: Any = Claim("bits", {"accumulate": "sm80_mma" if stem in ("scaled_mm", "attention") else "sm90_wgmma_x"})
    assert [case for case in claimed_cases(stem, "quick", claim) if "misuse" not in getattr(case, "flags", ())] == []


def _has_row(case: Case, row: Any, scale_ub: float | None) -> bool:
    """Whether a row of x begins with these values, NaN like NaN."""
    if case.arguments.get("scale_ub") != scale_ub:
        return False
    x = np.atleast_2d(case.arguments["x"]).astype(np.float32)[:, : len(row)]
    return x.shape[1] == len(row) and bool(((x == row) | (np.isnan(x) & np.isnan(row))).all(axis=1).any())


@pytest.mark.parametrize("shown", [*KNOWN, *(f"zero row of {rule}" for rule in ZERO)])
def test_every_witness_of_the_rules_is_asked(shown: str) -> None:
    """The smallest inputs on which two systems part, tests/golden/test_quantize_known_bits.py."""
    if shown in KNOWN:
        rule, dtype, x, more, _, _ = KNOWN[shown]
    else:
        rule, more, x = shown.split()[-1], {}, [0.0]
        dtype = ZERO[rule][0]
    row = np.array(x, np.float32).astype(dtype).astype(np.float32)
    cases = [case for case in _quantize() if case.name.startswith(f"{rule}/") and case.arguments["x"].dtype == dtype]
    assert any(_has_row(case, row, more.get("scale_ub")) for case in cases)


@cache
def _quantize() -> tuple[Case, ...]:
    return tuple(case for case in cases_of("quantize", "quick") if isinstance(case, Case) and "x" in case.arguments)


def test_what_the_claim_says_too_little_of_is_left_out() -> None:
    """Where no op was named; where it was, that is misuse."""
    target = CallableTarget({"quantize": fp8ref.quantize, "dequantize": fp8ref.dequantize, "decode": fp8ref.decode})
    report = check(target, invariance=())
    assert [result.op for result in report.results] == ["e4m3", "quantize"]
    assert report.left_out == ("quantize: a contract must name the rule that the target follows, or every",)
    assert report.verdict == "equal" and json.loads(to_json(report))["left_out"] == list(report.left_out)
    assert check(target, ["dequantize"], invariance=()).left_out == ()
    with pytest.raises(ValueError, match="must name the rule"):
        check(target, ["quantize"], invariance=())
