# SPDX-License-Identifier: Apache-2.0
"""Rules that no linter knows: sizes, licences, enum strings instead of booleans, bits instead of tolerances."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import fp8ref
from fp8ref.backends import BACKENDS
from fp8ref.cli.common import Accumulate, Backend, Level, Weights
from fp8ref.conformance import LEVELS
from fp8ref.golden.llama import ACCUMULATORS
from fp8ref.model.llama import WEIGHTS
from meta.tree import PACKAGE, ROOT, SOURCES, files, name, syntax

LINES = 400
ALL = [*files(*SOURCES)]
# Tests of tolerance oracles, which agree with nobody to the bit, state bounds of their own.
ORACLES = {"tests/conformance/tolerances.py"}  # other projects' tolerances, measured: README's table
TOLERANCE = re.compile(r"\ballclose\b|\bassert_almost|\bapprox\(|\brtol\b|\batol\b|\bisclose\(")
NARROW = re.compile(r"\.astype\((?:ml_dtypes\.|BFLOAT16|FLOAT8|np\.float16|BF16|FP8|E4M3)")


@pytest.mark.parametrize("path", ALL, ids=name)
def test_size_and_licence(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LINES
    assert all(len(line) <= 120 for line in lines)
    if lines:
        assert lines[0].lstrip("#/ ") == "SPDX-License-Identifier: Apache-2.0"


@pytest.mark.parametrize("path", [*files(".py", ".h", ".cpp", ".cu", ".md")], ids=name)
def test_no_unfinished_work(path: Path) -> None:
    if path != Path(__file__).resolve():
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [path for path in files(".py") if "tests" in path.parts], ids=name)
def test_no_tolerances_in_tests(path: Path) -> None:
    if path != Path(__file__).resolve() and name(path) not in ORACLES:
        assert not TOLERANCE.search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((PACKAGE / "golden").glob("*.py")), ids=name)
def test_golden_rounds_in_one_place(path: Path) -> None:
    """ml_dtypes' casts from float64 round twice; only _round.py casts, and only what is on the grid already."""
    if path.name != "_round.py":
        assert not NARROW.search(path.read_text(encoding="utf-8"))


def _public_functions(path: Path) -> list[ast.FunctionDef]:
    """Public functions and public methods of public classes."""
    found = [node for node in syntax(path).body if isinstance(node, ast.FunctionDef)]
    for node in syntax(path).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
    return [node for node in found if not node.name.startswith("_") or node.name == "__init__"]


def _api() -> list[Path]:
    parts = ("golden", "compare", "backends", "checkpoint", "model", "conformance", "demo")
    folders = [path for part in parts for path in (PACKAGE / part).rglob("*.py")]
    return sorted([*folders, *PACKAGE.glob("*.py")])


@pytest.mark.parametrize("path", _api(), ids=name)
def test_no_booleans_in_public_signatures(path: Path) -> None:
    for function in _public_functions(path):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        for argument in arguments:
            annotation = "" if argument.annotation is None else ast.unparse(argument.annotation)
            assert not re.search(r"\bbool\b", re.sub(r"NDArray\[[^]]*\]|Mask", "", annotation)), function.name
        defaults = [*function.args.defaults, *(d for d in function.args.kw_defaults if d is not None)]
        assert not any(isinstance(d, ast.Constant) and isinstance(d.value, bool) for d in defaults), function.name


@pytest.mark.parametrize("path", _api(), ids=name)
def test_public_functions_say_what_they_do(path: Path) -> None:
    assert ast.get_docstring(syntax(path)) or not syntax(path).body
    for function in _public_functions(path):
        if function.name != "__init__":
            assert ast.get_docstring(function), function.name


def test_choices_of_the_command_line_are_those_of_the_library() -> None:
    assert set(Backend) == set(BACKENDS)
    assert set(Accumulate) == set(ACCUMULATORS)
    assert tuple(Weights) == WEIGHTS
    assert tuple(Level) == LEVELS


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cmake = re.search(r"project\(fp8ref VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert cmake is not None
    assert fp8ref.__version__ == project["version"] == cmake[1]


def test_the_tree_is_not_about_one_machine() -> None:
    """No absolute path of a developer's machine anywhere."""
    for path in [*files(".py", ".h", ".cpp", ".cu", ".md", ".toml"), ROOT / "README.md", ROOT / ".ci" / "run"]:
        if path != Path(__file__).resolve():
            assert not re.search(r"(?<![\w.$}])/(work|home|tmp/models|root)/", path.read_text(encoding="utf-8")), path
