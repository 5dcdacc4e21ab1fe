# SPDX-License-Identifier: Apache-2.0
"""Where things are in the source tree, and what an AST says about a Python file."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "fp8ref"
SOURCES = (".py", ".pyi", ".h", ".cpp", ".cu", ".cuh")


def files(*suffixes: str) -> Iterator[Path]:
    """All hand-written files of the tree with these suffixes."""
    for top in ("python", "cpp", "tests", "spec", "examples"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in suffixes and "__pycache__" not in path.parts:
                yield path


def name(path: Path) -> str:
    """The path as messages and test ids show it."""
    return path.relative_to(ROOT).as_posix()


@functools.cache
def syntax(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def dotted(path: Path) -> str:
    """The module's full name: ``fp8ref.golden.e4m3``, or for tests ``witness.e4m3``."""
    base = PACKAGE.parent if path.is_relative_to(PACKAGE) else ROOT / "tests"
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _resolved(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = dotted(path).split(".")
    base = parts[: len(parts) - node.level + (path.name == "__init__.py")]
    return ".".join([*base, *([node.module] if node.module else [])])


def _annotations_only(tree: ast.Module) -> set[int]:
    """Nodes under ``if TYPE_CHECKING``: they import nothing when the program runs."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped |= {id(inner) for child in node.body for inner in ast.walk(child)}
    return skipped


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports when it runs, inside functions too."""
    tree = syntax(path)
    skipped = _annotations_only(tree)
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _resolved(path, node)
            # "from . import e4m3" names modules, "from .e4m3 import decode" an attribute of one.
            submodules = {f"{base}.{alias.name}" for alias in node.names if _is_module(f"{base}.{alias.name}")}
            found |= submodules or {base}
    return found


def _is_module(full: str) -> bool:
    path = PACKAGE.parent.joinpath(*full.split("."))
    return path.with_suffix(".py").exists() or path.with_suffix(".pyi").exists() or (path / "__init__.py").exists()
