# SPDX-License-Identifier: Apache-2.0
"""Write a checkpoint folder: all of it or nothing. [CKPT-WRITE]"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from .folder import CONFIG, SINGLE


def _free(destination: Path) -> None:
    """The destination does not exist, or is an empty folder (which rename replaces)."""
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise CheckpointError(f"{destination}: exists already; a checkpoint is not written over anything")


def _flush(folder: Path) -> None:
    """Everything reaches the disk before the folder gets its name."""
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_checkpoint(
    path: str | Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
    companions: Iterable[Path] = (),
) -> None:
    """Write ``config.json``, ``model.safetensors`` and copies of other files as a new folder, atomically.

    Args:
        path: the folder to make; it must not exist, or be empty.
        config: the content of config.json.
        tensors: arrays by name. bfloat16, float8_e4m3fn and numpy's own types; a tensor of shape () stays ().
        companions: files to copy beside them (tokenizer, chat template, generation_config.json).

    Raises:
        CheckpointError: the destination exists, or the disk refuses.

    Example:
        >>> write_checkpoint("tiny", {"model_type": "llama"}, {"x": np.zeros(3, np.float32)})  # doctest: +SKIP
    """
    from safetensors.numpy import save_file

    destination = Path(path)
    _free(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        # A name that mkdtemp chose is ours alone; the rename is atomic because it stays on one file system.
        temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    except OSError as error:
        raise CheckpointError(f"{destination}: cannot be written: {error}") from None
    try:
        temporary.chmod(0o755)
        # np.require would turn shape () into (1,); asarray keeps it.
        dense = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
        save_file(dense, temporary / SINGLE, metadata={"format": "pt"})
        (temporary / SINGLE).chmod(0o644)
        (temporary / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for companion in companions:
            shutil.copyfile(companion, temporary / companion.name)
        _flush(temporary)
        temporary.rename(destination)
    except OSError as error:
        raise CheckpointError(f"{destination}: cannot be written: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
