# SPDX-License-Identifier: Apache-2.0
"""Every op of spec/ops.toml has every slice under its stem, and nothing has a stem that the table does not know."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fp8ref
from fp8ref.table import Op, ops
from meta.tree import PACKAGE, ROOT, name, syntax

OPS = ops()
STEMS = [op.stem for op in OPS]

SLICES = (
    "spec/{stem}.md",
    "python/fp8ref/golden/{stem}.py",
    "python/fp8ref/backends/cpu/{stem}.py",
    "python/fp8ref/conformance/cases/{stem}.py",
    "cpp/include/fp8ref/{stem}.h",
    "cpp/{stem}.cpp",
    "cpp/bind/{stem}.cpp",
    "tests/witness/{stem}.py",
    "tests/golden/test_{stem}.py",
    "tests/backends/test_{stem}.py",
)
CUDA_SLICES = ("cpp/cuda/{kernels}.cu", "cpp/bind/cuda/{stem}.cpp", "python/fp8ref/backends/cuda/{stem}.py")
SHARED_KERNELS = {"grouped_mm": "scaled_mm"}


def _functions(path: Path) -> set[str]:
    return {node.name for node in syntax(path).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("pattern", SLICES)
@pytest.mark.parametrize("stem", STEMS)
def test_every_op_has_the_slice(stem: str, pattern: str) -> None:
    path = ROOT / pattern.format(stem=stem)
    assert path.is_file(), f"{name(path)} is missing"


@pytest.mark.parametrize("pattern", CUDA_SLICES)
@pytest.mark.parametrize("stem", [op.stem for op in OPS if "cuda" in op.backends])
def test_every_op_on_cuda_has_the_slice(stem: str, pattern: str) -> None:
    path = ROOT / pattern.format(stem=stem, kernels=SHARED_KERNELS.get(stem, stem))
    assert path.is_file(), f"{name(path)} is missing"


@pytest.mark.parametrize("stem", STEMS)
def test_the_specification_lists_the_page(stem: str) -> None:
    assert f"| [{stem}]({stem}.md) |" in (ROOT / "spec" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("op", OPS, ids=STEMS)
def test_public_functions_are_where_the_table_says(op: Op) -> None:
    for backend in op.backends:
        folder = PACKAGE / "golden" if backend == "golden" else PACKAGE / "backends" / backend
        assert set(op.functions) <= _functions(folder / f"{op.stem}.py")
    for function in op.functions:
        assert getattr(fp8ref, function).__module__ == f"fp8ref.golden.{op.stem}"
        assert function in fp8ref.__all__


@pytest.mark.parametrize("folder", ["golden", "backends/cpu", "conformance/cases"])
def test_no_module_is_unknown_to_the_table(folder: str) -> None:
    found = {path.stem for path in (PACKAGE / folder).glob("*.py") if not path.stem.startswith("_")}
    assert found == set(STEMS)


def test_no_cuda_module_is_unknown_to_the_table() -> None:
    found = {path.stem for path in (PACKAGE / "backends/cuda").glob("*.py") if not path.stem.startswith("_")}
    assert found <= set(STEMS)


@pytest.mark.parametrize("op", OPS, ids=STEMS)
def test_signatures_are_the_same_on_every_backend(op: Op) -> None:
    """Names, order and defaults of all parameters; annotations may differ."""
    for function in op.functions:
        signatures = set()
        for backend in op.backends:
            folder = PACKAGE / "golden" if backend == "golden" else PACKAGE / "backends" / backend
            (node,) = (n for n in syntax(folder / f"{op.stem}.py").body if getattr(n, "name", "") == function)
            assert isinstance(node, ast.FunctionDef)
            parameters = [argument.arg for argument in node.args.args]
            defaults = [ast.unparse(default) for default in node.args.defaults]
            assert not node.args.kwonlyargs
            assert node.args.vararg is None
            signatures.add((tuple(parameters), tuple(defaults)))
        assert len(signatures) == 1, signatures


def test_headers_use_lower_layers_only() -> None:
    layer = {op.stem: op.layer for op in OPS}
    for op in OPS:
        text = (ROOT / f"cpp/include/fp8ref/{op.stem}.h").read_text(encoding="utf-8")
        for other in STEMS:
            if other != op.stem and f'#include "fp8ref/{other}.h"' in text:
                assert layer[other] < layer[op.stem], f"{op.stem}.h includes {other}.h"
