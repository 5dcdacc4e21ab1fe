# SPDX-License-Identifier: Apache-2.0
"""``fp8ref check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BackendError
from .common import Backend, Level, err, misuse, out, progress, write_json

if TYPE_CHECKING:
    from ..conformance import Claim, Report, Target

TARGETS = "What is checked"
REPORTS = "Reports"


def check(
    ops: Annotated[
        list[str] | None, typer.Argument(metavar="OP", help="Names of ops or of their functions; none means all.")
    ] = None,
    backend: Annotated[Backend, typer.Option(help="A backend of fp8ref.", rich_help_panel=TARGETS)] = Backend.CPU,
    target: Annotated[
        str,
        typer.Option(
            metavar="PKG.MOD:FUNCTION",
            help="A Python function with the signature of fp8ref's; or PKG.MOD, all functions of a module.",
            rich_help_panel=TARGETS,
        ),
    ] = "",
    arrays: Annotated[
        str,
        typer.Option(
            metavar="LIBRARY",
            help="What a Python target takes: numpy, torch, torch:cuda, cupy; default: its attribute fp8ref_arrays.",
            rich_help_panel=TARGETS,
        ),
    ] = "",
    library: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="A shared library with functions of fp8ref.h (fp8ref version says where that is).",
            rich_help_panel=TARGETS,
        ),
    ] = "",
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that one call of a library may take.", rich_help_panel=TARGETS)
    ] = 60.0,
    contract: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="What it claims: an accumulator, a scale rule, an epilogue, bound, every; default: fp8ref's defaults.",
            rich_help_panel=TARGETS,
        ),
    ] = "",
    level: Annotated[
        Level, typer.Option(help="quick takes seconds, full about a minute, exhaustive half an hour.")
    ] = Level.QUICK,
    cases: Annotated[str, typer.Option(metavar="GLOB", help="Only cases whose OP/NAME matches.")] = "*",
    json: Annotated[
        str, typer.Option(metavar="FILE", help="The report as JSON; - is stdout.", rich_help_panel=REPORTS)
    ] = "",
) -> None:
    """Compare a backend, or your own kernel, with golden: bit for bit, on built-in inputs.

    Exit code 0: what was checked is right. 1: something differs. 2: misuse: an unknown op or contract, or a target that
    cannot be loaded. A target says with NotImplementedError what it does not support; that is no failure.

    [bold]Examples[/]

      fp8ref check

      fp8ref check scaled_mm --target mykernels:scaled_mm --arrays torch:cuda --contract sm90_wgmma

      fp8ref check scaled_mm --library ./libx.so

      fp8ref check quantize --target mykernels:per_token --contract vllm.per_token

      fp8ref check e4m3 --level exhaustive     [dim]# all 2^32 float32 numbers[/]
    """
    from .. import conformance
    from ..conformance import report as reports

    try:
        claim = conformance.Claim.parse(contract) if contract else None
        with _target(target, arrays, library, timeout, backend, tuple(ops or ())) as subject:
            report = _run(subject, tuple(dict.fromkeys(ops or ())), level.value, claim, cases)
    except (BackendError, conformance.TargetError, ValueError) as error:
        misuse(str(error))
    if json != "-":
        reports.print_report(report, out)
    if json:
        write_json(json, reports.to_json(report))
    if report.verdict == "unsupported":
        err.print("fp8ref: warning: the target supports none of the cases: nothing was checked", markup=False)
    raise typer.Exit(0 if report.equal else 1)


def _target(
    path: str, arrays: str, library: str, timeout: float, backend: Backend, selected: tuple[str, ...]
) -> Target:
    """What the options name."""
    from ..conformance import BackendTarget, CallableTarget, LibraryTarget, TargetError
    from ..conformance.targets import functions_of

    if path and library:
        raise TargetError("--target and --library: one at a time")
    if library:
        return LibraryTarget.load(library, functions_of(selected), timeout)
    if path:
        return CallableTarget.load(path, arrays, functions_of(selected))
    return BackendTarget(backend.value)


def _run(target: Target, selected: tuple[str, ...], level: str, claim: Claim | None, pattern: str) -> Report:
    """With a bar that counts ops and names the case at work."""
    from ..conformance import OpResult, check
    from ..conformance.runner import stems_of

    total = len(selected) or len(stems_of(target))
    done = 0
    with progress("checking") as step:

        def count(_: OpResult) -> None:
            nonlocal done
            done += 1
            step(done, total)

        step(0, total)
        return check(target, selected, level, count, claim=claim, pattern=pattern)
