# SPDX-License-Identifier: Apache-2.0
"""No hypothesis is broken: what one raises for right calls is a refusal, never a slip of its own. [CLASSIFY-SEARCH]"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fp8ref
from fp8ref.compare.classify import Evidence, _structure, _try
from fp8ref.compare.classify._golden import FUNCTIONS
from fp8ref.compare.classify._table import TABLE, ideas_of
from fp8ref.conformance import Case, Claim, claim
from fp8ref.conformance.targets import BackendTarget
from fp8ref.golden._args import fail

REFUSALS = (type(fail("", "")),)  # what a hypothesis may raise: golden refuses its arguments
SMALL = 4096  # bytes of a call
FORMS = 8  # calls of a function, of different shapes, types and policies
RULES = ("vllm.per_token", "vllm.group_128", "deepgemm.block_128x128", "vllm.per_tensor", "vllm.per_tensor_static")
LATE = 4  # of the hypotheses of a later wave, which differ by numbers alone, one in so many


def _form(case: Case) -> tuple[Any, ...]:
    """What tells calls apart beside their numbers."""
    return tuple(
        (name, x.shape, x.dtype.name) if isinstance(x, np.ndarray) else (name, x if isinstance(x, str) else type(x))
        for name, x in case.arguments.items()
    )


@functools.cache
def right_calls(function: str) -> tuple[Evidence, ...]:
    """Small calls of a function that golden answers, of different forms."""
    stem = next(op.stem for op in fp8ref.table.ops() if function in op.functions)
    found: dict[tuple[Any, ...], Evidence] = {}
    golden = BackendTarget("golden")
    for stated in RULES if stem == "quantize" else ("",):
        for case in claim.claimed_cases(stem, "quick", Claim.parse(stated)):
            if not isinstance(case, Case) or case.function != function or _form(case) in found:
                continue
            if sum(x.nbytes for x in case.arguments.values() if isinstance(x, np.ndarray)) > SMALL:
                continue
            outcome = golden.run(case)
            if not outcome.error:
                found[_form(case)] = Evidence(
                    case.name, function, case.arguments, outcome.arrays, outcome.arrays, equal=True
                )
    calls = list(found.values())
    return tuple(calls[:: max(1, len(calls) // FORMS)])


def broken(ideas: list[_try.Hypothesis], calls: tuple[Evidence, ...]) -> list[str]:
    """The hypotheses that raise something else than a refusal."""
    found = []
    for idea in ideas:
        for call in calls:
            try:
                with np.errstate(all="ignore"):
                    _try.outputs_of(call, idea.predict(call))
            except REFUSALS:
                continue
            except Exception as error:
                found.append(f"{idea.kind}: {idea.detail}: {type(error).__name__}: {error} ({call.case})")
                break
    return found


def chosen(function: str) -> list[_try.Hypothesis]:
    """All hypotheses that are tried at once, and some of the others."""
    ideas = ideas_of(function)
    return [idea for i, idea in enumerate(ideas) if not idea.wave or not i % LATE]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("function", [
    pytest.param(name, marks=pytest.mark.slow) if name == "grouped_mm" else name for name in TABLE
])  # fmt: skip
def test_no_hypothesis_is_broken(function: str) -> None:
    calls = right_calls(function)
    assert calls
    assert not broken(chosen(function), calls)


def test_every_function_has_hypotheses() -> None:
    assert FUNCTIONS.keys() == TABLE.keys()


def _raises(error: Exception) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        raise error

    return predict


@pytest.mark.parametrize("error", [TypeError("x"), NameError("x"), IndexError("x"), KeyError("x"), ValueError("x")])
def test_a_broken_hypothesis_is_noticed(error: Exception) -> None:
    idea = _try.Hypothesis("accumulator", "broken", _raises(error))
    assert broken([idea], right_calls("residual"))


def test_a_refusal_is_none() -> None:
    idea = _try.Hypothesis("accumulator", "refused", _raises(fail("residual", "no")))
    assert not broken([idea], right_calls("residual"))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("function", TABLE)
def test_no_sign_raises(function: str) -> None:
    calls = right_calls(function)
    wrong = [replace(call, got={name: np.roll(x, 1) for name, x in call.got.items()}, equal=False) for call in calls]
    wrong = [call for call in wrong if any(x.tobytes() != call.expected[n].tobytes() for n, x in call.got.items())]
    for sign in (*_structure.SHAPES, *_structure.SIGNS, *_structure.WEAK):
        for call in wrong:
            try:
                sign.look(call, wrong)
            except REFUSALS:
                continue
