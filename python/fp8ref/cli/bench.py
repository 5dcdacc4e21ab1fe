# SPDX-License-Identifier: Apache-2.0
"""``fp8ref bench``."""

from __future__ import annotations

import json as jsonlib
import platform
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .common import Accumulate, AccumulateOption, Backend, BackendOption, ThreadsOption, out, progress, set_threads
from .common import write_json as write

if TYPE_CHECKING:
    from ..bench import Figure


class Part(StrEnum):
    """What is measured."""

    MODEL = "model"
    OPS = "ops"
    ALL = "all"


def bench(
    checkpoint: Annotated[Path | None, typer.Argument(metavar="[CKPT]", help="Default: the demo's model.")] = None,
    backend: BackendOption = Backend.CPU,
    accumulate: AccumulateOption = Accumulate.EXACT,
    threads: ThreadsOption = None,
    part: Annotated[Part, typer.Option(help="Whole models, matrix products, or both.")] = Part.ALL,
    json: Annotated[str, typer.Option(metavar="FILE", help="Also write the figures as JSON; - is stdout.")] = "",
) -> None:
    """Measure decode and prefill tokens per second and scaled_mm, beside what bytes and operations allow.

    [bold]Examples[/]

      fp8ref bench

      fp8ref bench --part ops

      fp8ref bench CKPT --backend golden --json bench.json
    """
    from .. import __version__
    from ..bench import cores, model_figures, op_figures
    from ..demo import checkpoints, default_cache

    set_threads(threads)
    figures, subject = [], backend.value
    if part is not Part.OPS:
        folder = checkpoint or checkpoints(default_cache(), progress).fp8
        with progress(f"measuring {folder.name}"):
            figures += model_figures(folder, backend.value, accumulate.value)
        subject = f"{folder.name}, {subject}"
    if part is not Part.MODEL:
        with progress("measuring scaled_mm"):
            figures += op_figures(backend.value)
    if json != "-":
        out.print(_table(figures, f"{subject}, {cores()} cores"))
    if json:
        document = {
            "fp8ref": __version__,
            "machine": platform.processor() or platform.machine(),
            "cores": cores(),
            "backend": backend.value,
            "subject": subject,
            "figures": [{**vars(figure), "share": figure.share} for figure in figures],
        }
        write(json, jsonlib.dumps(document, indent=2) + "\n")


def _table(figures: list[Figure], title: str) -> Table:
    table = Table(title=title)
    table.add_column("what", no_wrap=True)
    table.add_column("measured", justify="right")
    table.add_column("unit")
    table.add_column("bound", justify="right")
    table.add_column("share", justify="right")
    table.add_column("bound by")
    for f in figures:
        bound = "" if f.bound is None else f"{f.bound:,.1f}"
        share = "" if f.share is None else f"{f.share:.0%}"
        table.add_row(f.name, f"{f.value:,.2f}", f.unit, bound, share, f.limit)
    return table
