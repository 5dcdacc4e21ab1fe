# SPDX-License-Identifier: Apache-2.0
"""``fp8ref check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BackendError
from .common import Backend, Level, misuse, progress
from .opening import (
    TARGETS,
    TIMEOUT,
    ArraysOption,
    BackendOption,
    LibraryOption,
    ManifestOption,
    Opening,
    PipeOption,
    ResultsOption,
    TargetOption,
    TimeoutOption,
    open_target,
)
from .reporting import (
    ClaimOption,
    HtmlOption,
    JsonOption,
    JunitOption,
    StaleOption,
    StaleXfails,
    WhoOption,
    XfailsOption,
    deliver,
    expected,
    one_stdout,
)

if TYPE_CHECKING:
    from ..conformance import Claim, Report, Target, Xfail


def check(
    ops: Annotated[
        list[str] | None, typer.Argument(metavar="OP", help="Names of ops or of their functions; none means all.")
    ] = None,
    backend: BackendOption = Backend.CPU,
    target: TargetOption = "",
    arrays: ArraysOption = "",
    library: LibraryOption = "",
    pipe: PipeOption = "",
    results: ResultsOption = None,
    manifest: ManifestOption = None,
    timeout: TimeoutOption = TIMEOUT,
    contract: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="What it claims: an accumulator, a scale rule, an epilogue, bound, every; default: fp8ref's defaults.",
            rich_help_panel=TARGETS,
        ),
    ] = "",
    invariance: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Claim that these change no bit: batch, rows, split_k, threads, run, padding, all; none: do not look.",
            rich_help_panel=TARGETS,
        ),
    ] = "",
    level: Annotated[
        Level, typer.Option(help="quick takes seconds, full about a minute, exhaustive half an hour.")
    ] = Level.QUICK,
    cases: Annotated[str, typer.Option(metavar="GLOB", help="Only cases whose OP/NAME matches.")] = "*",
    json: JsonOption = "",
    junit: JunitOption = "",
    html: HtmlOption = "",
    claim: ClaimOption = "",
    who: WhoOption = "",
    xfails: XfailsOption = "",
    stale_xfails: StaleOption = StaleXfails.WARN,
) -> None:
    """Compare a backend, or your own kernel, with golden: bit for bit, on built-in inputs.

    Exit code 0: what was checked is right. 1: something differs. 2: misuse: an unknown op or contract, or a target that
    cannot be loaded. A target says with NotImplementedError what it does not support; that is no failure.

    [bold]Examples[/]

      fp8ref check

      fp8ref check scaled_mm --target mykernels:scaled_mm --arrays torch:cuda --contract sm90_wgmma

      fp8ref check scaled_mm --library ./libx.so

      fp8ref check quantize --target mykernels:per_token --contract vllm.per_token

      fp8ref check scaled_mm --pipe "ssh gpu ./runner"

      fp8ref check --results results --manifest vectors/manifest.json

      fp8ref check scaled_mm --target mykernels:scaled_mm --html report.html --junit junit.xml --xfails known.txt

      fp8ref check e4m3 --level exhaustive     [dim]# all 2^32 float32 numbers[/]
    """
    from .. import conformance

    files = {"json": json, "junit": junit, "html": html, "claim": claim}
    one_stdout(files)
    opening = Opening(backend, target, arrays, library, pipe, results, manifest, timeout)
    asked = (tuple(dict.fromkeys(ops or ())), level.value, contract, cases)
    try:
        names = conformance.invariance.parse(invariance)
        known = expected(xfails)
        with open_target(opening, asked[0]) as subject:
            report = _run(subject, *_asked(subject, *asked), names, known)
    except (BackendError, conformance.TargetError, ValueError) as error:
        misuse(str(error))
    raise typer.Exit(deliver(report, files, who, stale_xfails))


def _asked(
    target: Target, selected: tuple[str, ...], level: str, contract: str, pattern: str
) -> tuple[tuple[str, ...], str, Claim | None, str]:
    """Ops, level, claim and pattern: of the options, or of the manifest of results. [RESULTS-JUDGE]"""
    from ..conformance import Claim, ResultsTarget

    if not isinstance(target, ResultsTarget):
        return selected, level, Claim.parse(contract) if contract else None, pattern
    if selected or contract or pattern != "*" or level not in ("quick", target.level):
        raise ValueError("--results: ops, level, contract and cases are those of the manifest")
    return target.selected, target.level, target.claim, target.pattern


def _run(
    target: Target,
    selected: tuple[str, ...],
    level: str,
    claim: Claim | None,
    pattern: str,
    names: tuple[str, ...] | None,
    xfails: tuple[Xfail, ...],
) -> Report:
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
        return check(target, selected, level, count, claim=claim, pattern=pattern, xfails=xfails, invariance=names)
