# SPDX-License-Identifier: Apache-2.0
"""A report as JUnit XML: a suite for each op, a test for each case. [REPORT-JUNIT]"""

from __future__ import annotations

from xml.etree import ElementTree

from ..outcome import Mismatch
from ..result import CaseResult, OpResult, Report
from ._words import clean, details, message, share


def _element(parent: ElementTree.Element, tag: str, text: str = "", **attributes: str) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag, {name: clean(value) for name, value in attributes.items()})
    child.text = clean(text) or None
    return child


def to_junit(report: Report) -> str:
    """The report for CI: unsupported cases and expected failures are skipped tests, mismatches are failures."""
    root = ElementTree.Element("testsuites", name="fp8ref")
    suites = [_suite(root, result, report) for result in report.results]
    if report.invariances:
        suites.append(_invariances(root, report))
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in suites):.3f}")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _open(
    root: ElementTree.Element, op: str, counts: tuple[int, int, int], seconds: float, report: Report
) -> ElementTree.Element:
    tests, failures, skipped = counts
    return _element(
        root,
        "testsuite",
        name=f"fp8ref.{op}",
        tests=str(tests),
        failures=str(failures),
        errors="0",
        skipped=str(skipped),
        time=f"{seconds:.3f}",
        timestamp=report.date.rstrip("Z"),
    )


def _suite(root: ElementTree.Element, result: OpResult, report: Report) -> ElementTree.Element:
    skipped = sum(case.state in ("unsupported", "expected") for case in result.ran)
    suite = _open(root, result.op, (len(result.ran), len(result.mismatches), skipped), result.seconds, report)
    properties = _element(suite, "properties")
    for name, value in (("target", report.subject), ("contract", report.contract), *report.facts.items()):
        _element(properties, "property", name=name, value=value)
    for reason in result.reasons:
        words = ", ".join(filter(None, (reason.detail, share(reason))))
        _element(properties, "property", name=f"reason.{reason.kind}", value=words)
    found = {mismatch.case: mismatch for mismatch in (*result.mismatches, *result.expected_failures)}
    for case in result.ran:
        _case(suite, result.op, case, found.get(case.case))
    return suite


def _case(suite: ElementTree.Element, op: str, case: CaseResult, mismatch: Mismatch | None) -> None:
    test = _element(suite, "testcase", classname=f"fp8ref.{op}", name=case.case, time=f"{case.seconds:.4f}")
    if case.state == "unsupported":
        _element(test, "skipped", message=f"unsupported: {case.detail}")
    elif mismatch is not None and case.state == "expected":
        why = f" ({case.detail})" if case.detail else ""
        _element(test, "skipped", message=f"expected failure{why}: {message(mismatch)}")
    elif mismatch is not None:
        lines = [f"{case.case}, {message(mismatch)}", *details(mismatch)]
        _element(test, "failure", "\n".join(lines), message=message(mismatch), type="mismatch")


def _invariances(root: ElementTree.Element, report: Report) -> ElementTree.Element:
    failures = sum(item.broken for item in report.invariances)
    skipped = sum(not item.broken and item.state != "held" for item in report.invariances)
    suite = _open(root, "invariance", (len(report.invariances), failures, skipped), 0.0, report)
    for item in report.invariances:
        test = _element(suite, "testcase", classname=f"fp8ref.{item.op}", name=f"invariance/{item.name}", time="0")
        if item.broken:
            _element(test, "failure", item.detail, message=item.detail or item.state, type="invariance")
        elif item.state != "held":
            _element(test, "skipped", message=f"{item.state}, {item.claimed}: {item.detail}")
    return suite
