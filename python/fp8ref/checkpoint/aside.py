# SPDX-License-Identifier: Apache-2.0
"""A new folder, whole or absent: it is written aside and renamed. [CKPT-WRITE]"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import CheckpointError


def _flush(folder: Path) -> None:
    """Everything reaches the disk before the folder gets its name."""
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def new_folder(destination: Path, what: str) -> Iterator[Path]:
    """A temporary folder beside the destination, which gets its name when the block ends without an error.

    Raises:
        CheckpointError: the destination exists and is no empty folder, or the disk refuses; ``what`` names the content.
    """
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise CheckpointError(f"{destination}: exists already; {what} is not written over anything")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        # A name that mkdtemp chose is ours alone; the rename is atomic because it stays on one file system.
        temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    except OSError as error:
        raise CheckpointError(f"{destination}: cannot be written: {error}") from None
    try:
        temporary.chmod(0o755)
        yield temporary
        _flush(temporary)
        temporary.rename(destination)
    except OSError as error:
        raise CheckpointError(f"{destination}: cannot be written: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
