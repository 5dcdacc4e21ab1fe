# SPDX-License-Identifier: Apache-2.0
"""The tensors of a checkpoint by their plain names, each checked when it is taken. [CKPT-PREFIX], [CKPT-DTYPES]"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, UnsupportedError
from .folder import Checkpoint
from .names import is_vision, plain
from .safetensors import Entry
from .strict_json import damaged, show

Shape = tuple[int, ...]
SCALE_DTYPES = ("F32", "BF16", "F16")
SCALAR_SHAPES: tuple[Shape, ...] = ((), (1,))


class Tensors:
    """The tensors of the text model, whatever prefixes a file gives them; it remembers which were taken.

    Attributes:
        checkpoint: the opened folder.
        vision: names in the file of the tensors that are not read, those of the vision side.

    Raises:
        CheckpointError: two tensors have the same plain name.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.vision = tuple(name for name in checkpoint.names if is_vision(name))
        self._stored: dict[str, str] = {}
        self._taken: set[str] = set()
        for name in checkpoint.names:
            if is_vision(name):
                continue
            other = self._stored.setdefault(plain(name), name)
            if other != name:
                message = f"tensor {show(name)}: is {show(other)} in another spelling"
                raise damaged(checkpoint.file_of(name), message)

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def stored(self, name: str) -> str:
        """The name that the file has; the plain name of a tensor that is not there."""
        return self._stored.get(name, name)

    def damaged(self, name: str, message: str) -> CheckpointError:
        """A CheckpointError that names the file and the tensor."""
        stored = self.stored(name)
        return CheckpointError(f"{self.checkpoint.file_of(stored)}: tensor {stored!r}: {message}")

    def unsupported(self, name: str, message: str) -> UnsupportedError:
        """An UnsupportedError that names the file and the tensor."""
        stored = self.stored(name)
        return UnsupportedError(f"{self.checkpoint.file_of(stored)}: tensor {stored!r}: {message}")

    def entry(self, name: str) -> Entry:
        """dtype, shape and place of a tensor.

        Raises:
            CheckpointError: there is no such tensor.
        """
        return self.checkpoint.entry(self.stored(name))

    def is_fp8(self, module: str) -> bool:
        """Whether a projection is FP8: the tensor decides. [CKPT-DTYPES]"""
        return self.entry(f"{module}.weight").dtype == "F8_E4M3"

    def take(self, name: str, shape: Shape, dtypes: tuple[str, ...] = ("BF16",)) -> NDArray[Any]:
        """A tensor of the given shape and one of the dtypes, a view of the mapped file. [CKPT-NAMES], [CKPT-DTYPES]"""
        entry = self.entry(name)
        if entry.shape != shape:
            raise self.damaged(name, f"has shape {list(entry.shape)}, config.json asks for {list(shape)}")
        if entry.dtype not in dtypes:
            raise self.unsupported(name, f"dtype {entry.dtype} is not supported here; supported: {', '.join(dtypes)}")
        self._taken.add(name)
        return self.checkpoint.array(entry.name)

    def scale(self, name: str, shapes: tuple[Shape, ...]) -> NDArray[np.float32]:
        """A scale of one of the shapes, widened exactly to float32. [CKPT-SCALE]"""
        entry = self.entry(name)
        if entry.shape not in shapes:
            allowed = ", ".join(str(list(shape)) for shape in sorted(set(shapes)))
            raise self.damaged(name, f"this scale has one of the shapes {allowed}, got {list(entry.shape)}")
        stored = self.take(name, entry.shape, SCALE_DTYPES)
        with np.errstate(invalid="ignore"):
            values = stored.astype(np.float32)
        if np.isnan(values).any():
            raise self.damaged(name, "the scale is NaN")
        if np.isinf(values).any():
            raise self.damaged(name, "the scale is infinite")
        if np.signbit(values).any():
            raise self.damaged(name, "the scale is negative")
        return values

    def scalar(self, name: str) -> NDArray[np.float32]:
        """A scale that multiplies, and is divided by: one number above zero. [CKPT-SCALE], [CKPT-KV-SCALES]"""
        value = self.scale(name, SCALAR_SHAPES).reshape(())
        if not value > 0:
            raise self.damaged(name, "the scale is zero")
        return value

    def skip(self, name: str) -> None:
        """A tensor that may be there and is not needed. [CKPT-EXTRA]"""
        self._taken.add(name)

    def check_leftovers(self) -> None:
        """A tensor that nothing took means another model than the config describes. [CKPT-EXTRA]"""
        for name in self._stored:
            if name not in self._taken:
                raise self.unsupported(name, "the model that config.json describes has no use for it")
