# SPDX-License-Identifier: Apache-2.0
"""A claim: who checked what, with what result, in a file to publish; its schema is ``schemas/claim.json``.

[REPORT-CLAIM]
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from ..result import OpResult, Report
from ._words import machine

FORMAT = "fp8ref.claim/1"


def suite_digest(report: Report) -> str:
    """One digest of all ops: equal where the same cases were asked and golden gave the same bits."""
    text = "\n".join(f"{result.op} {result.digest}" for result in report.results)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def to_claim(report: Report) -> str:
    """The claim of a run.

    Example:
        >>> from fp8ref.conformance import check
        >>> json.loads(to_claim(check("golden", ["residual"])))["ops"][0]["verdict"]
        'equal'
    """
    facts = machine()

    def row(result: OpResult) -> dict[str, Any]:
        return {
            "op": result.op,
            "verdict": result.verdict,
            "cases": result.cases,
            "unsupported": result.unsupported.total(),
            "elements": result.elements,
            "differing": result.differing,
            "expected_failures": [m.case for m in result.expected_failures],
            "digest": result.digest,
        }

    document = {
        "format": FORMAT,
        "who": report.who,
        "date": report.date,
        "target": report.subject,
        "contract": report.contract,
        "level": report.level,
        "verdict": report.verdict,
        "command": report.command,
        "fp8ref": facts.pop("fp8ref"),
        "device": report.facts.get("device") or facts["processor"],
        "machine": facts,
        "facts": dict(report.facts),
        "suite": suite_digest(report),
        "ops": [row(result) for result in report.results],
        "invariances": [asdict(item) for item in report.invariances],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
