# SPDX-License-Identifier: Apache-2.0
"""``fp8ref check``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import BackendError
from .common import Backend, Level, known, misuse, out, progress, write_json


def check(
    ops: Annotated[list[str] | None, typer.Argument(metavar="OP", help="Names of ops; none means all.")] = None,
    backend: Annotated[Backend, typer.Option(help="The implementation to compare with golden.")] = Backend.CPU,
    level: Annotated[
        Level, typer.Option(help="quick takes seconds, full about a minute, exhaustive half an hour.")
    ] = Level.QUICK,
    json: Annotated[str, typer.Option(metavar="FILE", help="Also write the report as JSON; - is stdout.")] = "",
) -> None:
    """Compare golden with a backend, bit for bit, on built-in inputs.

    Exit code 0: every bit is equal. 1: something differs. 2: unknown op or backend, or the backend is not installed.

    [bold]Examples[/]

      fp8ref check

      fp8ref check scaled_mm attention --level full --json report.json

      fp8ref check e4m3 --level exhaustive     [dim]# all 2^32 float32 numbers[/]
    """
    from .. import conformance
    from ..conformance import report as reports

    names = conformance.stems(backend.value)
    selected = tuple(dict.fromkeys(ops or names))
    for name in selected:
        if name not in names:
            misuse(f"unknown op {name!r}; known: {known(names)}")
    done = 0
    with progress("checking") as step:

        def count(result: conformance.OpResult) -> None:
            nonlocal done
            done += 1
            step(done, len(selected))

        step(0, len(selected))
        try:
            report = conformance.check(backend.value, selected, level.value, count)
        except BackendError as error:
            misuse(str(error))
    if json != "-":
        reports.print_report(report, out)
    if json:
        write_json(json, reports.to_json(report))
    raise typer.Exit(0 if report.equal else 1)
