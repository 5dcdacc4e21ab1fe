# SPDX-License-Identifier: Apache-2.0
"""The inputs of these tests notice every seeded defect: a comparison that nothing can fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import oracle
from bits import same_bits
from conformance import defects_attention, defects_mm, defects_mma, defects_nn, defects_rules
from conformance.defects import DEFECTS, Defect, concerns
from golden import mutations_attention, mutations_mm, mutations_mma, mutations_rules
from golden.mutations import MUTATIONS
from inputs import (
    attention,
    attention_unit,
    e4m3,
    elementwise,
    grouped_mm,
    linear,
    llama,
    mma,
    quantize,
    rmsnorm,
    rope,
    scaled_mm,
)
from inputs.case import Case

# They register their defects.
assert defects_attention and defects_mm and defects_mma and defects_nn and defects_rules
assert mutations_attention and mutations_mm and mutations_mma and mutations_rules

CASES = {
    "e4m3": e4m3.cases,
    "quantize": quantize.cases,
    "mma": mma.cases,
    "scaled_mm": scaled_mm.cases,
    "grouped_mm": grouped_mm.cases,
    "linear": linear.cases,
    "rmsnorm": rmsnorm.cases,
    "rope": rope.cases,
    "attention": lambda: attention.cases() + attention_unit.cases(),
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
    assert any(notices(case, defect.wrong) for case in cases if concerns(defect.wrong, case.arguments))


@pytest.mark.parametrize("stem, mutate", MUTATIONS, ids=lambda x: getattr(x, "__name__", x))
def test_wrong_witness_is_noticed(stem: str, mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch):
    cases = [case for case in CASES[stem]() if concerns(mutate, case.arguments)]
    for case in cases:
        oracle.expected(case)  # by the witness as it is
    mutate(monkeypatch)
    assert any(notices(case, getattr(oracle, case.function)) for case in cases)
