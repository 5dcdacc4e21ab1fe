# SPDX-License-Identifier: Apache-2.0
"""Results that were computed elsewhere from exported cases, as a target. [RESULTS-FILES] [RESULTS-JUDGE]"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..checkpoint.safetensors import SafetensorsFile
from ..table import ops
from ._schema import read_document
from .claim import Claim
from .outcome import Array, Outcome
from .targets import Target, TargetError
from .targets._plain import TYPES, plain
from .vectors import MANIFEST, exported_cases, selected_functions

NOTES = "results.json"
SUFFIX = ".safetensors"
NOT_EXPORTED = "results hold the exported cases only"


class ResultsTarget(Target):
    """A folder of results. What it is asked is in the manifest: ``selected``, ``level``, ``claim`` and ``pattern``.

    Args:
        folder: it holds ``<op>.safetensors``, and perhaps ``results.json``.
        manifest: the manifest of the export; by default that in the folder.

    Raises:
        TargetError: something is missing, unknown or of another version; the message names it.
        CheckpointError: a damaged file.

    Example:
        >>> target = ResultsTarget(Path("results"))  # doctest: +SKIP
        >>> check(target, target.selected, target.level, claim=target.claim, pattern=target.pattern)  # doctest: +SKIP
    """

    def __init__(self, folder: Path, manifest: Path | None = None) -> None:
        self.name = str(folder)
        path = manifest or folder / MANIFEST
        if not folder.is_dir():
            raise TargetError(f"results {folder}: no such folder")
        if not path.exists():
            raise TargetError(f"results: {path} does not exist; it names the cases (--manifest)")
        document = read_document(path, "manifest")
        self.selected: tuple[str, ...] = tuple(document["ops"])
        self.level: str = document["level"]
        self.pattern: str = document["pattern"]
        self._case = ""
        self._rows = {f"{row['op']}/{row['case']}": row for row in document["cases"]}
        self.claim = _claim(path, document["contract"])
        self._made_here(path, document["fp8ref"])
        self._files = _files(folder, {row["op"] for row in document["cases"]})
        self._check_names(folder)
        notes = folder / NOTES
        self._notes: dict[str, dict[str, str]] = read_document(notes, "results") if notes.exists() else {}
        self._check_notes(notes)

    def _made_here(self, path: Path, version: str) -> None:
        """The cases of the manifest are those of this installation, with the same inputs."""
        if version != __version__:
            raise TargetError(f"{path}: exported by fp8ref {version}, this is {__version__}: export again")
        known: set[str] = set()
        for op in ops():
            functions = selected_functions(op, self.selected)
            for case in exported_cases(op, functions, self.level, self.claim, self.pattern):
                name = f"{op.stem}/{case.name}"
                known.add(name)
                if name in self._rows and plain(case.function, case.arguments).digest() != self._rows[name]["digest"]:
                    raise TargetError(f"{path}: case {name}: exported from other inputs: export again")
        if unknown := [name for name in self._rows if name not in known]:
            raise TargetError(f"{path}: case {unknown[0]} is none of level {self.level}, contract {self.claim}")

    def _check_names(self, folder: Path) -> None:
        """Every tensor is an output of a case."""
        for op, file in self._files.items():
            outputs = {
                output["tensor"] for row in self._rows.values() if row["op"] == op for output in row["outputs"].values()
            }
            if unknown := sorted(set(file.entries) - outputs):
                raise TargetError(f"{folder / (op + SUFFIX)}: tensor {unknown[0]!r} is no output of the manifest")

    def _check_notes(self, path: Path) -> None:
        """What the notes say is said of cases, and not against the tensors."""
        for kind in ("unsupported", "errors"):
            for name in self._notes.get(kind, {}):
                if name not in self._rows:
                    raise TargetError(f"{path}: {kind}: {name!r} is no case of the manifest")
                if self._tensors(name):
                    raise TargetError(f"{path}: {kind}: {name!r} has a result too")

    def functions(self) -> tuple[str, ...]:
        """As :meth:`Target.functions`: those of the manifest's cases."""
        return tuple(dict.fromkeys(row["function"] for row in self._rows.values()))

    def begin(self, case: str) -> None:
        """As :meth:`Target.begin`."""
        self._case = case

    def call(self, function: str, arguments: Mapping[str, Any], implied: frozenset[str] = frozenset()) -> Outcome:
        """As :meth:`Target.call`: what was computed for the case."""
        name, self._case = self._case, ""
        if name not in self._rows:
            return Outcome(unsupported=NOT_EXPORTED)
        if reason := self._notes.get("unsupported", {}).get(name):
            return Outcome(unsupported=reason)
        if message := self._notes.get("errors", {}).get(name):
            return Outcome(error="RunnerError", message=message)
        arrays = self._tensors(name)
        return Outcome(arrays) if arrays else Outcome(error="Missing", message=f"no result in {self.name}")

    def _tensors(self, name: str) -> dict[str, Array]:
        """The outputs of a case that are there."""
        row = self._rows[name]
        file = self._files.get(row["op"])
        if file is None:
            return {}
        return {
            output: _viewed(file.array(entry["tensor"]), TYPES[entry["dtype"]])
            for output, entry in row["outputs"].items()
            if entry["tensor"] in file.entries
        }

    def facts(self) -> dict[str, str]:
        """As :meth:`Target.facts`: those of results.json."""
        return dict(self._notes.get("facts", {}))


def _viewed(array: Array, dtype: np.dtype[Any]) -> Array:
    """Bits as the numbers that they stand for. [RESULTS-FILES]"""
    bits = array.dtype.kind == "u" and array.dtype.itemsize == dtype.itemsize
    return np.array(array.view(dtype) if bits else array)


def _claim(path: Path, contract: str) -> Claim:
    try:
        return Claim() if contract in ("", str(Claim())) else Claim.parse(contract)
    except ValueError as error:
        raise TargetError(f"{path}: {error}") from None


def _files(folder: Path, stems: set[str]) -> dict[str, SafetensorsFile]:
    """The files by op; an op without a file has no results."""
    found: dict[str, SafetensorsFile] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if path.stem not in stems:
            raise TargetError(f"{path}: the manifest has no op {path.stem!r}; it has {', '.join(sorted(stems))}")
        found[path.stem] = SafetensorsFile(path)
    return found
