# SPDX-License-Identifier: Apache-2.0
"""A report on a terminal. [REPORT-TABLE]"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..outcome import Mismatch
from ..result import OpResult, Report
from ._words import clean, counted, distance, histogram, place, share, summary, total

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {"equal": "green", "differs": "red", "unsupported": "yellow", "held": "green", "broken": "red"}
SHOWN = 3  # mismatches printed for each op; the JSON has all of them
REFUSALS = 5  # kinds of unsupported cases


def print_report(report: Report, console: Console) -> None:
    """One row for each op, then of each op what differs and why; then what was expected, and the verdict."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    subject = Text.assemble(("target   ", "dim"), (clean(report.subject), "bold"), overflow="fold")
    console.print(subject, highlight=False)
    console.print(Text.assemble(("contract ", "dim"), report.contract, ("   level ", "dim"), report.level))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("op", no_wrap=True)
    for name in ("cases", "unsupported", "elements", "differing", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for result in report.results:
        numbers = (result.cases, result.unsupported.total(), result.elements, result.differing)
        verdict = Text(result.verdict, COLOURS[result.verdict])
        table.add_row(result.op, *(f"{n:,}" for n in numbers), f"{result.seconds:.2f}", verdict)
    console.print(table)
    for result in report.results:
        _print_differences(result, console)
    _print_rest(report, console)
    console.print(Text.assemble((report.verdict, f"bold {COLOURS[report.verdict]}"), f": {summary(report)}"))


def _line(console: Console, text: str, indent: int, style: str = "") -> None:
    """A line that is broken at words and keeps its indent; nothing in it is markup."""
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(clean(text), style, overflow="fold"), (0, 0, 0, indent), expand=False), highlight=False)


def _print_differences(result: OpResult, console: Console) -> None:
    if result.equal:
        return
    verb = "differs" if len(result.mismatches) == 1 else "differ"
    wrong = f"{counted(len(result.mismatches), 'case')} {verb} in {counted(result.differing, 'element')}"
    _line(console, f"{result.op}: {wrong}", 0, "bold")
    for reason in result.reasons:
        words = ", ".join(filter(None, (reason.detail, share(reason))))
        _line(console, f"{reason.kind}: {words}", 2, "yellow")
    spread = histogram(total(result))
    if spread:
        _line(console, f"distances {spread}", 2)
    for mismatch in result.mismatches[:SHOWN]:
        _print_mismatch(mismatch, console)
    hidden = len(result.mismatches) - SHOWN
    if hidden > 0:
        _line(console, f"… and {hidden} more cases of {result.op}", 2, "dim")
    console.print()


def _print_mismatch(mismatch: Mismatch, console: Console) -> None:
    _line(console, f"{mismatch.case}, {place(mismatch)}", 2, "cyan")
    apart = distance(mismatch)
    words = (f"expected {mismatch.expected}", f"got {mismatch.got}", *([f"{apart} apart"] if apart else []))
    _line(console, "  ".join(words), 4)
    for operand in mismatch.operands:
        _line(console, operand, 4, "dim")


def _print_rest(report: Report, console: Console) -> None:
    for result in report.results:
        for why, cases in result.unsupported.most_common(REFUSALS):
            _line(console, f"{result.op}: {counted(cases, 'case')} unsupported: {why}", 0, "yellow")
        hidden = len(result.unsupported) - REFUSALS
        if hidden > 0:
            _line(console, f"{result.op}: … and {hidden} more reasons", 0, "yellow")
        failed = len(result.expected_failures)
        if failed:
            _line(console, f"{result.op}: {counted(failed, 'case')} failed as the tester expects", 0)
    for missing in report.left_out:
        _line(console, f"left out: {missing}", 0, "yellow")
    for old in report.stale_xfails:
        _line(console, str(old), 0, "yellow")
    for item in report.invariances:
        words = f"{item.op}, {item.name}: {item.state}{f': {item.detail}' if item.detail else ''}"
        claimed = "" if item.claimed == "claimed" else f" ({item.claimed})"
        _line(console, f"invariance {words}{claimed}", 0, COLOURS.get(item.state, "yellow"))
