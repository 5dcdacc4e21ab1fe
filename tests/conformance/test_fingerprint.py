# SPDX-License-Identifier: Apache-2.0
"""What `fp8ref fingerprint` says of accumulators that are known: names, numbers, and each variation of a number."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bits import E4M3, assert_same_bits
from conformance.test_cli import fp8ref as command
from fp8ref import backend, scaled_mm
from fp8ref.conformance import BackendTarget, CallableTarget, TargetError
from fp8ref.conformance.fingerprint import Fingerprint, fingerprint, to_json
from fp8ref.conformance.fingerprint._arithmetic import NAMED, PAIRS, Arithmetic
from fp8ref.conformance.fingerprint._subject import factors
from fp8ref.golden import _tensor_core
from fp8ref.golden._epilogue import fused
from fp8ref.golden._round import round_to
from fp8ref.golden._units import Result, Unit
from fp8ref.golden.scaled_mm import ACCUMULATORS

ROWS = 16
SAME = {"sm100_tcgen05": ("sm120_mma",), "sm120_mma": ("sm100_tcgen05",)}
Sums = Callable[[np.ndarray, np.ndarray], np.ndarray]


def of(sums: Sums, out: tuple[str, ...] = ("float32", "bfloat16", "float16"), **given: Any) -> Fingerprint:
    """The fingerprint of a function that makes sums of codes, scaled as [MM-EPILOGUE-A-B] says."""

    def mine(a: Any, b: Any, a_scale: Any, b_scale: Any, out_dtype: str = "bfloat16") -> np.ndarray:
        if out_dtype not in out:
            raise NotImplementedError(out_dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            acc = sums(a, b).astype(np.float32)
            return round_to(np.float32(a_scale) * (np.float32(b_scale).T * acc), out_dtype)

    return fingerprint(CallableTarget({"scaled_mm": mine}), given, ROWS)


def one_by_one(dtype: Any) -> Sums:
    """Products and sums in a type of numpy's, in the order of k."""

    def sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        left, right = a.astype(dtype), b.astype(dtype)
        acc = np.zeros((len(a), len(b)), dtype)
        for k in range(a.shape[1]):
            acc = acc + left[:, k, None] * right[:, k]
        return acc

    return sums


@pytest.mark.parametrize("name", ACCUMULATORS)
def test_the_model_has_the_bits_of_every_named_accumulator(name):
    """[FINGERPRINT-MODEL]"""
    rng = np.random.default_rng(3)
    codes = [rng.integers(0, 254, (9, 300)).astype(np.uint8) for _ in range(2)]
    a, b = (np.where(x & 0x7F == 0x7F, x - 1, x).astype(np.uint8).view(E4M3) for x in codes)
    for split_k in (1, 2):
        model = dataclasses.replace(NAMED[name], split_k=1 if name == "exact" else split_k)
        golden = scaled_mm(a, b, 1.0, 1.0, out_dtype="float32", accumulate=name, split_k=split_k)
        assert_same_bits(model.accumulate(a, b), golden)


@pytest.mark.parametrize("name", ACCUMULATORS)
def test_golden_is_named_as_each_accumulator(name):
    """[FINGERPRINT-NAMES]"""
    found = fingerprint(BackendTarget("golden"), {"accumulate": name}, ROWS)
    assert found.accumulator == name
    assert found.also == SAME.get(name, ())
    assert found.verified is not None and found.verified.differing == 0 and found.verified.outputs > 3000
    assert (found.value("epilogue"), found.value("bias")) == ("a_b", "fused")
    assert found.value("split-K") == (None if name == "exact" else "none")
    assert found.reproducible == "yes"


@pytest.mark.parametrize("out", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["exact", "sm90_wgmma", "sm90_mma_sync", "sm100_tcgen05"])
def test_a_narrow_output_shows_the_same(name, out):
    """[FINGERPRINT-PROBES]"""
    found = fingerprint(BackendTarget("cpu"), {"accumulate": name}, ROWS, out)
    assert (found.accumulator, found.out_dtype) == (name, out)
    assert (found.value("epilogue"), found.value("bias")) == ("a_b", "fused")


@pytest.mark.parametrize(
    ("name", "split_k", "epilogue"),
    [
        ("sm90_wgmma", 2, "b_a"),
        ("sm90_wgmma", 5, "ab"),
        ("sm90_wgmma", 7, "a_b"),
        ("sm90_wgmma_promoted", 2, "ab"),
        ("sm90_wgmma_promoted", 3, "b_a"),
    ],
)
def test_splits_and_orders_of_scales(name, split_k, epilogue):
    """[FINGERPRINT-SPLIT-K] [FINGERPRINT-EPILOGUE]"""
    given = {"accumulate": name, "split_k": split_k, "epilogue": epilogue}
    found = fingerprint(BackendTarget("cpu"), given, ROWS)
    assert found.accumulator == name
    assert (found.value("split-K"), found.value("epilogue")) == (str(split_k), epilogue)
    assert found.verified is not None and found.verified.differing == 0


def test_splits_of_the_rewrite():
    found = fingerprint(BackendTarget("cpu"), {"accumulate": "sm90_mma_sync", "split_k": 4}, ROWS)
    assert (found.accumulator, found.value("split-K")) == ("sm90_mma_sync", "4")


# ---- what is no tensor core ------------------------------------------------------------------------------------------


def test_numpys_float32_product():
    found = of(lambda a, b: a.astype(np.float32) @ b.astype(np.float32).T)
    assert found.accumulator is None
    assert found.verdict.startswith("fp32, not a tensor core")
    assert found.value("result of a step") == "24 bits, nearest_even"


@pytest.mark.parametrize(("dtype", "name"), [(np.float32, "fp32"), (np.float16, "fp16")])
def test_sums_one_after_the_other(dtype, name):
    found = of(one_by_one(dtype))
    assert found.accumulator is None
    assert found.verdict == f"{name}, not a tensor core: sums added one after the other"
    assert found.value("range of sums") == np.dtype(dtype).name
    assert found.verified is not None and found.verified.differing == 0


def test_pairwise_float32():
    def sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        terms = a.astype(np.float32)[:, None] * b.astype(np.float32)
        while terms.shape[2] > 1:
            odd = np.zeros((*terms.shape[:2], terms.shape[2] % 2), np.float32)
            terms = np.concatenate([terms, odd], axis=2)
            terms = terms[:, :, ::2] + terms[:, :, 1::2]
        return terms[:, :, 0]

    found = of(sums)
    assert (found.accumulator, found.value("order")) == (None, "other")
    assert found.verdict == "fp32, not a tensor core: sums in an order of its own"


def test_float64_is_exact_until_e5m2_shows_it():
    """[FINGERPRINT-EXACT]"""
    found = of(lambda a, b: a.astype(np.float64) @ b.astype(np.float64).T)
    assert (found.accumulator, found.value("sum")) == ("exact", "float64")
    assert fingerprint(BackendTarget("cpu"), {}, ROWS).value("sum") == "exact"


def test_operands_that_are_flushed():
    """[FINGERPRINT-SUBNORMAL]"""

    def sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        left, right = (np.where(np.abs(x.astype(np.float32)) < 2.0**-6, 0, x.astype(np.float32)) for x in (a, b))
        return left @ right.T

    found = of(sums)
    assert (found.accumulator, found.value("subnormal operands")) == (None, "flushed")


def test_what_changes_from_call_to_call_has_no_name():
    """[FINGERPRINT-REPRODUCIBLE]"""
    rng = np.random.default_rng(1)

    def sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        order = rng.permutation(a.shape[1])
        return one_by_one(np.float32)(a[:, order], b[:, order])

    found = of(sums)
    assert (found.accumulator, found.reproducible, found.findings) == (None, "no", ())
    assert found.verdict.startswith("not reproducible")


def test_a_name_needs_every_bit():
    """A chain that does something else at one K only has all the numbers, and no name. [FINGERPRINT-VERIFY]"""

    def sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        acc = scaled_mm(a, b, 1.0, 1.0, out_dtype="float32", accumulate="sm90_wgmma")
        return np.where(acc > 1e5, np.nextafter(acc, np.float32(0)), acc) if a.shape[1] == 640 else acc

    found = of(sums)
    assert found.accumulator is None
    assert found.value("fraction bits") == "13"
    assert found.verified is not None and found.verified.differing > 0


# ---- numbers that no hardware has ------------------------------------------------------------------------------------

BASE = Arithmetic(block=16, fraction_bits=12, result_bits=13, result="toward_zero")
PAIRED = (*PAIRS, *(k + 2 for k in PAIRS))
VARIATIONS = {
    "base": {},
    "block 8": {"block": 8},
    "block 32": {"block": 32},
    "block 64": {"block": 64},
    "fraction bits 10": {"fraction_bits": 10, "result_bits": 11},
    "fraction bits 16": {"fraction_bits": 16},
    "terms to nearest": {"terms": "nearest_even"},
    "terms down": {"terms": "down"},
    "products normalised": {"products": "normalised"},
    "result bits 12": {"result_bits": 12},
    "result to nearest": {"result": "nearest_even"},
    "result away": {"result": "nearest_away"},
    "promotion 32": {"interval": 32},
    "promotion 64": {"interval": 64},
    "promotion 256": {"interval": 256},
    "pairs": {"order": PAIRED, "interval": 32},
    "split 2": {"split_k": 2},
    "split 6": {"split_k": 6},
    "promotion 64, split 3": {"interval": 64, "split_k": 3},
    "exact steps": {"fraction_bits": None, "result_bits": 24, "result": "nearest_even"},
}


SELDOM = ("block 64", "terms down", "result away", "result bits 12", "promotion 32", "split 2", "promotion 64, split 3")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SELDOM)) for n in VARIATIONS])
def test_every_number_is_measured(name):
    """One number changed, and the same one found. [FINGERPRINT-INFER]"""
    arithmetic = dataclasses.replace(BASE, **VARIATIONS[name])
    found = of(arithmetic.accumulate)
    assert found.numbers == arithmetic
    assert found.verified is not None and found.verified.differing == 0
    assert found.accumulator is None and found.verdict.startswith("none, with these measured parameters")


UNITS = {"nobody": (8, 10, 11, "toward_zero"), "Ampere": (8, 24, 24, "toward_zero"), "nearest": (4, 23, 24, "nearest")}


@pytest.mark.parametrize(("block", "fraction_bits", "bits", "rounding"), UNITS.values(), ids=UNITS)
def test_units_of_goldens_step(block, fraction_bits, bits, rounding):
    """The same of golden's own step, with numbers that E4M3 has on no hardware."""
    unit = Unit("made up", "fp8", block, fraction_bits, Result("", "float32", bits, -126, rounding), -133, "")
    found = of(lambda a, b: _tensor_core.chain(unit, a, b))
    numbers = found.numbers
    assert numbers is not None
    assert (numbers.block, numbers.fraction_bits, numbers.result_bits) == (block, fraction_bits, bits)
    assert numbers.result == {"toward_zero": "toward_zero", "nearest": "nearest_even"}[rounding]
    assert found.verified is not None and found.verified.differing == 0


# ---- what follows the sums -------------------------------------------------------------------------------------------


def _exactly(last: Callable[..., np.ndarray], out: Callable[[np.ndarray, str], np.ndarray] = round_to) -> Fingerprint:
    def mine(a: Any, b: Any, a_scale: Any, b_scale: Any, bias: Any = None, out_dtype: str = "bfloat16") -> np.ndarray:
        acc = scaled_mm(a, b, 1.0, 1.0, out_dtype="float32")
        offset = np.float32(0) if bias is None else bias.astype(np.float32)
        return out(last(acc, np.float32(a_scale), np.float32(b_scale).T, offset), out_dtype)

    return fingerprint(CallableTarget({"scaled_mm": mine}), {}, ROWS, "bfloat16")


def test_a_bias_that_is_added_by_itself():
    found = _exactly(lambda acc, a, b, bias: a * (b * acc) + bias)
    assert (found.value("epilogue"), found.value("bias")) == ("a_b", "added")
    found = _exactly(lambda acc, a, b, bias: fused(a, b * acc, bias))
    assert (found.value("epilogue"), found.value("bias")) == ("a_b", "fused")
    found = _exactly(lambda acc, a, b, bias: round_to(a * (b * acc), "bfloat16").astype(np.float32) + bias)
    assert (found.value("epilogue"), found.value("bias")) == ("a_b", "added to the output")


def test_scales_in_one_rounding():
    found = _exactly(lambda acc, a, b, bias: (a.astype(np.float64) * b * acc + bias).astype(np.float32))
    assert found.value("epilogue") == "one rounding"


def test_an_output_that_is_cut():
    def cut(x: np.ndarray, dtype: str) -> np.ndarray:
        if dtype != "bfloat16":
            raise NotImplementedError
        return (x.view(np.uint32) >> 16).astype(np.uint16).view(ml_dtypes.bfloat16)

    found = _exactly(lambda acc, a, b, bias: np.float32(a * (b * acc) + bias), cut)
    assert found.value("rounding to bfloat16") == "toward_zero"
    assert found.value("epilogue") is not None and found.value("epilogue").startswith("none of")


def test_results_that_are_flushed():
    def flush(x: np.ndarray, dtype: str) -> np.ndarray:
        return round_to(np.where(np.abs(x) < 2.0**-126, np.float32(0), x).astype(np.float32), dtype)

    found = _exactly(lambda acc, a, b, bias: np.float32(a * (b * acc) + bias), flush)
    assert found.value("subnormal results") == "flushed"


# ---- targets that refuse, and the command ----------------------------------------------------------------------------


def test_one_scale_for_all_and_no_bias_are_enough():
    def mine(a: Any, b: Any, a_scale: Any, b_scale: Any, out_dtype: str = "bfloat16") -> np.ndarray:
        if np.ndim(a_scale) or out_dtype != "bfloat16":
            raise NotImplementedError
        return backend("cpu").scaled_mm(a, b, a_scale, b_scale, accumulate="sm89_mma", epilogue="ab")

    found = fingerprint(CallableTarget({"scaled_mm": mine}), {}, ROWS)
    assert (found.accumulator, found.out_dtype, found.value("epilogue")) == ("sm89_mma", "bfloat16", "ab")
    assert found.value("bias") == "not supported"


def test_rows_of_scales_where_one_is_refused():
    def mine(a: Any, b: Any, a_scale: Any, b_scale: Any, out_dtype: str = "bfloat16") -> np.ndarray:
        if np.shape(a_scale) != (len(a), 1) or a.shape[1] % 128 or len(a) % 16:
            raise NotImplementedError
        return backend("cpu").scaled_mm(a, b, a_scale, b_scale, None, out_dtype, "sm90_wgmma")

    assert fingerprint(CallableTarget({"scaled_mm": mine}), {}, ROWS).accumulator == "sm90_wgmma"


def test_who_answers_nothing_is_no_target():
    def mine(a: Any, b: Any, a_scale: Any, b_scale: Any) -> np.ndarray:
        raise RuntimeError("no device")

    with pytest.raises(TargetError, match="no device"):
        fingerprint(CallableTarget({"scaled_mm": mine}), {}, ROWS)
    with pytest.raises(TargetError, match="no scaled_mm"):
        fingerprint(CallableTarget({"residual": mine}), {}, ROWS)


def test_factors_are_codes():
    for exponent in range(-18, 17):
        a, b = factors(2.0**exponent)
        assert a * b == 2.0**exponent and np.float32([a, b]).astype(E4M3).astype(np.float32).tolist() == [a, b]
    with pytest.raises(ValueError, match="product"):
        factors(2.0**-19)


def test_the_object():
    """[FINGERPRINT-JSON]"""
    document = json.loads(to_json(fingerprint(BackendTarget("cpu"), {"accumulate": "sm89_mma"}, ROWS)))
    assert document["accumulator"] == "sm89_mma"
    assert document["numbers"]["block"] == 16
    assert document["parameters"]["fraction bits"]["value"] == "13"
    assert document["verified"]["differing"] == 0


def test_the_command(tmp_path):
    """[FINGERPRINT-RESULT]"""
    asked = ("--backend", "cpu", "--accumulate", "sm90_wgmma_promoted", "--rows", "16")
    done = command("fingerprint", *asked, "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accumulator"] == "sm90_wgmma_promoted"
    report = tmp_path / "found.json"
    done = command("fingerprint", "--target", "fp8ref:scaled_mm", "--rows", "16", "--json", report)
    assert done.returncode == 0 and "block length" not in done.stdout and "exact" in done.stdout
    assert json.loads(report.read_text(encoding="utf-8"))["accumulator"] == "exact"
    for arguments in (("--target", "fp8ref:nothing"), ("--backend", "cpu", "--rows", "17")):
        assert command("fingerprint", *arguments).returncode == 2
