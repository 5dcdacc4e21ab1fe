# SPDX-License-Identifier: Apache-2.0
"""Cases with the bits that are expected, in files that need nothing of fp8ref. spec/exchange.md"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..checkpoint.aside import new_folder
from ..table import Op, ops
from ._schema import schema_text
from .cases import Case
from .claim import Claim, claimed_cases
from .outcome import Array
from .targets import BackendTarget
from .targets._plain import Plain, plain, portable

FORMAT = "fp8ref-vectors 1"
MANIFEST = "manifest.json"
LEVELS = ("quick", "full")  # exhaustive inputs are too many for files


@dataclass
class Exported:
    """What was written, and what was left out and why."""

    cases: dict[str, int] = field(default_factory=dict)  # by op
    left_out: list[str] = field(default_factory=list)


@dataclass
class _File:
    """Tensors of one file; equal arrays are kept once. [VECTORS-MANIFEST]"""

    tensors: dict[str, Array] = field(default_factory=dict)
    _names: dict[tuple[bytes, str, tuple[int, ...]], str] = field(default_factory=dict)

    def shared(self, name: str, array: Array) -> dict[str, Any]:
        """Where the array is, perhaps under the name of an equal one."""
        key = (hashlib.sha256(array.tobytes()).digest(), array.dtype.name, array.shape)
        known = self._names.setdefault(key, name)
        return self.own(name, array) if known == name else _entry(known, array)

    def own(self, name: str, array: Array) -> dict[str, Any]:
        """Keep it under its name; eight-bit codes as U8. [VECTORS-TYPES]"""
        dense = np.array(array, order="C")
        self.tensors[name] = dense.view(np.uint8) if dense.dtype.itemsize == 1 else dense
        return _entry(name, array)

    def write(self, path: Path) -> str:
        """Write it and return its SHA-256."""
        from safetensors.numpy import save_file

        save_file(self.tensors, path)
        path.chmod(0o644)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(name: str, array: Array) -> dict[str, Any]:
    return {"tensor": name, "dtype": array.dtype.name, "shape": list(array.shape)}


def exported_cases(op: Op, functions: Sequence[str], level: str, claim: Claim, pattern: str) -> Iterator[Case]:
    """The cases of an op that are exported, but for those that golden refuses. [VECTORS-EXPORT]"""
    for case in claimed_cases(op.stem, level, claim, functions) if functions else ():
        if isinstance(case, Case) and fnmatchcase(f"{op.stem}/{case.name}", pattern):
            yield case


def selected_functions(op: Op, selected: Sequence[str]) -> tuple[str, ...]:
    """The functions of an op that names of ops or of functions mean; no names mean all."""
    if not selected or op.stem in selected:
        return op.functions
    return tuple(name for name in op.functions if name in selected)


def export(
    folder: Path, selected: Sequence[str] = (), level: str = "quick", claim: Claim | None = None, pattern: str = "*"
) -> Exported:
    """Write cases, their expected bits and the manifest to a new folder.

    Args:
        folder: where; it must not exist, or be empty.
        selected: names of ops or of functions; none means all that the claim says enough of.
        level: ``quick`` or ``full``.
        claim: which cases; by default those of the defaults of the golden functions. [CLAIM-CASES]
        pattern: only cases whose ``op/name`` matches it, as in a shell.

    Raises:
        CheckpointError: the folder exists, or the disk refuses.
        ValueError: an unknown op or level, a claim that says too little of a named op, or no case at all.

    Example:
        >>> export(Path("vectors"), ["residual"]).cases  # doctest: +SKIP
        {'residual': 8}
    """
    stated = claim or Claim()
    _known(selected, level)
    done = Exported()
    files: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    with new_folder(folder, "an export") as temporary:
        for part in ("inputs", "expected"):
            (temporary / part).mkdir()
        for op in ops():
            functions = _claimed(op, selected, stated, done)
            inputs, expected = _File(), _File()
            cases = exported_cases(op, functions, level, stated, pattern)
            written = [row for case in cases if (row := _row(op, case, inputs, expected))]
            if written:
                for part, file in (("inputs", inputs), ("expected", expected)):
                    name = f"{part}/{op.stem}.safetensors"
                    files[name] = file.write(temporary / name)
                done.cases[op.stem] = len(written)
                rows += written
        if not rows:
            raise ValueError("no case is left: nothing to export")
        manifest = {
            "format": FORMAT,
            "fp8ref": __version__,
            "level": level,
            "contract": "" if claim is None else str(claim),
            "ops": list(selected) or list(done.cases),
            "pattern": pattern,
            "files": files,
            "cases": rows,
        }
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (temporary / "schema.json").write_text(schema_text("manifest"), encoding="utf-8")
    return done


def _known(selected: Sequence[str], level: str) -> None:
    names = [name for op in ops() for name in (op.stem, *op.functions)]
    for name in selected:
        if name not in names:
            raise ValueError(f"unknown op {name!r}; known: {', '.join(op.stem for op in ops())}")
        if not any(selected_functions(op, [name]) for op in ops()):
            raise ValueError(f"{name} is a composition of operations: whole models are not exported")
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is not exported; known: {', '.join(LEVELS)}")


def _claimed(op: Op, selected: Sequence[str], claim: Claim, done: Exported) -> tuple[str, ...]:
    """The functions to export; what is left out is said, and what was named is not left out."""
    functions = selected_functions(op, selected)
    if not op.functions and not selected:
        done.left_out.append(f"{op.stem}: whole models are not exported")
    try:
        for name in op.functions if functions else ():
            claim.of(name)
    except ValueError as error:
        if selected:
            raise
        done.left_out.append(str(error))
        return ()
    return functions


def _row(op: Op, case: Case, inputs: _File, expected: _File) -> dict[str, Any] | None:
    """A case of the manifest, or None where golden refuses it. [VECTORS-MANIFEST]"""
    outcome = BackendTarget("golden").run(case)
    if outcome.error:
        return None
    given = plain(case.function, case.arguments)
    row = {
        "op": op.stem,
        "case": case.name,
        "function": case.function,
        "arguments": _portable(given),
        "inputs": {name: inputs.shared(f"{case.name}/{name}", array) for name, array in given.tensors.items()},
        "outputs": {name: expected.own(f"{case.name}/{name}", array) for name, array in outcome.arrays.items()},
        "digest": given.digest(),
    }
    return {**row, "flags": list(case.flags)} if case.flags else row


def _portable(given: Plain) -> dict[str, str | int | float]:
    return {name: portable(value) for name, value in given.values.items()}
