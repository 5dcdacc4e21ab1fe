# SPDX-License-Identifier: Apache-2.0
"""Imports go one way: golden <- backends <- model <- conformance <- cli; the witness knows nothing of fp8ref."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fp8ref.table import ops
from meta.tree import PACKAGE, ROOT, dotted, imports, name

# What each part may import of fp8ref, besides itself. ``fp8ref`` alone is the version.
ALLOWED = {
    "errors": set(),
    "table": set(),
    "golden": {"errors"},
    "checkpoint": {"errors", "golden"},
    "compare": {"golden"},
    "backends": {"errors", "table", "golden", "_ext", "_cuda"},
    "model": {"errors", "golden", "backends", "checkpoint"},
    "conformance": {"errors", "table", "golden", "backends", "checkpoint", "model", "compare", ""},
    "demo": {"errors", "checkpoint"},
    "bench": {"errors", "golden", "backends", "checkpoint", "model"},
    "cli": {"errors", "golden", "backends", "checkpoint", "model", "conformance", "demo", "bench", "_ext", ""},
    "__main__": {"cli"},
    "__init__": {"errors", "table", "golden", "backends", "compare", "model"},
}
# Packages outside of the standard library; everything else that a part needs is an error.
OUTSIDE = {
    "golden": {"numpy", "ml_dtypes"},
    "backends": {"numpy", "ml_dtypes"},
    "checkpoint": {"numpy", "ml_dtypes", "safetensors"},
    "compare": {"numpy", "ml_dtypes"},
    "model": {"numpy", "tokenizers", "jinja2"},
    "conformance": {"numpy", "ml_dtypes", "rich", "safetensors", "pytest", "jinja2", "markupsafe"},
    "demo": {"numpy", "ml_dtypes", "gguf", "tokenizers"},
    "bench": {"numpy"},
    "cli": {"typer", "rich"},
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def _part(module: str) -> str:
    """``fp8ref.golden.e4m3`` -> ``golden``; the package itself is the empty part."""
    return [*module.split("."), ""][1]


def _own(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_of_the_package_go_one_way(path: Path) -> None:
    own = _own(path)
    used = {_part(module) for module in imports(path) if module.split(".")[0] == "fp8ref"} - {own}
    assert used <= ALLOWED[own], f"{own} must not import {used - ALLOWED[own]}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_other_packages(path: Path) -> None:
    roots = {module.split(".")[0] for module in imports(path)} - {"fp8ref"}
    outside = {root for root in roots if root not in sys.stdlib_module_names}
    assert outside <= OUTSIDE.get(_own(path), set())


@pytest.mark.parametrize("op", ops(), ids=lambda op: op.stem)
def test_golden_modules_use_lower_layers_only(op: object) -> None:
    layer = {row.stem: row.layer for row in ops()}
    for module in imports(PACKAGE / "golden" / f"{op.stem}.py"):
        stem = module.rpartition(".")[2]
        if module.startswith("fp8ref.golden.") and stem in layer and stem != op.stem:
            assert layer[stem] < layer[op.stem], f"{op.stem} imports {stem}"


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "witness").glob("*.py")), ids=name)
def test_the_witness_is_independent(path: Path) -> None:
    roots = {module.split(".")[0] for module in imports(path)} - {"witness", ""}
    assert {root for root in roots if root not in sys.stdlib_module_names} <= {"mpmath"}


def _fresh(program: str) -> str:
    """Output of a program in a fresh interpreter that finds fp8ref where this one found it."""
    import fp8ref

    path = str(Path(fp8ref.__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {path!r})\n{program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_import_needs_numpy_and_ml_dtypes_only() -> None:
    loaded = set(_fresh("import fp8ref; print(*sys.modules)").split())
    roots = {module.split(".")[0] for module in loaded} - {"fp8ref"}
    outside = {r for r in roots if r not in sys.stdlib_module_names and not r.startswith(("_", "sitecustom"))}
    assert {"numpy", "ml_dtypes"} <= outside
    before = set(_fresh("print(*sys.modules)").split())  # what .pth files of the environment load anyway
    assert outside - {module.split(".")[0] for module in before} == {"numpy", "ml_dtypes"}
    assert not {"fp8ref._ext", "fp8ref._cuda"} & loaded, "the oracle must not need the compiled extensions"
    for part in ("model", "checkpoint", "compare", "conformance", "cli", "demo"):
        assert f"fp8ref.{part}" not in loaded


def test_import_is_fast() -> None:
    program = "import time; start = time.perf_counter(); import fp8ref; print(time.perf_counter() - start)"
    assert min(float(_fresh(program)) for _ in range(5)) < 0.5


def test_dotted_names() -> None:
    assert dotted(PACKAGE / "golden" / "e4m3.py") == "fp8ref.golden.e4m3"
    assert dotted(PACKAGE / "golden" / "__init__.py") == "fp8ref.golden"
