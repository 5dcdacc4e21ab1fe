# SPDX-License-Identifier: Apache-2.0
"""``fp8ref fingerprint``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BackendError
from .common import Backend, misuse, out, write_json
from .opening import (
    TARGETS,
    TIMEOUT,
    ArraysOption,
    LibraryOption,
    Opening,
    PipeOption,
    TargetOption,
    TimeoutOption,
    open_target,
)

if TYPE_CHECKING:
    from ..conformance.fingerprint import Fingerprint

ASKED = "What is asked"


def fingerprint(
    backend: Annotated[Backend | None, typer.Option(help="A backend of fp8ref.", rich_help_panel=TARGETS)] = None,
    target: TargetOption = "",
    arrays: ArraysOption = "",
    library: LibraryOption = "",
    pipe: PipeOption = "",
    timeout: TimeoutOption = TIMEOUT,
    accumulate: Annotated[
        str, typer.Option(metavar="NAME", help="Passed on in every call.", rich_help_panel=ASKED)
    ] = "",
    epilogue: Annotated[str, typer.Option(metavar="NAME", help="Passed on in every call.", rich_help_panel=ASKED)] = "",
    split_k: Annotated[int, typer.Option(min=1, help="Passed on in every call.", rich_help_panel=ASKED)] = 1,
    out_dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="Default: float32, or what it supports.", rich_help_panel=ASKED)
    ] = "",
    rows: Annotated[
        int, typer.Option(min=16, help="M and N of all calls, a multiple of 16.", rich_help_panel=ASKED)
    ] = 128,
    json: Annotated[str, typer.Option(metavar="FILE", help="The result as JSON; - is stdout.")] = "",
) -> None:
    """Find out how a scaled_mm adds: which tensor core it is, or which numbers describe it.

    It is fed sums of a few products and scales whose results tell block length, fraction bits, rounding, promotion,
    split-K and epilogue. What is inferred is tried on random operands, all bits of which it must predict.

    Exit code 0: here is the answer, also where it is "none". 2: misuse, such as a target that answers no call.

    [bold]Examples[/]

      fp8ref fingerprint --target mykernels:scaled_mm --arrays torch:cuda

      fp8ref fingerprint --backend cpu --accumulate sm90_wgmma --json -
    """
    from ..conformance import TargetError
    from ..conformance.fingerprint import fingerprint as infer
    from ..conformance.fingerprint import to_json

    if [bool(option) for option in (backend, target, library, pipe)].count(True) != 1:
        misuse("name one thing that is to be asked: --target, --library, --pipe or --backend")
    if rows % 16:
        misuse(f"--rows must be a multiple of 16, got {rows}")
    given = {"accumulate": accumulate, "epilogue": epilogue, **({"split_k": split_k} if split_k != 1 else {})}
    try:
        opening = Opening(backend or Backend.CPU, target, arrays, library, pipe, timeout=timeout)
        with open_target(opening, ("scaled_mm",)) as subject:
            found = infer(subject, {name: value for name, value in given.items() if value}, rows, out_dtype)
    except (BackendError, TargetError, ValueError) as error:
        misuse(str(error))
    if json != "-":
        _print(found)
    if json:
        write_json(json, to_json(found))


def _print(found: Fingerprint) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{escape(found.target)}: {escape(found.verdict)}")
    for name in ("parameter", "value", "shown by"):
        table.add_column(name)
    for finding in found.findings:
        table.add_row(*map(escape, (finding.parameter, finding.value, finding.evidence)))
    out.print(table)
    if found.verified is not None:
        tried = found.verified
        out.print(f"{tried.outputs:,} random outputs, {tried.differing:,} not as predicted ({found.out_dtype})")
