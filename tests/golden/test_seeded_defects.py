# SPDX-License-Identifier: Apache-2.0
"""The inputs of these tests notice every seeded defect: a comparison that nothing can fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import oracle
from bits import same_bits
from conformance import defects_mm, defects_nn
from conformance.defects import DEFECTS, Defect
from golden import mutations_mm
from golden.mutations import MUTATIONS
from inputs import attention, e4m3, elementwise, grouped_mm, linear, llama, quantize, rmsnorm, rope, scaled_mm
from inputs.case import Case

assert defects_mm and defects_nn and mutations_mm  # they register their defects

CASES = {
    "e4m3": e4m3.cases,
    "quantize": quantize.cases,
    "scaled_mm": scaled_mm.cases,
    "grouped_mm": grouped_mm.cases,
    "linear": linear.cases,
    "rmsnorm": rmsnorm.cases,
    "rope": rope.cases,
    "attention": attention.cases,
    "silu_mul": elementwise.silu_cases,
    "residual": elementwise.residual_cases,
    "sample": elementwise.sample_cases,
    "llama": llama.cases,
}


def notices(case: Case, wrong: Callable[..., Any]) -> bool:
    """Whether a wrong function gives other bits in this case. One that cannot take the arguments shows nothing."""
    arguments = dict(case.arguments)
    if "out" in arguments:
        arguments["out"] = arguments["out"].copy()
    try:
        result = wrong(**arguments)
    except (KeyError, TypeError, ValueError):
        return False
    return not same_bits(result, oracle.expected(case))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.stem}-{defect.name}")
def test_wrong_golden_is_noticed(defect: Defect):
    cases = [case for case in CASES[defect.stem]() if case.function == defect.function]
    assert any(notices(case, defect.wrong) for case in cases)


@pytest.mark.parametrize("stem, mutate", MUTATIONS, ids=lambda x: getattr(x, "__name__", x))
def test_wrong_witness_is_noticed(stem: str, mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch):
    cases = CASES[stem]()
    for case in cases:
        oracle.expected(case)  # by the witness as it is
    mutate(monkeypatch)
    assert any(notices(case, getattr(oracle, case.function)) for case in cases)
