# SPDX-License-Identifier: Apache-2.0
"""`--contract bound`: what it accepts, and that it catches 3 % and zeros at every K. [CLAIM-BOUND]"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fp8ref
from bits import E4M3
from conformance.test_cli import fp8ref as command
from fp8ref import backend, compare
from fp8ref.conformance import BackendTarget, CallableTarget, Case, Claim, Mismatch, OpResult, check
from fp8ref.conformance.cases._bound import SHAPES, bound_cases
from fp8ref.conformance.claim import claimed_cases
from fp8ref.conformance.judge import judge_of
from fp8ref.conformance.outcome import Outcome
from fp8ref.golden.scaled_mm import ACCUMULATORS

Array = Any
Sums = Callable[[Array, Array], Array]
CPU = backend("cpu")
OTHERS = [name for name in ACCUMULATORS if name != "sm90_wgmma"]
LENGTHS = sorted({k for _, _, k in SHAPES["quick"]})


def _scaled(sums: Sums) -> Callable[..., Array]:
    """A scaled_mm that adds like ``sums``, for E4M3 and one scale for each row."""

    def scaled_mm(a: Array, b: Array, a_scale: Array, b_scale: Array, bias: Any = None, out_dtype: str = "bfloat16"):
        by_block = any(
            np.ndim(s) == 2 and s.shape not in ((1, 1), (len(x), 1)) for s, x in ((a_scale, a), (b_scale, b))
        )
        if a.dtype != E4M3 or b.dtype != E4M3 or out_dtype == "float8_e4m3fn" or by_block:
            raise NotImplementedError("E4M3 and rows of scales only")
        with np.errstate(all="ignore"):
            y = np.asarray(a_scale, np.float32) * sums(a.astype(np.float32), b.astype(np.float32))
            y = (y * np.asarray(b_scale, np.float32).T).astype(np.float32)
            y = y if bias is None else y + bias.astype(np.float32)
            return y.astype(getattr(ml_dtypes, out_dtype, out_dtype))

    return scaled_mm


def _sequential(a: Array, b: Array) -> Array:
    acc = np.zeros((len(a), len(b)), np.float32)
    for k in range(a.shape[1]):
        acc += a[:, k, None] * b[:, k]
    return acc


def _halves(a: Array, b: Array) -> Array:
    """A tree: halves of K, each the sum of its halves."""
    k = a.shape[1]
    return a @ b.T if k <= 8 else _halves(a[:, : k // 2], b[:, : k // 2]) + _halves(a[:, k // 2 :], b[:, k // 2 :])


HONEST: dict[str, Sums] = {
    "blas": lambda a, b: a @ b.T,
    "backwards": lambda a, b: _sequential(a[:, ::-1], b[:, ::-1]),
    "sequential": _sequential,
    "halves": _halves,
    "float64": lambda a, b: (a.astype(np.float64) @ b.astype(np.float64).T).astype(np.float32),
}


@functools.cache
def _answers(claim: str, stem: str) -> list[tuple[Case, Outcome]]:
    """The larger cases of a claim, and what golden makes of them."""
    cases = (case for case in claimed_cases(stem, "quick", Claim.parse(claim)) if case.name.startswith("bound/"))
    return [(case, BackendTarget("golden").run(case)) for case in cases if isinstance(case, Case)]


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same operands have the same bound: it is computed once."""
    for name, keep in KEPT.items():
        monkeypatch.setattr(compare, name, functools.partial(_keeping, keep, getattr(compare, name)))


KEPT: dict[str, dict[Any, Any]] = {"bound": {}, "exact_values": {}, "sequential": {}}


def _keeping(keep: dict[Any, Any], function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    key = (*map(_key, arguments), *((name, _key(value)) for name, value in named.items()))
    if key not in keep:
        keep[key] = function(*arguments, **named)
    return keep[key]


def _key(value: Any) -> Any:
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def _judged(function: Callable[..., Array], claim: str, stem: str = "scaled_mm") -> list[Mismatch]:
    """The mismatches of a function in the larger cases."""
    target, judge = CallableTarget({stem: function}), judge_of(Claim.parse(claim))
    answers = [
        (case, want, target.call(stem, case.arguments, frozenset(Claim.parse(claim).of(stem))))
        for case, want in _answers(claim, stem)
    ]
    assert not any(got.unsupported for _, _, got in answers)
    return [found for answer in answers if (found := judge(*answer)) is not None]


def _run(function: Callable[..., Array], claim: str, pattern: str = "*", name: str = "scaled_mm") -> OpResult:
    result = check(CallableTarget({name: function}), [name], claim=Claim.parse(claim), pattern=pattern).results[0]
    assert result.checked > 0
    return result


@pytest.mark.parametrize("name", HONEST)
def test_honest_float32_sums_pass(name):
    """[BOUND-FLOAT32]"""
    assert _judged(_scaled(HONEST[name]), "bound") == []


@pytest.mark.slow
def test_the_small_cases_pass_too():
    """All of quick that one scale for each row allows: specials, extreme scales, midpoints."""
    result = _run(_scaled(HONEST["blas"]), "bound")
    assert result.mismatches == []
    assert result.checked > 150


def test_scaled_operands_pass():
    """The scales anywhere: on the operands, as torch has them on a CPU. [BOUND-FLOAT32]"""

    def scaled_mm(a: Array, b: Array, a_scale: Array, b_scale: Array, bias: Any = None, out_dtype: str = "bfloat16"):
        left = a.astype(np.float32) * np.asarray(a_scale, np.float32)
        right = b.astype(np.float32) * np.asarray(b_scale, np.float32)
        y = left @ right.T if bias is None else left @ right.T + bias.astype(np.float32)
        return y.astype(getattr(ml_dtypes, out_dtype, out_dtype))

    assert _judged(scaled_mm, "bound") == []


@pytest.mark.parametrize("name", ["sm90_wgmma", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)])
def test_a_tensor_core_passes_under_its_own_name(name):
    """And exact under all of them, being more precise."""

    def exact(*arguments: Any, **named: Any) -> Array:
        return CPU.scaled_mm(*arguments, **{**named, "accumulate": "exact"})

    assert _judged(CPU.scaled_mm, f"bound,{name}") == []
    assert _judged(exact, f"bound,{name}") == []


def test_a_coarser_tensor_core_is_caught():
    """Hopper's 14 bits are neither float32 nor Blackwell's."""

    def hopper(*arguments: Any, **named: Any) -> Array:
        return CPU.scaled_mm(*arguments, **{**named, "accumulate": "sm90_wgmma"})

    for claim in ("bound", "bound,sm90_wgmma_promoted"):
        found = _judged(hopper, claim)
        assert found and all("/integers/" not in mismatch.case for mismatch in found)


def _all(y: Array) -> Array:
    return y * np.float32(1.03)


def _tile(y: Array) -> Array:
    y[:32, :32] *= np.float32(1.03)
    return y


def _row(y: Array) -> Array:
    y[len(y) // 2] *= np.float32(1.03)
    return y


def _column(y: Array) -> Array:
    y[:, 3] *= np.float32(0.97)
    return y


WRONG: dict[str, Callable[[Array], Array]] = {
    "3 % everywhere": _all,
    "3 % in a tile": _tile,
    "3 % in a row": _row,
    "3 % in a column": _column,
    "zeros": np.zeros_like,
}


def _spoiled(spoil: Callable[[Array], Array]) -> Callable[..., Array]:
    def scaled_mm(a: Array, b: Array, a_scale: Any, b_scale: Any, bias: Any = None, **named: Any) -> Array:
        out = np.array(CPU.scaled_mm(a, b, a_scale, b_scale, bias, **named))
        return spoil(out.astype(np.float32)).astype(out.dtype)

    return scaled_mm


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("claim", ["bound", "bound,sm90_wgmma", pytest.param("bound,sm89_mma", marks=pytest.mark.slow)])
def test_errors_are_caught_at_every_k(claim, wrong):
    """The accumulators with 14 bits are the ones under which an error can hide."""
    found = _judged(_spoiled(WRONG[wrong]), claim)
    caught = {int(mismatch.case.split("/")[2].split("x")[2]) for mismatch in found}
    assert caught == set(LENGTHS)
    integers = [mismatch for mismatch in found if "/integers/" in mismatch.case]
    assert len(integers) == 2 * len(LENGTHS)


def test_a_lost_tail_and_a_nan_are_caught():
    def tail(a: Array, b: Array, *scales: Any, **named: Any) -> Array:
        return CPU.scaled_mm(np.ascontiguousarray(a[:, :-32]), np.ascontiguousarray(b[:, :-32]), *scales, **named)

    def nan(y: Array) -> Array:
        y[1, 2] = np.nan
        return y

    for wrong in (tail, _spoiled(nan)):
        assert len(_judged(wrong, "bound")) == len(_answers("bound", "scaled_mm"))


def test_nan_codes_must_arrive():
    """[CLAIM-NAN]"""

    def swallowed(a: Array, b: Array) -> Array:
        return np.where(np.isnan(a), 0, a) @ np.where(np.isnan(b), 0, b).T

    result = _run(_scaled(swallowed), "bound", "scaled_mm/nan_codes/*")
    assert len(result.mismatches) == result.checked
    assert "NaN operand" in result.mismatches[0].expected


def _mismatch(spoil: Callable[[Array], Array], claim: str, name: str) -> Mismatch:
    case = next(case for case in claimed_cases("scaled_mm", "quick", Claim.parse(claim)) if case.name == name)
    assert isinstance(case, Case)
    expected = Outcome({"out": fp8ref.scaled_mm(**case.arguments)})
    got = Outcome({"out": spoil(np.array(expected.arrays["out"]))})
    found = judge_of(Claim.parse(claim))(case, expected, got)
    assert found is not None
    return found


def test_the_message_names_the_worst_output_or_tile():
    def one(y: Array) -> Array:
        y[2, 3] += 1
        y[7, 9] += 100
        return y

    found = _mismatch(one, "bound", "bound/integers/48x64x32/float32")
    assert (found.index, found.differing) == ((7, 9), 2)
    assert found.expected.endswith("off by 100, at most 0")
    found = _mismatch(_all, "bound,sm90_wgmma", "bound/bell/32x32x16384/float32")
    assert "errors of a tile: [0:32, 0:32] rms" in found.expected


def test_groups_have_their_own_bounds():
    """An error in one expert's rows only, and rows of no group that are not +0."""

    def wrong(*arguments: Any, **named: Any) -> Array:
        out = np.array(CPU.grouped_mm(*arguments, **named))
        out[-1] = (out[-1].astype(np.float32) * np.float32(1.03)).astype(out.dtype)
        return out

    def dirty(a: Array, b: Array, a_scale: Any, b_scale: Any, offsets: Array, *bias: Any, **named: Any) -> Array:
        out = np.array(CPU.grouped_mm(a, b, a_scale, b_scale, offsets, *bias, **named))
        out[offsets[-1] :] = 1
        return out

    found = _judged(wrong, "bound", "grouped_mm")
    assert len(found) == 4 and all(mismatch.index[0] == 95 for mismatch in found)
    found = _run(dirty, "bound", "*", "grouped_mm").mismatches
    assert found and all(mismatch.expected.endswith("its bits") for mismatch in found)
    assert _run(CPU.grouped_mm, "bound", "*", "grouped_mm").mismatches == []


@pytest.mark.parametrize("claim", ["bound", "bound,sm90_wgmma", "bound,sm90"])
def test_linear_has_a_bound(claim):
    def off(*arguments: Any, **named: Any) -> Array:
        return (CPU.linear(*arguments, **named).astype(np.float32) * np.float32(1.03)).astype(ml_dtypes.bfloat16)

    assert _judged(CPU.linear, claim, "linear") == []
    assert len(_judged(off, claim, "linear")) == 2 * len(LENGTHS)


def test_block_scales_have_a_bound():
    """In float32, and in the order of a kernel on a tensor core."""
    for claim in ("bound", "bound,deepgemm", "bound,sm90_wgmma,triton"):
        result = _run(CPU.scaled_mm, claim, "scaled_mm/blocks/*")
        assert result.mismatches == [] and result.checked > 5
        assert len(_run(_spoiled(_all), claim, "scaled_mm/blocks/*").mismatches) > 3


def test_the_bound_of_float32_holds_and_is_no_larger_than_it_must_be():
    """Reached to a factor of 2 by sums of one sign, zero where float32 is exact. [BOUND-FLOAT32]"""
    ones = np.full((1, 4096), 0x38, np.uint8)
    assert compare.bound(ones, ones, accumulate="float32").tolist() == [[0.0]]
    # 448 * 448 and 32 products of a little less than half its last bit, 2^-7: each of them is lost.
    a = np.float32([[448.0] + [1.875 * 2.0**-4] * 32]).astype(E4M3)
    b = np.float32([[448.0] + [2.0**-4] * 32]).astype(E4M3)
    error = np.abs(compare.sequential(a, b).astype(np.float64) - compare.exact_values(a, b))
    limit = compare.bound(a, b, accumulate="float32")
    assert (error <= limit).all() and (2 * error >= limit).all()


def test_claims_and_their_cases():
    assert str(Claim.parse("bound")) == "bound,float32"
    assert Claim.parse("bound").of("attention")["accumulate"] == "exact"
    assert Claim.parse("bound,sm89_mma").of("scaled_mm")["accumulate"] == "sm89_mma"
    with pytest.raises(ValueError, match="add bound"):
        Claim.parse("float32")
    plain = [case for case in claimed_cases("scaled_mm", "quick", Claim.parse("bound")) if isinstance(case, Case)]
    assert not any("accumulate" in case.arguments for case in plain)
    assert {"float32_midpoint", "bound"} <= {case.name.split("/")[0] for case in plain}
    assert list(bound_cases("residual", "quick")) == []
    assert len(list(bound_cases("scaled_mm", "full"))) > len(list(bound_cases("scaled_mm", "quick")))


def test_the_command():
    done = command("check", "linear", "--target", "fp8ref:linear", "--contract", "bound")
    assert done.returncode == 0, done.stdout
