# SPDX-License-Identifier: Apache-2.0
"""Write a checkpoint folder: all of it or nothing. [CKPT-WRITE]"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .aside import new_folder
from .folder import CONFIG, SINGLE


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
        companions: files and folders to copy beside them (tokenizer, chat template, generation_config.json).

    Raises:
        CheckpointError: the destination exists, or the disk refuses.

    Example:
        >>> write_checkpoint("tiny", {"model_type": "llama"}, {"x": np.zeros(3, np.float32)})  # doctest: +SKIP
    """
    from safetensors.numpy import save_file

    with new_folder(Path(path), "a checkpoint") as temporary:
        # np.require would turn shape () into (1,); asarray keeps it.
        dense = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
        save_file(dense, temporary / SINGLE, metadata={"format": "pt"})
        (temporary / SINGLE).chmod(0o644)
        (temporary / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for companion in companions:
            copy = shutil.copytree if companion.is_dir() else shutil.copyfile
            copy(companion, temporary / companion.name)
