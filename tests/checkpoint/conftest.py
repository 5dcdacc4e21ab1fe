# SPDX-License-Identifier: Apache-2.0
"""Both readers see the same corpus: a test of damage runs once through Python and once through C++."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from checkpoint.damage import Damaged
from fp8ref.checkpoint import Checkpoint, LlamaReader
from fp8ref.errors import CheckpointError, UnsupportedError

Open = Callable[[Path], object]


def _python(folder: Path) -> object:
    return LlamaReader(Checkpoint(folder)).weights()


def _cpp(folder: Path) -> object:
    from fp8ref.backends.cpu.llama import Llama

    return Llama.load(folder, "exact")


def _has_cpp() -> bool:
    return all(importlib.util.find_spec(f"fp8ref.{name}") for name in ("_ext", "backends.cpu.llama"))


@pytest.fixture(params=["python", "cpp"])
def opens(request: pytest.FixtureRequest) -> Open:
    """Open a folder with every check, by one of the two readers."""
    if request.param == "cpp" and not _has_cpp():
        pytest.skip("the compiled extension is not installed")
    return {"python": _python, "cpp": _cpp}[request.param]


@pytest.fixture
def refuses(opens: Open) -> Callable[..., None]:
    """``refuses(folder, "file", "tensor", ...)``: exactly a CheckpointError whose message holds every part."""

    def check(folder: Path, *parts: str, error: type[Exception] = CheckpointError) -> None:
        with pytest.raises(CheckpointError) as caught:
            opens(folder)
        assert type(caught.value) is error, caught.value
        for part in parts:
            assert part in str(caught.value)

    return check


@pytest.fixture
def unsupported(refuses: Callable[..., None]) -> Callable[..., None]:
    """The same for UnsupportedError."""
    return lambda folder, *parts: refuses(folder, *parts, error=UnsupportedError)


@pytest.fixture
def tiny(tmp_path: Path) -> Damaged:
    """A sound checkpoint with channel scales and dynamic activations."""
    return Damaged(tmp_path / "model")
