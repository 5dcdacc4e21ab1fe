# SPDX-License-Identifier: Apache-2.0
"""What the commands share: policies as choices, two consoles, progress bars on stderr, and exit codes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

MISUSE = 2

out = Console(highlight=False, soft_wrap=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


class Backend(StrEnum):
    """fp8ref.backends.BACKENDS."""

    GOLDEN = "golden"
    CPU = "cpu"
    CUDA = "cuda"


class Accumulate(StrEnum):
    """The accumulators of scaled_mm, and the modes of a whole model."""

    EXACT = "exact"
    SM90_WGMMA = "sm90_wgmma"
    SM90_WGMMA_PROMOTED = "sm90_wgmma_promoted"
    SM90_MMA_SYNC = "sm90_mma_sync"
    SM89_MMA = "sm89_mma"
    SM100_TCGEN05 = "sm100_tcgen05"
    SM120_MMA = "sm120_mma"
    SM90 = "sm90"
    SM89 = "sm89"
    SM80 = "sm80"


class Weights(StrEnum):
    """fp8ref.model.llama.WEIGHTS."""

    MAPPED = "mapped"
    STREAMED = "streamed"


class Level(StrEnum):
    """fp8ref.conformance.LEVELS."""

    QUICK = "quick"
    FULL = "full"
    EXHAUSTIVE = "exhaustive"


class ExportLevel(StrEnum):
    """fp8ref.conformance.vectors.LEVELS."""

    QUICK = "quick"
    FULL = "full"


class Scan(StrEnum):
    """fp8ref.checkpoint.ranges.SCANS."""

    VALUES = "values"
    HEADERS = "headers"


BackendOption = Annotated[
    Backend, typer.Option(help="golden is the numpy specification, cpu the C++ implementation, cuda a GPU.")
]
AccumulateOption = Annotated[
    Accumulate,
    typer.Option(help="exact, or a tensor core: of FP8 products (sm90_wgmma), or of the whole model (sm90)."),
]
WeightsOption = Annotated[
    Weights, typer.Option(help="streamed gives memory back while it runs: for a checkpoint larger than memory.")
]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="Threads of the cpu backend; no bit depends on it.")]


class Step(Protocol):
    """Called as ``step(done, total)`` while work goes on."""

    def __call__(self, done: int, total: int, /) -> None: ...


def misuse(message: str) -> NoReturn:
    """One line on stderr and exit code 2."""
    fail(message, MISUSE)


def fail(message: str, code: int = 1) -> NoReturn:
    """One line on stderr and an exit code."""
    err.print(f"fp8ref: error: {message}", markup=False)
    raise typer.Exit(code)


@contextmanager
def progress(description: str) -> Iterator[Step]:
    """A bar on stderr that vanishes at the end; nothing where stderr is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task: TaskID = bar.add_task(description, total=None)

        def step(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield step


def set_threads(threads: int | None) -> None:
    """Limit the cpu backend."""
    if threads is not None:
        from ..backends import backend

        backend("cpu")  # a clear error where it is not installed
        from .. import _ext

        _ext.set_threads(threads)


def write_text(target: str, text: str) -> None:
    """To a file, written aside and then renamed; or to stdout for ``-``."""
    if target == "-":
        print(text, end="")
        return
    path = Path(target)
    if path.exists() and not path.is_file():  # a device, which cannot be replaced
        path.write_text(text, encoding="utf-8")
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except (OSError, UnicodeError):
        aside.unlink(missing_ok=True)
        raise


def write_json(target: str, text: str) -> None:
    """As :func:`write_text`."""
    write_text(target, text)


def known(values: Sequence[str]) -> str:
    """For messages."""
    return ", ".join(values)
