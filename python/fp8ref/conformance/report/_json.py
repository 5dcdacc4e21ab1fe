# SPDX-License-Identifier: Apache-2.0
"""A report as JSON for programs; its schema is ``schemas/report.json``. [REPORT-JSON]"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ...compare.classify import KINDS
from .._schema import schema_text
from ..outcome import HISTOGRAM_LABELS, Mismatch
from ..result import OpResult, Report
from ._words import CLAUSES, machine, total

FORMAT = "fp8ref.report/1"


def schema(name: str) -> Any:
    """The JSON schema of a ``report`` or a ``claim``.

    Example:
        >>> schema("claim")["properties"]["format"]["const"]
        'fp8ref.claim/1'
    """
    return json.loads(schema_text(name))


def mismatch_json(mismatch: Mismatch) -> dict[str, Any]:
    """A mismatch; ``golden`` is the expected bits, ``ulp`` is null where no distance exists."""
    return {
        "case": mismatch.case,
        "output": mismatch.output,
        "index": list(mismatch.index),
        "golden": mismatch.expected,
        "got": mismatch.got,
        "ulp": mismatch.ulp,
        "differing": mismatch.differing,
        "size": mismatch.size,
        "operands": list(mismatch.operands),
        "histogram": list(mismatch.histogram),
    }


def _row(result: OpResult) -> dict[str, Any]:
    return {
        "op": result.op,
        "verdict": result.verdict,
        "cases": result.cases,
        "elements": result.elements,
        "differing": result.differing,
        "seconds": round(result.seconds, 4),
        "backend_seconds": round(result.subject_seconds, 4),
        "equal": result.equal,
        "digest": result.digest,
        "reasons": [
            {
                "kind": reason.kind,
                "detail": reason.detail,
                "explains": reason.explains,
                "of": reason.of,
                "meaning": KINDS[reason.kind],
                "clause": CLAUSES[reason.kind][1].strip("[]"),
            }
            for reason in result.reasons
        ],
        "histogram": dict(zip(HISTOGRAM_LABELS, total(result), strict=True)),
        "unsupported": dict(result.unsupported),
        "mismatches": [mismatch_json(m) for m in result.mismatches],
        "expected_failures": [mismatch_json(m) for m in result.expected_failures],
    }


def to_json(report: Report) -> str:
    """The whole report; ``equal`` and ``verdict`` say what came of it."""
    from ... import __version__

    facts = machine()
    document = {
        "format": FORMAT,
        "fp8ref": __version__,
        "target": report.subject,
        "backend": report.subject,
        "contract": report.contract,
        "level": report.level,
        "machine": facts.pop("machine"),
        "date": report.date,
        "command": report.command,
        "verdict": report.verdict,
        "equal": report.equal,
        "facts": {**facts, **report.facts},
        "ops": [_row(result) for result in report.results],
        "invariances": [asdict(item) for item in report.invariances],
        "stale_xfails": [asdict(old) for old in report.stale_xfails],
        "left_out": list(report.left_out),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
