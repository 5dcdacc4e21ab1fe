# SPDX-License-Identifier: Apache-2.0
"""spec/ops.toml, read once: the one list of operations that backends, cases and tests loop over."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Op:
    """One row of spec/ops.toml."""

    stem: str
    layer: int
    functions: tuple[str, ...]
    backends: tuple[str, ...]


def _path() -> Path:
    """The table beside an installed package, else in the source tree that this file lies in."""
    here = Path(__file__).resolve().parent
    installed = here / "spec" / "ops.toml"
    return installed if installed.exists() else here.parents[1] / "spec" / "ops.toml"


@functools.cache
def ops() -> tuple[Op, ...]:
    """All operations, in the table's order."""
    rows = tomllib.loads(_path().read_text(encoding="utf-8"))["op"]
    return tuple(Op(row["stem"], row["layer"], tuple(row["functions"]), tuple(row["backends"])) for row in rows)
