# SPDX-License-Identifier: Apache-2.0
"""The inputs of these tests notice every seeded defect: a comparison that nothing can fail proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import oracle
from bits import same_bits
from conformance import defects_attention, defects_experts, defects_mm, defects_mma, defects_nn, defects_rules
from conformance.defects import DEFECTS, Defect, concerns
from golden import mutations_attention, mutations_experts, mutations_mm, mutations_mma, mutations_rules
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
    route,
    scaled_mm,
    temperature,
)
from inputs.case import Case

# They register their defects.
assert defects_attention and defects_experts and defects_mm and defects_mma and defects_nn and defects_rules
assert mutations_attention and mutations_experts and mutations_mm and mutations_mma and mutations_rules

CASES = {
    "e4m3": e4m3.cases,
    "quantize": quantize.cases,
    "mma": mma.cases,
    "scaled_mm": scaled_mm.cases,
    "grouped_mm": grouped_mm.cases,
    "linear": linear.cases,
    "rmsnorm": rmsnorm.cases,
    "rope": rope.cases,
    "temperature": temperature.cases,
    "route": route.cases,
    "attention": lambda: attention.cases() + attention_unit.cases(),
    "silu_mul": elementwise.silu_cases,
    "residual": elementwise.residual_cases,
    "sample": elementwise.sample_cases,
    "llama": llama.cases,
}


# Seen in large inputs only, which take the witness ten seconds and more: with the slow tests.
LATE = {
    "attention-blocks_are_counted_from_the_first_term",
    "attention-blocks_merge_backward",
    "attention-exact_scores",
    "attention-no_superblocks",
    "attention-scale_is_rounded_before_log2_e",
    "attention-scores_are_exact",
    "attention-superblocks_of_15_blocks",
    "attention-superblocks_of_17_blocks",
    "attention-superblocks_of_one_block_less",
    "attention-superblocks_of_one_block_more",
    "attention-superblocks_of_one_key_less",
    "llama-positions_begin_anew",
    "scaled_mm-block_products_are_rounded",
    "scaled_mm-blocks_have_64_elements_of_n",
    "scaled_mm-last_tile_never_written",
    "scaled_mm-partial_sums_are_added_backward",
}


def late(name: str, *values: Any) -> Any:
    """A parameter of a test, slow if the defect is noticed late."""
    return pytest.param(*values, id=name, marks=[pytest.mark.slow] if name in LATE else [])


def size(case: Case) -> int:
    """About what a case costs: small ones are asked first, since most notice most."""
    arrays = [x for x in case.arguments.values() if hasattr(x, "size")]
    return sum(x.size for x in arrays) * max((x.shape[-1] for x in arrays if x.ndim), default=1)


def test_late_defects_exist():
    names = {f"{defect.stem}-{defect.name}" for defect in DEFECTS}
    assert names | {f"{stem}-{mutate.__name__}" for stem, mutate in MUTATIONS} >= LATE


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
@pytest.mark.parametrize("defect", [late(f"{defect.stem}-{defect.name}", defect) for defect in DEFECTS])
def test_wrong_golden_is_noticed(defect: Defect):
    cases = sorted((case for case in CASES[defect.stem]() if case.function == defect.function), key=size)
    assert any(notices(case, defect.wrong) for case in cases if concerns(defect.wrong, case.arguments))


@pytest.mark.parametrize(
    "stem, mutate", [late(f"{stem}-{mutate.__name__}", stem, mutate) for stem, mutate in MUTATIONS]
)
def test_wrong_witness_is_noticed(stem: str, mutate: Callable[[pytest.MonkeyPatch], None]):
    for case in sorted((case for case in CASES[stem]() if concerns(mutate, case.arguments)), key=size):
        oracle.expected(case)  # by the witness as it is
        with pytest.MonkeyPatch.context() as patch:
            mutate(patch)
            if notices(case, getattr(oracle, case.function)):
                return
    pytest.fail(f"no input of {stem} notices {mutate.__name__}")
