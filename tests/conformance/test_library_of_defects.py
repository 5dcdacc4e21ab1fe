# SPDX-License-Identifier: Apache-2.0
"""Every labelled mistake is caught by ``quick`` and given the right reason; what is right is given none."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator
from typing import Any

import pytest

import fp8ref
from conformance import (
    defects_attention,
    defects_experts,
    defects_mm,
    defects_mma,
    defects_nn,
    defects_rules,
    library_mm,
)
from conformance.library import MISTAKES, Mistake, labelled_defects, signed
from fp8ref.compare.classify import KINDS
from fp8ref.conformance import CallableTarget, Case, Claim, ModelCase, OpResult, Outcome, check, runner
from fp8ref.conformance.claim import claimed_cases
from fp8ref.conformance.targets import BackendTarget
from fp8ref.golden.scaled_mm import ACCUMULATORS

# They register their defects.
assert (
    defects_attention and defects_experts and defects_mm and defects_mma and defects_nn and defects_rules and library_mm
)
LIBRARY = [*MISTAKES, *labelled_defects()]
# Given another reason than their own, with why.
MISSED: dict[str, str] = {}
# Those that take a second or longer, and are not the only ones of their kind.
SLOW = (
    "attention-mode_ignored",
    "attention-weights_not_rounded",
    "quantize-amax_misses_the_last_column",
    "quantize-amax_times_reciprocal_of_448",
    "quantize-per_token_multiplies_by_reciprocal",
    "quantize-scale_floor_forgotten",
    "scaled_mm-a_scale_ignored",
    "scaled_mm-a_scale_of_the_row_before",
    "scaled_mm-accumulator_rounded_to_bf16_before_scales",
    "scaled_mm-b_a_where_a_b_is_claimed",
    "scaled_mm-b_is_read_as_k_by_n",
    "scaled_mm-b_scale_ignored",
    "scaled_mm-b_scale_squared",
    "scaled_mm-bf16_through_fp16",
    "scaled_mm-bias_ignored",
    "scaled_mm-bias_rounded_twice",
    "scaled_mm-blackwell_where_hopper_is_claimed",
    "scaled_mm-columns_shifted_by_one",
    "scaled_mm-first_a_scale_for_all",
    "scaled_mm-first_tile_is_zero",
    "scaled_mm-float32_backward",
    "scaled_mm-float32_blas",
    "scaled_mm-float32_in_order",
    "scaled_mm-half_accumulation",
    "scaled_mm-k_of_b_is_backward",
    "scaled_mm-largest_number_for_infinity",
    "scaled_mm-last_calls_buffer",
    "scaled_mm-last_element_of_k_dropped",
    "scaled_mm-last_row_is_zero",
    "scaled_mm-mma_sync_where_exact_is_claimed",
    "scaled_mm-nan_for_infinity",
    "scaled_mm-one_chain_where_promotion_is_claimed",
    "scaled_mm-one_tile_three_percent_off",
    "scaled_mm-output_is_cut_to_bf16",
    "scaled_mm-output_ties_away",
    "scaled_mm-promoted_where_one_chain_is_claimed",
    "scaled_mm-promotion_every_64",
    "scaled_mm-returns_zeros",
    "scaled_mm-row_scale_applied_as_column_scale",
    "scaled_mm-rows_in_reverse_order",
    "scaled_mm-scales_kept_in_bf16",
    "scaled_mm-split_k_the_last_part_first",
    "scaled_mm-subnormal_codes_are_zero",
    "scaled_mm-three_percent_too_large",
    "scaled_mm-transposed_in_place",
    "scaled_mm-transposed_result",
)
SHARE = 0.9  # of the mistakes that must be given their reason

_cases: dict[tuple[Any, ...], list[Case | ModelCase]] = {}
_expected: dict[int, tuple[Any, Outcome]] = {}


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Cases and golden's outcomes are computed once for all mistakes of a claim."""

    def cases(stem: str, level: str, claim: Claim, functions: Collection[str]) -> list[Case | ModelCase]:
        key = stem, level, str(claim), tuple(sorted(functions))
        if key not in _cases:
            _cases[key] = list(claimed_cases(stem, level, claim, functions))
        return _cases[key]

    run = BackendTarget.run

    def outcome(self: BackendTarget, case: Case | ModelCase) -> Outcome:
        if id(case) not in _expected:
            _expected[id(case)] = case, run(self, case)
        return _expected[id(case)][1]

    monkeypatch.setattr(runner, "claimed_cases", cases)
    monkeypatch.setattr(BackendTarget, "run", outcome)
    yield


def is_slow(mistake: Mistake) -> bool:
    """Products take the longest; of those that test_defects.py has too, and of some others, the reason is slow."""
    return mistake.id in SLOW or (mistake.function == "scaled_mm" and mistake not in MISTAKES)


def verdict(mistake: Mistake) -> OpResult:
    default = "vllm.per_token" if mistake.function == "quantize" else ""
    claim = Claim.parse(mistake.claim or default)
    target = CallableTarget({mistake.function: mistake.make()})
    # Without the very long K of scaled_mm, which takes golden most of its time.
    pattern = "scaled_mm/[!l]*" if mistake.function == "scaled_mm" else "*"
    (result,) = check(target, [mistake.function], "quick", claim=claim, pattern=pattern, invariance=()).results
    return result


def test_the_library_is_large_and_covers_every_kind() -> None:
    assert len(LIBRARY) >= 80
    assert len({mistake.id for mistake in LIBRARY}) == len(LIBRARY)
    assert {mistake.kind for mistake in LIBRARY} == KINDS.keys() - {"unknown"}
    assert len(MISSED) <= (1 - SHARE) * len(LIBRARY)
    assert {*MISSED, *SLOW} <= {mistake.id for mistake in LIBRARY}
    fast = [mistake for mistake in LIBRARY if not is_slow(mistake)]
    assert len(fast) >= 60
    assert {mistake.kind for mistake in fast} == KINDS.keys() - {"unknown"}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("mistake", [
    pytest.param(mistake, id=mistake.id, marks=pytest.mark.slow if is_slow(mistake) else ()) for mistake in LIBRARY
])  # fmt: skip
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


def reasons_under(claimed: str, function: str, **really: str) -> tuple[Any, ...]:
    """The reasons for golden with other policies than it claims."""

    def wrong(**arguments: Any) -> Any:
        return getattr(fp8ref, function)(**{**arguments, **really})

    target = CallableTarget({function: signed(function, wrong)})
    pattern = "scaled_mm/[!l]*" if function == "scaled_mm" else "*"
    (result,) = check(target, [function], "quick", claim=Claim.parse(claimed), pattern=pattern, invariance=()).results
    return result.reasons


PAIRS = list(itertools.pairwise((*ACCUMULATORS, ACCUMULATORS[0])))


@pytest.mark.parametrize(
    ("claimed", "really"),
    [pytest.param(*pair, marks=pytest.mark.slow) if i % 2 else pair for i, pair in enumerate(PAIRS)],
)
def test_another_accumulator_is_named(claimed: str, really: str) -> None:
    reasons = reasons_under(f"{claimed},a_b", "scaled_mm", accumulate=really)
    if {claimed, really} == {"sm100_tcgen05", "sm120_mma"}:  # they have the same bits
        assert reasons == ()
        return
    assert reasons[0].kind == "accumulator"
    assert really in reasons[0].detail.split("; or ")


def _rule_pairs() -> list[tuple[str, str]]:
    """Each rule claimed as the next one of its granularity."""
    found = []
    for granularity in ("row", "tensor", "group", "block"):
        names = [rule.name for rule in fp8ref.rules() if rule.granularity == granularity and not rule.given]
        found += list(zip(names, names[1:] + names[:1], strict=True))
    return found


@pytest.mark.parametrize(
    ("claimed", "really"),
    [pytest.param(*pair, marks=pytest.mark.slow) if i % 4 else pair for i, pair in enumerate(_rule_pairs())],
)
def test_another_rule_is_named(claimed: str, really: str) -> None:
    rules = {rule.name: rule for rule in fp8ref.rules()}

    def wrong(x: Any, rule: str, scale: Any = None, scale_ub: Any = None) -> Any:
        bound = None if rules[really].upper_bound == "none" else scale_ub
        return fp8ref.quantize(x, really, scale, bound)

    target = CallableTarget({"quantize": wrong})
    (result,) = check(target, ["quantize"], "quick", claim=Claim.parse(claimed), invariance=()).results
    if not result.reasons:  # two names of the same bits
        same = ("name", "version", "source", "scale_floor", "amax_floor")
        assert _but(rules[claimed], same) == _but(rules[really], same)
        return
    assert result.reasons[0].kind == "scale_rule"
    names = result.reasons[0].detail.split("; or ")
    assert really in names or all(_same_bits(really, name, result.reasons[0].cases, claimed) for name in names)


def _same_bits(one: str, two: str, names: tuple[str, ...], claimed: str) -> bool:
    """Whether two rules give the same codes and scales for the cases of these names."""
    rules = {rule.name: rule for rule in fp8ref.rules()}
    if two not in rules:
        return False
    cases = [case for case in claimed_cases("quantize", "quick", Claim.parse(claimed)) if case.name in names]
    for case in cases:
        assert isinstance(case, Case)
        x, scale, bound = (case.arguments.get(name) for name in ("x", "scale", "scale_ub"))
        bounds = [None if rules[name].upper_bound == "none" else bound for name in (one, two)]
        left, right = (fp8ref.quantize(x, name, scale, b) for name, b in zip((one, two), bounds, strict=True))
        if any(x.tobytes() != y.tobytes() for x, y in zip(left, right, strict=True)):
            return False
    return bool(cases)


def _but(rule: Any, fields: tuple[str, ...]) -> Any:
    return dataclasses.replace(rule, **{name: type(getattr(rule, name))() for name in fields})
