# SPDX-License-Identifier: Apache-2.0
"""Invariances: golden has them under every claim, and each check catches mistakes that real kernels make."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fp8ref
from conformance.defects_invariance import BROKEN, few_rows_are_computed_transposed
from fp8ref.cli import app
from fp8ref.conformance import BackendTarget, CallableTarget, Claim, Invariance, check
from fp8ref.conformance.invariance import NAMES, invariances, parse

Array = Any
PRODUCTS = ("scaled_mm", "grouped_mm")
ALL = (*PRODUCTS, "linear", "attention", "rmsnorm", "rope", "silu_mul", "residual")
ALL += ("gated_residual", "temperature_factors", "temperature", "route", "dispatch", "combine")
CLAIMS = {
    "every": ALL,
    "sm89_mma": PRODUCTS,
    "sm90_wgmma_promoted": PRODUCTS,
    "sm90_wgmma,deepgemm": PRODUCTS,
    "triton_ba,sm90_mma_sync": PRODUCTS,
    "sm90": ("attention",),
    "sm80": ("linear",),
}
RULES = ("vllm.per_tensor_static", "deepgemm.group_128_ue8m0", "sglang.per_token@large_batch", "torchao.infer_row")


def states(target: Any, functions: tuple[str, ...], claim: str = "", names: Any = None) -> dict[tuple[str, str], str]:
    found = invariances(target, {name: (name,) for name in functions}, Claim.parse(claim), names)
    return {(item.op, item.name): item.state for item in found}


@pytest.mark.parametrize("claim", CLAIMS)
def test_golden_has_them(claim: str) -> None:
    functions = CLAIMS[claim]
    found = states(BackendTarget("golden"), functions, claim)
    assert "broken" not in found.values()
    assert all(found[name, check_name] == "held" for name in functions for check_name in ("batch", "rows", "run"))
    assert all(found[name, "padding"] == "held" for name in functions if name in ALL[:4])
    if functions == PRODUCTS:  # [INVARIANCE-SPLIT-K]
        assert found["scaled_mm", "split_k"] == "unsupported"
    elif claim == "every":
        assert found["scaled_mm", "split_k"] == found["grouped_mm", "split_k"] == "held"


@pytest.mark.parametrize("rule", RULES)
def test_golden_has_them_under_rules(rule: str) -> None:
    found = states(BackendTarget("golden"), ("quantize",), rule)
    assert all(found["quantize", name] == "held" for name in ("batch", "rows", "run", "padding"))


@pytest.mark.parametrize("rule", ["vllm.per_tensor", "deepgemm.block_128x128", "llm_compressor.mse_channel"])
def test_nothing_is_said_where_rows_share_a_scale(rule: str) -> None:
    found = states(BackendTarget("golden"), ("quantize",), rule)
    assert found["quantize", "batch"] == found["quantize", "padding"] == "unsupported"
    assert found["quantize", "run"] == "held"


# ---- seeded defects --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BROKEN)
def test_checks_catch(name: str) -> None:
    defect = BROKEN[name]
    for check_name in defect.names:
        target = CallableTarget({defect.function: defect.make()}, name=name)
        functions, claim = {defect.function: (defect.function,)}, Claim.parse(defect.claim)
        found = list(invariances(target, functions, claim, [check_name]))
        assert [item.state for item in found] == ["broken"], found
        assert "becomes" in found[0].detail


def test_each_check_has_a_defect() -> None:
    assert {name for defect in BROKEN.values() for name in defect.names} | {"threads"} == set(NAMES)


def _threaded(parts: bool) -> CallableTarget:
    """A module that adds parts of K as it has threads, or pretends to have them."""
    module = ModuleType("threaded")
    count = [1]
    module.set_threads = lambda threads: count.__setitem__(0, threads)  # type: ignore[attr-defined]

    def scaled_mm(*args: Any, **more: Any) -> Array:
        return fp8ref.scaled_mm(*args, **{**more, "accumulate": "sm90_wgmma"}, split_k=count[0] if parts else 1)

    return CallableTarget({"scaled_mm": scaled_mm}, name="threaded", owner=module)


@pytest.mark.parametrize(("parts", "state"), [(True, "broken"), (False, "held")])
def test_threads(parts: bool, state: str) -> None:
    found = states(_threaded(parts), ("scaled_mm",), "sm90_wgmma", ["threads"])
    assert found == {("scaled_mm", "threads"): state}


def test_threads_of_a_target_that_has_none() -> None:
    found = list(invariances(CallableTarget({"scaled_mm": fp8ref.scaled_mm}), {"scaled_mm": ("scaled_mm",)}, Claim()))
    assert {item.name: item.state for item in found}["threads"] == "unsupported"
    assert next(item for item in found if item.name == "threads").detail == "the module has no set_threads"


@pytest.mark.parametrize("wrong", [lambda *_, **__: np.float32(1), lambda *_, **__: ()])
def test_results_of_no_shape_at_all(wrong: Any) -> None:
    """They fail in the cases; here they must not stop the run."""
    found = states(CallableTarget({"scaled_mm": wrong, "quantize": wrong}), ("scaled_mm", "quantize"), "vllm.per_token")
    assert set(found.values()) <= {"held", "broken", "unsupported"}


# ---- in a report -----------------------------------------------------------------------------------------------------


def _swapped() -> CallableTarget:
    return CallableTarget({"scaled_mm": few_rows_are_computed_transposed()}, name="swapped")


def _of(report: Any, name: str) -> Invariance:
    return next(item for item in report.invariances if item.name == name)


def test_a_broken_one_fails_the_run_under_bits() -> None:
    report = check(_swapped(), ["scaled_mm"], pattern="scaled_mm/no_case")
    assert _of(report, "batch").state == "broken"
    assert _of(report, "batch").claimed == "claimed"
    assert not report.equal


def test_under_a_bound_it_is_reported() -> None:
    run = {"claim": Claim.parse("bound,sm90_wgmma"), "pattern": "scaled_mm/no_case"}
    report = check(_swapped(), ["scaled_mm"], **run)
    assert (_of(report, "batch").state, _of(report, "batch").claimed) == ("broken", "reported")
    assert report.equal
    assert not check(_swapped(), ["scaled_mm"], **run, invariance=["batch"]).equal


def test_an_accumulator_without_bits_is_named_to_nobody() -> None:
    target = CallableTarget({"scaled_mm": fp8ref.scaled_mm})
    found = states(target, ("scaled_mm",), "bound,float32", ["batch", "split_k"])
    assert found == {("scaled_mm", "batch"): "held", ("scaled_mm", "split_k"): "unsupported"}


def test_backends_are_asked_on_request() -> None:
    assert check("golden", ["residual"]).invariances == ()
    report = check("golden", ["residual"], invariance=parse("all"))
    assert [item.name for item in report.invariances] == list(NAMES)


def test_names() -> None:
    assert parse("") is None
    assert parse("none") == ()
    assert parse("all") == NAMES
    with pytest.raises(ValueError, match="unknown invariance 'speed'"):
        parse("batch,speed")


def test_on_the_command_line() -> None:
    arguments = ["check", "residual", "--backend", "golden", "--invariance"]
    assert CliRunner().invoke(app, [*arguments, "batch,run"]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "speed"]).exit_code == 2
