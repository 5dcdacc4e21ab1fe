# SPDX-License-Identifier: Apache-2.0
"""The forms of a report that ``fp8ref check`` writes, and the tester's expectations. [REPORT-FILES]"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from .common import err, misuse, out, write_text

if TYPE_CHECKING:
    from ..conformance import Report
    from ..conformance.xfails import Xfail

REPORTS = "Reports"


class StaleXfails(StrEnum):
    """What follows from an expected failure that did not happen."""

    WARN = "warn"
    FAIL = "fail"


def _file(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(metavar="FILE", help=what, rich_help_panel=REPORTS)
    return option


JsonOption = Annotated[str, _file("The report as JSON; - is stdout, here and below.")]
JunitOption = Annotated[str, _file("As JUnit XML, a test for each case, for CI.")]
HtmlOption = Annotated[str, _file("As one HTML page, with plots.")]
ClaimOption = Annotated[str, _file("A claim to publish: who checked what, with what result.")]
WhoOption = Annotated[str, typer.Option(metavar="TEXT", help="Who says so, for the claim.", rich_help_panel=REPORTS)]
XfailsOption = Annotated[str, _file("Cases that are known to fail: a pattern of OP/CASE in each line.")]
StaleOption = Annotated[
    StaleXfails,
    typer.Option(help="What follows from an expected failure that did not happen.", rich_help_panel=REPORTS),
]


def expected(path: str) -> tuple[Xfail, ...]:
    """The patterns of a file; none without one."""
    from ..conformance.xfails import read_xfails

    return read_xfails(path) if path else ()


def deliver(report: Report, files: Mapping[str, str], who: str, stale_xfails: StaleXfails) -> int:
    """Print the table, unless a form goes to stdout; write the files; warn; and say the exit code.

    ``files`` has paths by form: json, junit, html, claim; empty ones are not wanted.
    """
    from ..conformance import report as forms

    full = replace(report, command=shlex.join(["fp8ref", *sys.argv[1:]]), who=who)
    if "-" not in files.values():
        forms.print_report(full, out)
    write = {"json": forms.to_json, "junit": forms.to_junit, "html": forms.to_html, "claim": forms.to_claim}
    for form, path in files.items():
        if path:
            write_text(path, write[form](full))
    for old in full.stale_xfails:
        err.print(f"fp8ref: warning: {old}", markup=False)
    if full.verdict == "unsupported":
        err.print("fp8ref: warning: the target supports none of the cases: nothing was checked", markup=False)
    strict = stale_xfails is StaleXfails.FAIL and full.stale_xfails
    return 0 if full.equal and not strict else 1


def one_stdout(files: Mapping[str, str]) -> None:
    """Refuse two forms on stdout."""
    if list(files.values()).count("-") > 1:
        misuse(f"only one of {', '.join(f'--{form}' for form, path in files.items() if path == '-')} can be stdout")
