# SPDX-License-Identifier: Apache-2.0
"""What a case is: inputs with a name, for one function of one op. The expected result comes from the golden model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._stream import BFLOAT16, Array

LEVELS = ("quick", "full", "exhaustive")


@dataclass(frozen=True)
class Case:
    """One call: ``backend.<function>(**arguments)``. ``flags`` say which traps it holds, see ``FLAGS``."""

    name: str
    function: str
    arguments: Mapping[str, Any] = field(repr=False)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelCase:
    """One run of a whole model: every traced value of the tokens, fed to the KV cache in chunks of ``cut``.

    ``vision_states`` come with the forwards that begin at their tokens.
    """

    name: str
    config: Mapping[str, Any] = field(repr=False)
    tensors: Mapping[str, Array] = field(repr=False)
    tokens: tuple[int, ...]
    cut: int
    accumulate: str
    vision_states: Mapping[int, Array] = field(default_factory=dict, repr=False)

    def forwards(self) -> Iterator[tuple[int, tuple[int, ...], Array | None]]:
        """First token, tokens and vision states of each chunk."""
        for start in range(0, len(self.tokens), self.cut):
            yield start, self.tokens[start : start + self.cut], self.vision_states.get(start)


def from_bits(bits: list[int], dtype: Any = BFLOAT16) -> Array:
    """An array of the type from its bit patterns."""
    kind = np.dtype(dtype)
    return np.array(bits, dtype=f"u{kind.itemsize}").view(kind)


# Zeros, smallest and largest subnormals and normals, one and its neighbours, infinities, quiet and signalling NaN.
BF16_SPECIAL = from_bits(
    [sign | magnitude for magnitude in
     (0x0000, 0x0001, 0x0002, 0x007F, 0x0080, 0x0081, 0x3F7F, 0x3F80, 0x3F81, 0x4000, 0x7F7F, 0x7F80, 0x7FC0, 0x7F81)
     for sign in (0x0000, 0x8000)]
)  # fmt: skip
