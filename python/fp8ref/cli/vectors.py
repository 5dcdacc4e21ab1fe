# SPDX-License-Identifier: Apache-2.0
"""``fp8ref vectors``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import ExportLevel, err, misuse, out

app = typer.Typer(
    help="Cases with expected bits, in files that need nothing of fp8ref.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def _group() -> None:
    """Keep the name of the one command."""


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    ops: Annotated[
        list[str] | None, typer.Argument(metavar="OP", help="Names of ops or of their functions; none means all.")
    ] = None,
    level: Annotated[ExportLevel, typer.Option(help="quick has megabytes, full hundreds.")] = ExportLevel.QUICK,
    contract: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="What is claimed: an accumulator, a scale rule, an epilogue, every; default: fp8ref's defaults.",
        ),
    ] = "",
    cases: Annotated[str, typer.Option(metavar="GLOB", help="Only cases whose OP/NAME matches.")] = "*",
) -> None:
    """Write cases and the bits that are expected: safetensors files, a manifest in JSON and its schema.

    Compute them anywhere, in any language; then let fp8ref judge the results. spec/exchange.md says how.

    [bold]Examples[/]

      fp8ref vectors export vectors scaled_mm --contract sm90_wgmma

      fp8ref check --results results --manifest vectors/manifest.json
    """
    from ..conformance import Claim
    from ..conformance.vectors import export as write

    try:
        done = write(folder, tuple(ops or ()), level.value, Claim.parse(contract) if contract else None, cases)
    except ValueError as error:
        misuse(str(error))
    for reason in done.left_out:
        err.print(f"fp8ref: left out: {reason}", markup=False)
    counted = ", ".join(f"{op} {count}" for op, count in done.cases.items())
    out.print(f"{folder}: {sum(done.cases.values())} cases: {counted}", markup=False, soft_wrap=True)
