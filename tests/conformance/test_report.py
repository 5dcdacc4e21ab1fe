# SPDX-License-Identifier: Apache-2.0
"""The forms of a report say what the run found: table, JSON, JUnit XML, claim. [REPORT-TABLE] [REPORT-JSON]"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from conformance.defective import ODD, report_of
from fp8ref.compare.classify import KINDS
from fp8ref.conformance import Mismatch, OpResult, Report, check
from fp8ref.conformance._schema import violation
from fp8ref.conformance.report import print_report, schema, to_claim, to_json, to_junit
from fp8ref.conformance.report._words import CLAUSES
from meta.tree import ROOT

TILE, ULP = "last_tile_never_written", "scales_in_the_other_order"


def _table(report: Report, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_report(report, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_says_what_differs_and_keeps_its_width(width: int) -> None:
    report = report_of(TILE)
    text = _table(report, width)
    assert all(len(line) <= width for line in text.splitlines())
    flat = re.sub(r"\s+", " ", text)
    (result,) = report.results
    row = next(line.split() for line in text.splitlines() if line.startswith(" scaled_mm "))
    assert row[1:5] == [f"{n:,}" for n in (result.cases, result.unsupported.total(), result.elements, result.differing)]
    assert row[-1] == "differs"
    first = result.mismatches[0]
    for part in (first.case, f"expected {first.expected}", f"got {first.got}", f"{first.ulp:,} ulp", *first.operands):
        assert part in flat
    assert ODD in text.replace("\n", "")
    assert "cases unsupported: no float16 \\x00 <here>" in flat
    assert "stale xfail scaled_mm/5x7x32/*: all its cases pass" in flat
    assert "stale xfail scaled_mm/nothing/*: no case of this run has such a name" in flat
    assert "2 cases failed as the tester expects" in flat
    assert "invariance scaled_mm, run: broken: out[0, 0] is 0x3f80, then 0x3f81" in flat
    assert flat.rstrip().endswith("differs: 1 of 1 op differs: scaled_mm. Not invariant: scaled_mm run.")


def test_table_and_json_of_many_mismatches() -> None:
    mismatches = [Mismatch(f"case {i}", "output 0", (1, 2), "0x7f", "0x7e", 3) for i in range(5)]
    bad = OpResult("scaled_mm", cases=9, elements=1000, differing=15, mismatches=mismatches)
    report = Report("cpu", "quick", (OpResult("e4m3", cases=2, elements=10), bad))
    assert not report.equal
    document = json.loads(to_json(report))
    assert document["equal"] is False
    assert [row["equal"] for row in document["ops"]] == [True, False]
    assert document["ops"][1]["mismatches"][4]["case"] == "case 4"
    assert document["ops"][1]["mismatches"][0]["index"] == [1, 2]
    text = _table(report, 120)
    assert "case 0, output 0[1, 2]" in text
    assert "expected 0x7f  got 0x7e" in text
    assert "2 more cases" in text


def test_markup_of_a_stranger_is_text() -> None:
    bad = OpResult("e4m3", cases=1, mismatches=[Mismatch("[red]x", "[/]", (), "[bold]", "\x1b[2J", 1)])
    text = _table(Report("[link]t", "quick", (bad,)), 80)
    assert "[red]x, [/]" in text
    assert "got \\x1b[2J" in text
    assert "\x1b" not in text


def _valid(name: str, document: Any) -> list[str]:
    """By our own reader of schemas, and by jsonschema where it is installed."""
    found = [violation(document, schema(name))]
    if importlib.util.find_spec("jsonschema"):
        jsonschema = importlib.import_module("jsonschema")
        jsonschema.Draft202012Validator.check_schema(schema(name))
        others = [error.message for error in jsonschema.Draft202012Validator(schema(name)).iter_errors(document)]
        assert bool(found[0]) == bool(others)
    return [text for text in found if text]


@pytest.mark.parametrize(("name", "write"), [("report", to_json), ("claim", to_claim)])
def test_documents_fit_their_schemas(name: str, write: Any) -> None:
    for report in (report_of(TILE), check("golden", ["residual", "sample"])):
        document = json.loads(write(report))
        assert _valid(name, document) == []
        for key in document:  # a schema that lets everything pass would not notice
            assert _valid(name, {k: v for k, v in document.items() if k != key})
        assert _valid(name, {**document, "verdict": "perhaps"})


def test_json_has_reasons_and_what_was_refused() -> None:
    report = report_of(TILE)
    (row,) = json.loads(to_json(report))["ops"]
    (result,) = report.results
    assert row["verdict"] == "differs"
    assert row["unsupported"] == dict(result.unsupported)
    assert len(row["expected_failures"]) == 2
    assert {reason["kind"] for reason in row["reasons"]} == {reason.kind for reason in result.reasons} != set()
    assert sum(row["histogram"].values()) == result.differing


def test_every_reason_has_a_clause_that_exists() -> None:
    assert set(KINDS) <= set(CLAUSES)
    for page, clause in CLAUSES.values():
        assert f"**{clause}**" in (ROOT / "spec" / f"{page}.md").read_text(encoding="utf-8")


# ---- claims ----------------------------------------------------------------------------------------------------------
def test_a_claim_says_who_what_and_with_what_result() -> None:
    document = json.loads(to_claim(report_of(TILE)))
    assert (document["who"], document["verdict"], document["contract"]) == ("a tester", "differs", "exact")
    assert document["ops"][0]["expected_failures"] == ["1x65x64/rows/exact/float32", "1x65x64/rows/exact/bfloat16"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["date"])


def test_digests_tell_suites_apart_and_not_targets() -> None:
    """[REPORT-DIGEST]"""
    suites = [json.loads(to_claim(report_of(name)))["suite"] for name in (TILE, ULP)]
    assert suites[0] == suites[1]
    ops = check("golden", ["residual", "sample"], pattern="*"), check("golden", ["residual"], pattern="*special*")
    assert ops[0].results[0].digest != ops[1].results[0].digest != ops[0].results[1].digest
    assert ops[0].results[0].digest == check("golden", ["residual"]).results[0].digest


# ---- JUnit XML -------------------------------------------------------------------------------------------------------
# The schema that CI systems read by (Jenkins' junit-10.xsd): attributes and children, those with ! are required.
JUNIT = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name!", "tests!", "failures!", "errors!", "time", "skipped", "timestamp", "hostname", "id", "package"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name!", "value!"}, set()),
    "testcase": ({"name!", "classname", "time"}, {"skipped", "error", "failure", "system-out", "system-err"}),
    "skipped": ({"type", "message"}, set()),
    "failure": ({"type", "message"}, set()),
}
TIME = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?")


def _check_junit(element: ElementTree.Element) -> None:
    attributes, children = JUNIT[element.tag]
    assert TIME.fullmatch(element.get("time", "0"))
    assert set(element.attrib) <= {name.rstrip("!") for name in attributes}
    assert {name.rstrip("!") for name in attributes if name.endswith("!")} <= set(element.attrib)
    for child in element:
        assert child.tag in children
        _check_junit(child)


def test_junit_has_a_test_for_each_case() -> None:
    """[REPORT-JUNIT]"""
    report = report_of(TILE)
    root = ElementTree.fromstring(to_junit(report))
    _check_junit(root)
    (result,) = report.results
    suite, invariances = root.findall("testsuite")
    names = [case.get("name") for case in suite.iter("testcase")]
    assert names == [case.case for case in result.ran]
    assert len(names) == len(set(names)) == result.cases == int(suite.get("tests", ""))
    failed = [case for case in suite.iter("testcase") if case.find("failure") is not None]
    assert len(failed) == len(result.mismatches) == int(suite.get("failures", "")) > 0
    first = failed[0].find("failure")
    assert first is not None and first.text is not None
    assert result.mismatches[0].expected in (first.get("message") or "")
    assert result.mismatches[0].operands[0] in first.text
    skipped = [
        case.find("skipped").get("message") for case in suite.iter("testcase") if len(case) and case[0].tag == "skipped"
    ]
    assert len(skipped) == result.unsupported.total() + len(result.expected_failures) == int(suite.get("skipped", ""))
    assert "unsupported: no float16 \\x00 <here>" in skipped
    assert [len(invariances.findall(f".//{tag}")) for tag in ("testcase", "failure", "skipped")] == [4, 1, 2]
    assert int(root.get("failures", "")) == len(failed) + 1


def test_expected_failures_say_why() -> None:
    (result,) = report_of(TILE).results
    why = replace(result, ran=[replace(case, detail="issue 17") for case in result.ran if case.state == "expected"])
    text = to_junit(Report("x", "quick", (why,)))
    assert text.count("expected failure (issue 17): out[0, 64]: expected 0x") == 2


# ---- files -----------------------------------------------------------------------------------------------------------
def test_files_are_written_aside(tmp_path: Path) -> None:
    """[REPORT-FILES]"""
    from fp8ref.cli.common import write_text

    target = tmp_path / "report.json"
    write_text(str(target), "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(str(target), "new \ud800")
    assert target.read_text(encoding="utf-8") == "old"
    write_text(str(target), "new")
    assert target.read_text(encoding="utf-8") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
