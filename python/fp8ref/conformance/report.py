# SPDX-License-Identifier: Apache-2.0
"""A report as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any

from .outcome import Mismatch
from .result import OpResult, Report

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {"equal": "green", "differs": "red", "unsupported": "yellow"}
SHOWN = 3  # mismatches printed for each op; the JSON has all of them


def _place(mismatch: Mismatch) -> str:
    index = f"[{', '.join(map(str, mismatch.index))}]" if mismatch.index else ""
    return f"{mismatch.case}, {mismatch.output}{index}"


def print_report(report: Report, console: Console) -> None:
    """One row for each op, then the first mismatches with coordinates and bits."""
    from rich.table import Table

    table = Table(title=f"golden against {report.subject}, level {report.level}, bit for bit")
    table.add_column("op")
    for name in ("cases", "elements", "differing", "golden s", f"{report.subject} s"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for result in report.results:
        golden_seconds = result.seconds - result.subject_seconds
        times = (f"{golden_seconds:.2f}", f"{result.subject_seconds:.2f}")
        verdict = f"[{COLOURS[result.verdict]}]{result.verdict}[/]"
        table.add_row(result.op, f"{result.cases:,}", f"{result.elements:,}", f"{result.differing:,}", *times, verdict)
    console.print(table)
    for result in report.results:
        _print_mismatches(result, report.subject, console)


def _print_mismatches(result: OpResult, subject: str, console: Console) -> None:
    for mismatch in result.mismatches[:SHOWN]:
        console.print(f"[bold]{result.op}[/] {_place(mismatch)}", highlight=False)
        console.print(f"    golden {mismatch.expected}  {subject} {mismatch.got}", highlight=False)
    hidden = len(result.mismatches) - SHOWN
    if hidden > 0:
        console.print(f"    … and {hidden} more cases of {result.op}")


def to_json(report: Report) -> str:
    """The whole report; ``equal`` is the verdict."""
    from .. import __version__

    def row(result: OpResult) -> dict[str, Any]:
        return {
            "op": result.op,
            "cases": result.cases,
            "elements": result.elements,
            "differing": result.differing,
            "seconds": round(result.seconds, 4),
            "backend_seconds": round(result.subject_seconds, 4),
            "equal": result.equal,
            "mismatches": [
                {
                    "case": m.case,
                    "output": m.output,
                    "index": list(m.index),
                    "golden": m.expected,
                    "got": m.got,
                    "differing": m.differing,
                }
                for m in result.mismatches
            ],
        }

    document = {
        "fp8ref": __version__,
        "backend": report.subject,
        "level": report.level,
        "machine": platform.machine(),
        "equal": report.equal,
        "ops": [row(result) for result in report.results],
    }
    return json.dumps(document, indent=2) + "\n"
