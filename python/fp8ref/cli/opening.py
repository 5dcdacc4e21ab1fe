# SPDX-License-Identifier: Apache-2.0
"""Options that name a target, shared by the commands that ask one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import Backend

if TYPE_CHECKING:
    from ..conformance import Target

TARGETS = "What is checked"

BackendOption = Annotated[Backend, typer.Option(help="A backend of fp8ref.", rich_help_panel=TARGETS)]
TargetOption = Annotated[
    str,
    typer.Option(
        metavar="PKG.MOD:FUNCTION",
        help="A Python function with the signature of fp8ref's; or PKG.MOD, all functions of a module.",
        rich_help_panel=TARGETS,
    ),
]
ArraysOption = Annotated[
    str,
    typer.Option(
        metavar="LIBRARY",
        help="What a Python target takes: numpy, torch, torch:cuda, cupy; default: its attribute fp8ref_arrays.",
        rich_help_panel=TARGETS,
    ),
]
LibraryOption = Annotated[
    str,
    typer.Option(
        metavar="FILE",
        help="A shared library with functions of fp8ref.h (fp8ref version says where that is).",
        rich_help_panel=TARGETS,
    ),
]
PipeOption = Annotated[
    str,
    typer.Option(
        metavar="COMMAND",
        help="A program that reads cases and writes results, such as 'ssh gpu ./runner'.",
        rich_help_panel=TARGETS,
    ),
]
ResultsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Results of exported cases; what is checked is in their manifest.",
        rich_help_panel=TARGETS,
    ),
]
ManifestOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The manifest of the results, if not in DIR.", rich_help_panel=TARGETS),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        min=0.1,
        help="What a library or a program at a pipe has for each case.",
        rich_help_panel=TARGETS,
    ),
]
TIMEOUT = 120.0  # as the targets have it, which are loaded when a command runs


@dataclass(frozen=True)
class Opening:
    """The options by their names."""

    backend: Backend = Backend.CPU
    target: str = ""
    arrays: str = ""
    library: str = ""
    pipe: str = ""
    results: Path | None = None
    manifest: Path | None = None
    timeout: float = TIMEOUT


def open_target(options: Opening, selected: tuple[str, ...]) -> Target:
    """What the options name; they name one.

    Raises:
        TargetError: it cannot be loaded.
        BackendError: the backend is not installed.
        ValueError: options that do not go together.
    """
    from ..conformance import ResultsTarget
    from ..conformance.targets import open_target as open_kind

    kinds = {name: getattr(options, name) for name in ("target", "library", "pipe", "results")}
    given = [name for name, value in kinds.items() if value]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(f'--{name}' for name in given)}: one thing is checked at a time")
    if options.manifest and not options.results:
        raise ValueError("--manifest goes with --results")
    if options.arrays and not options.target:
        raise ValueError("--arrays goes with --target")
    if options.results:
        return ResultsTarget(options.results, options.manifest)
    kind = given[0] if given else "backend"
    where = kinds[kind] if given else options.backend.value
    return open_kind(kind, where, options.arrays, selected, options.timeout)
