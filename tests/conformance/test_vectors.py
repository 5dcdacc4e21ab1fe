# SPDX-License-Identifier: Apache-2.0
"""Exported cases are whole, readable without fp8ref and true to their schema; results that come back are judged."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from click.testing import Result
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import fp8ref
from fp8ref.cli import app
from fp8ref.cli.common import ExportLevel
from fp8ref.conformance import Case, Claim, ResultsTarget, TargetError, check, vectors
from fp8ref.conformance._schema import schema_text, violation
from fp8ref.conformance.targets._plain import TYPES, plain
from fp8ref.conformance.vectors import export
from fp8ref.errors import CheckpointError
from fp8ref.table import ops
from meta.tree import ROOT

OFFLINE = ROOT / "examples" / "offline" / "residual.py"
OPS = ("e4m3", "residual", "rope", "rmsnorm", "scaled_mm")
FIRST = "residual/bits/0"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exchange") / "vectors"
    assert export(folder, OPS, pattern="*").left_out == []
    return folder


@pytest.fixture(scope="module")
def manifest(exported: Path) -> dict[str, Any]:
    return json.loads((exported / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture
def results(exported: Path, tmp_path: Path) -> Path:
    """A right answer: what is expected."""
    shutil.copytree(exported / "expected", tmp_path / "results")
    shutil.copy(exported / "manifest.json", tmp_path / "results")
    return tmp_path / "results"


def judge(results: Path) -> Any:
    target = ResultsTarget(results)
    return check(target, target.selected, target.level, claim=target.claim, pattern=target.pattern)


def test_the_manifest_keeps_to_its_schema(exported: Path, manifest: dict[str, Any]) -> None:
    schema = json.loads((exported / "schema.json").read_text(encoding="utf-8"))
    assert violation(manifest, schema) == ""
    types = schema["$defs"]["tensors"]["additionalProperties"]["properties"]["dtype"]["enum"]
    assert types == list(TYPES)
    assert schema["properties"]["level"]["enum"] == list(vectors.LEVELS) == list(ExportLevel)
    assert manifest["format"] == schema["properties"]["format"]["const"] == vectors.FORMAT


def test_the_schema_says_the_same_to_others(manifest: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for name in ("manifest", "results"):
        jsonschema.Draft202012Validator.check_schema(json.loads(schema_text(name)))
    jsonschema.validate(manifest, json.loads(schema_text("manifest")))


# What is done to the manifest, and what is said of it.
DAMAGE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "lacks": (lambda m: m.pop("files"), "the document lacks 'files'"),
    "more": (lambda m: m.update(author=1), "the document must not have 'author'"),
    "format": (lambda m: m.update(format="x"), "format must be 'fp8ref-vectors 1', got 'x'"),
    "level": (lambda m: m.update(level="exhaustive"), "level must be one of 'quick', 'full', got 'exhaustive'"),
    "type": (lambda m: m.update(cases={}), "cases must be array, got {}"),
    "digest": (lambda m: m["cases"][1].update(digest="0"), "cases[1].digest must be like ^[0-9a-f]{64}$, got '0'"),
    "shape": (
        lambda m: m["cases"][0]["outputs"]["codes"].update(shape=[-1]),
        "cases[0].outputs.codes.shape[0] must be at least 0, got -1",
    ),
    "boolean": (
        lambda m: m["cases"][0]["arguments"].update(overflow=True),
        "cases[0].arguments.overflow must be string or number, got True",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_manifest_is_named(name: str, results: Path, manifest: dict[str, Any]) -> None:
    document = copy.deepcopy(manifest)
    damage, message = DAMAGE[name]
    damage(document)
    (results / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(CheckpointError) as raised:
        ResultsTarget(results)
    assert str(raised.value).startswith(f"{results / 'manifest.json'}: {message}")


def test_a_schema_with_words_unknown_here_is_refused() -> None:
    with pytest.raises(ValueError, match="'oneOf'"):
        violation(1, {"oneOf": []})


def test_the_files_are_those_of_the_manifest(exported: Path, manifest: dict[str, Any]) -> None:
    found = {path.relative_to(exported).as_posix() for path in exported.rglob("*.safetensors")}
    assert found == set(manifest["files"])
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == digest
    stored: dict[str, dict[str, Any]] = {name: load_file(exported / name) for name in manifest["files"]}
    for case in manifest["cases"]:
        for kind, part in (("inputs", "inputs"), ("outputs", "expected")):
            for entry in case[kind].values():
                array = stored[f"{part}/{case['op']}.safetensors"][entry["tensor"]]
                bytewise = TYPES[entry["dtype"]].itemsize == 1
                assert array.dtype == ("uint8" if bytewise else entry["dtype"])
                assert list(array.shape) == entry["shape"]


def test_cases_are_those_of_the_suite_with_golden_bits(exported: Path, manifest: dict[str, Any]) -> None:
    """Every case that golden does not refuse, digests included."""
    rows = {(row["op"], row["case"]): row for row in manifest["cases"]}
    seen = 0
    for op in ops():
        for case in vectors.exported_cases(op, vectors.selected_functions(op, OPS), "quick", Claim(), "*"):
            row = rows.get((op.stem, case.name))
            try:
                result = getattr(fp8ref, case.function)(**case.arguments)
            except fp8ref.errors.OpError:
                assert row is None
                continue
            assert row is not None
            assert row["digest"] == plain(case.function, case.arguments).digest()
            seen += 1
            if op.stem == "residual":
                stored = load_file(exported / "expected" / "residual.safetensors")[row["outputs"]["out"]["tensor"]]
                assert stored.tobytes() == np.asarray(result).tobytes()
    assert seen == len(rows) > 300


def test_shapes_of_all_kinds_are_there(manifest: dict[str, Any]) -> None:
    shapes = {tuple(entry["shape"]) for case in manifest["cases"] for entry in case["inputs"].values()}
    assert () in shapes
    assert any(0 in shape for shape in shapes)
    arguments = [case["arguments"] for case in manifest["cases"]]
    assert any("scaling.factor" in given for given in arguments)
    assert all(None not in given.values() for given in arguments)


def test_torch_reads_the_same_bytes(exported: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch

    for path in sorted(exported.rglob("*.safetensors")):
        arrays = load_file(path)
        for name, tensor in load_torch(path).items():
            assert tuple(tensor.shape) == arrays[name].shape
            assert tensor.reshape(-1).view(torch.uint8).numpy().tobytes() == arrays[name].tobytes()


def test_files_are_read_without_fp8ref(exported: Path) -> None:
    """By a program that has safetensors, numpy, ml_dtypes and json: E4M3 codes decoded from the format's definition."""
    program = """
import json, sys
import ml_dtypes, numpy as np  # ml_dtypes tells numpy what bfloat16 is
from safetensors.numpy import load_file
folder = sys.argv[1]
manifest = json.load(open(folder + "/manifest.json"))
case = next(case for case in manifest["cases"] if case["case"] == "decode/all")
codes = load_file(folder + "/inputs/e4m3.safetensors")[case["inputs"]["codes"]["tensor"]].astype(int)
values = load_file(folder + "/expected/e4m3.safetensors")[case["outputs"]["values"]["tensor"]]
exponent, fraction = codes >> 3 & 15, codes & 7
magnitude = np.where(exponent == 0, fraction * 2.0**-9, (8 + fraction) * 2.0 ** (exponent - 10.0))
expected = np.where(codes & 0x7F == 0x7F, np.nan, np.where(codes >> 7, -magnitude, magnitude))
print(np.array_equal(values, expected, equal_nan=True), values.size, "fp8ref" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(exported)], capture_output=True, text=True, check=True, timeout=60
    )
    same, size, loaded = done.stdout.split()
    assert same == "True"
    assert int(size) >= 256
    assert loaded == "False"


def test_expected_bits_are_a_right_answer(results: Path) -> None:
    report = judge(results)
    assert report.verdict == "equal"
    assert {result.op: result.unsupported.total() for result in report.results} == dict.fromkeys(OPS, 0)


def test_computed_without_fp8ref_and_judged(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "residual"
    assert run("vectors", "export", folder, "residual").exit_code == 0
    answer = tmp_path / "results"
    subprocess.run([sys.executable, str(OFFLINE), str(folder), str(answer)], check=True, timeout=60)
    judged = run("check", "--results", answer, "--manifest", folder / "manifest.json")
    assert judged.exit_code == 0, judged.output
    tensors = load_file(answer / "residual.safetensors")
    flipped = tensors["cancel/out"].copy()
    flipped.view(np.uint16)[1, 2, 3] ^= 1
    save_file({**tensors, "cancel/out": flipped}, answer / "residual.safetensors")
    judged = run("check", "--results", answer, "--manifest", folder / "manifest.json")
    assert judged.exit_code == 1
    assert "cancel, out[1, 2, 3]" in judged.output


def test_facts_refusals_and_errors_are_reported(results: Path) -> None:
    tensors = load_file(results / "residual.safetensors")
    for name in ("bits/0/out", "cancel/out", "empty/out"):
        del tensors[name]
    save_file(tensors, results / "residual.safetensors")
    notes = {"facts": {"device": "a"}, "unsupported": {FIRST: "too long"}, "errors": {"residual/cancel": "address"}}
    (results / "results.json").write_text(json.dumps(notes), encoding="utf-8")
    report = judge(results)
    row = next(result for result in report.results if result.op == "residual")
    assert report.facts == {"device": "a"}
    assert row.unsupported == {"too long": 1}
    assert [(m.case, m.got) for m in row.mismatches] == [
        ("cancel", "RunnerError: address"),
        ("empty", f"Missing: no result in {results}"),
    ]


def test_bits_may_come_as_unsigned_integers_and_codes_under_their_name(results: Path) -> None:
    for op, kind in (("residual", np.uint16), ("e4m3", None)):
        tensors = load_file(results / f"{op}.safetensors")
        changed = {
            name: array.view(kind)
            if kind
            else array.view(ml_dtypes.float8_e4m3fn)
            if array.dtype == np.uint8
            else array
            for name, array in tensors.items()
        }
        save_file(changed, results / f"{op}.safetensors")
    assert judge(results).verdict == "equal"


def test_another_type_is_a_mismatch(results: Path) -> None:
    tensors = load_file(results / "residual.safetensors")
    save_file({**tensors, "cancel/out": tensors["cancel/out"].astype(np.float32)}, results / "residual.safetensors")
    row = next(result for result in judge(results).results if result.op == "residual")
    assert [m.got for m in row.mismatches] == ["float32(3, 5, 7)"]


def test_expected_bits_of_the_manifest_are_not_trusted(exported: Path, results: Path) -> None:
    """The same wrong bit in the export's own answer changes no verdict: golden computes what is right."""
    tensors = load_file(results / "residual.safetensors")
    tensors["cancel/out"].view(np.uint16)[0] ^= 1
    save_file(tensors, results / "residual.safetensors")
    (results / "expected").mkdir()
    shutil.copy(results / "residual.safetensors", results / "expected")
    assert judge(results).verdict == "differs"


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


def _manifest(results: Path, change: Callable[[Any], Any]) -> None:
    document = json.loads((results / "manifest.json").read_text(encoding="utf-8"))
    change(document)
    _write(results / "manifest.json", document)


MISUSE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "unknown tensor": (
        lambda r: save_file({"what/out": np.zeros(1)}, r / "residual.safetensors"),
        "residual.safetensors: tensor 'what/out' is no output of the manifest",
    ),
    "unknown op": (
        lambda r: save_file({}, r / "linear.safetensors"),
        "linear.safetensors: the manifest has no op 'linear'",
    ),
    "damaged": (lambda r: (r / "rope.safetensors").write_bytes(b"x" * 20), "rope.safetensors: header length"),
    "no manifest": (lambda r: (r / "manifest.json").unlink(), "manifest.json does not exist"),
    "unknown case": (
        lambda r: _write(r / "results.json", {"errors": {"residual/what": "x"}}),
        "results.json: errors: 'residual/what' is no case of the manifest",
    ),
    "contradiction": (
        lambda r: _write(r / "results.json", {"unsupported": {FIRST: "x"}}),
        f"results.json: unsupported: '{FIRST}' has a result too",
    ),
    "notes": (lambda r: _write(r / "results.json", {"fact": {}}), "results.json: the document must not have 'fact'"),
    "version": (lambda r: _manifest(r, lambda m: m.update(fp8ref="0.0.1")), "exported by fp8ref 0.0.1, this is"),
    "inputs": (
        lambda r: _manifest(r, lambda m: m["cases"][0].update(digest="0" * 64)),
        "exported from other inputs: export again",
    ),
    "level": (
        lambda r: _manifest(r, lambda m: m["cases"][0].update(case="none")),
        "case e4m3/none is none of level quick",
    ),
    "contract": (lambda r: _manifest(r, lambda m: m.update(contract="abacus")), "unknown contract 'abacus'"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSE)
def test_what_cannot_be_judged_is_misuse_and_named(name: str, results: Path) -> None:
    change, message = MISUSE[name]
    change(results)
    with pytest.raises((TargetError, CheckpointError)) as raised:
        ResultsTarget(results)
    assert message in str(raised.value)
    done = run("check", "--results", results)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_options_that_the_manifest_decides(results: Path, tmp_path: Path) -> None:
    for more in (("residual",), ("--contract", "exact"), ("--cases", "x*"), ("--level", "full"), ("--pipe", "true")):
        assert run("check", "--results", results, *more).exit_code == 2, more
    assert run("check", "--results", tmp_path / "absent").exit_code == 2
    assert run("check", "residual", "--manifest", results / "manifest.json").exit_code == 2


def test_what_is_exported(tmp_path: Path, exported: Path) -> None:
    done = run("vectors", "export", tmp_path / "some", "encode", "--cases", "e4m3/*overflow*")
    assert done.exit_code == 0
    document = json.loads((tmp_path / "some" / "manifest.json").read_text(encoding="utf-8"))
    assert {case["function"] for case in document["cases"]} == {"encode"}
    assert judge_expected(tmp_path / "some").verdict == "equal"
    done = run("vectors", "export", tmp_path / "rule", "quantize", "--contract", "vllm.per_token")
    assert done.exit_code == 0
    assert judge_expected(tmp_path / "rule").verdict == "equal"
    for misuse in (
        ("nothing",),
        ("llama",),
        ("quantize",),  # by which rule?
        ("residual", "--contract", "abacus"),
        ("residual", "--level", "exhaustive"),
        ("residual", "--cases", "nothing*"),
    ):
        assert run("vectors", "export", tmp_path / "misuse", *misuse).exit_code == 2, misuse
        assert not (tmp_path / "misuse").exists()
    assert "exists already" in run("vectors", "export", exported, "residual").output


def judge_expected(folder: Path) -> Any:
    target = ResultsTarget(folder / "expected", folder / "manifest.json")
    return check(target, target.selected, target.level, claim=target.claim, pattern=target.pattern)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    done = run("vectors", "export", tmp_path / "all", "--cases", "residual/*")
    assert done.exit_code == 0
    assert "left out: quantize: a contract must name the rule" in done.output
    assert "left out: llama: whole models are not exported" in done.output
    assert "74 cases: residual 74" in done.output


def test_flags_of_a_case_are_in_its_row() -> None:
    x = np.ones((1, 2), ml_dtypes.bfloat16)
    op = next(op for op in ops() if op.stem == "residual")
    row = vectors._row(op, Case("a", "residual", {"x": x, "y": x}, ("subnormal",)), vectors._File(), vectors._File())
    assert row is not None
    assert row["flags"] == ["subnormal"]
    assert row["inputs"]["y"]["tensor"] == "a/x"  # stored once


def test_invariances_cannot_be_asked_of_files(results: Path) -> None:
    x = np.ones((1, 2), ml_dtypes.bfloat16)
    assert ResultsTarget(results).call("residual", {"x": x, "y": x}).unsupported
