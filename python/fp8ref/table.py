# SPDX-License-Identifier: Apache-2.0
"""spec/ops.toml, read once: the one list of operations that backends, cases and tests loop over; and fp8ref.h."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Op:
    """One row of spec/ops.toml."""

    stem: str
    layer: int
    outputs: Mapping[str, tuple[str, ...]]  # of each function: the names of what it returns
    backends: tuple[str, ...]

    @property
    def functions(self) -> tuple[str, ...]:
        """The public names, the same on every backend."""
        return tuple(self.outputs)


def _path() -> Path:
    """The table beside an installed package, else in the source tree that this file lies in."""
    here = Path(__file__).resolve().parent
    installed = here / "spec" / "ops.toml"
    return installed if installed.exists() else here.parents[1] / "spec" / "ops.toml"


def include_folder() -> Path:
    """The folder that a C compiler finds ``fp8ref/fp8ref.h`` in, for those who write a library to be checked.

    Example:
        >>> (include_folder() / "fp8ref" / "fp8ref.h").is_file()
        True
    """
    here = Path(__file__).resolve().parent
    installed = here / "include"
    return installed if installed.exists() else here.parents[1] / "cpp" / "include"


@functools.cache
def ops() -> tuple[Op, ...]:
    """All operations, in the table's order."""
    rows = tomllib.loads(_path().read_text(encoding="utf-8"))["op"]
    return tuple(
        Op(
            row["stem"],
            row["layer"],
            {function: tuple(names) for function, names in row["functions"].items()},
            tuple(row["backends"]),
        )
        for row in rows
    )
