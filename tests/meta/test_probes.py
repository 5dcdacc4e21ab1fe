# SPDX-License-Identifier: Apache-2.0
"""The hardware probes of tests/gpu without a GPU: their bits are the model's, and a GPU that differs would be noticed.

The program is built by the host compiler, as everything in it but the kernels is. `--stand-in` puts the model in the
place of the GPU, `--block` and `--fraction` another tensor core.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu import part_probes
from gpu.gate import Settings
from inputs import probes as written
from meta.tree import ROOT

COMPILER = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
Run = Callable[..., tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probes without the kernels."""
    program = tmp_path_factory.mktemp("probes") / "probes"
    source = ROOT / "tests" / "gpu" / "probes.cu"
    flags = ("-std=c++20", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wno-psabi", "-Werror", "-ffp-contract=off")
    include = f"-I{ROOT / 'cpp' / 'include'}"
    command = [str(COMPILER), "-x", "c++", *flags, include, str(source), "-o", str(program), "-pthread"]
    subprocess.run(command, check=True, timeout=240)
    return program


@pytest.fixture(scope="module")
def run(program: Path) -> Run:
    """Runs the program: its exit code, and its rows by id."""

    def started(*options: str) -> tuple[int, dict[str, dict[str, Any]]]:
        done = subprocess.run([str(program), *options], capture_output=True, text=True, check=False, timeout=240)
        rows = json.loads(done.stdout)["probes"]
        assert len({row["id"] for row in rows}) == len(rows)
        return done.returncode, {row["id"]: row for row in rows}

    return started


def test_the_written_bits_are_those_of_the_model(run: Run) -> None:
    code, rows = run("--predict")
    assert code == 0
    assert all(row["held"] and row["expected"] == row["measured"] for row in rows.values())
    numbers = {int(match[1]) for name in rows if (match := re.match(r"E(\d+)", name))}
    assert numbers == set(range(1, 18))
    assert rows["E4c"]["expected"] == "0x00000000 in 29760"


def test_the_python_probes_have_the_same_bits(run: Run) -> None:
    """inputs/probes.py was written by itself; where both have a probe they agree."""
    _, rows = run("--predict")
    ids = {name.split()[0]: f"0x{bits:08X}" for name, (*_, bits) in written.probes().items() if name.startswith("E")}
    shared = {name: bits for name, bits in ids.items() if name in rows}
    assert len(shared) >= 15
    assert {name: rows[name]["expected"] for name in shared} == shared


@pytest.mark.parametrize("probe", ["E1b", "E4c", "E6a", "E11d", "E14e", "E16b", "E17 promoted"])
def test_a_wrong_bit_in_the_table_is_found(run: Run, probe: str) -> None:
    code, rows = run("--predict", "--flip", probe)
    assert code == 1
    assert [name for name, row in rows.items() if not row["held"]] == [probe]


@pytest.mark.parametrize("capability", ["8.0", "8.9", "9.0", "12.0"])
def test_a_gpu_that_is_the_model_holds(run: Run, capability: str) -> None:
    code, rows = run("--stand-in", "--capability", capability, "--tiles", "1")
    assert code == 0
    assert all(row["held"] for row in rows.values())
    assert ("E1a" in rows) == (capability == "9.0")
    assert ("E1a mma_sync" in rows) == (capability != "8.0")
    assert "E14a mma_sync" in rows


def test_another_tensor_core_is_noticed_and_described(run: Run) -> None:
    code, rows = run("--stand-in", "--form", "wgmma_ss", "--tiles", "1", "--fraction", "12")
    assert code == 1
    assert rows["layout wgmma_ss.f32.e4m3.e4m3"]["held"]  # integers say nothing about the cut
    assert (rows["E1a"]["held"], rows["E1a"]["measured"]) == (False, "0x00000000")
    assert rows["E3a"]["held"]
    normal = rows["random normal wgmma_ss.f32.e4m3.e4m3"]
    assert not normal["held"]
    assert "block 32, fraction bits 12, 14 significant bits, 0 of 512 differ" in normal["measured"]


def test_another_grouping_is_noticed(run: Run) -> None:
    code, rows = run("--stand-in", "--form", "wgmma_ss", "--tiles", "1", "--block", "16")
    assert code == 1
    assert rows["E1a"]["held"]
    assert not rows["E4a"]["held"]
    assert "16 differ; first: k=0 k=1 k=16 0x3E800000 for 0x00000000" in rows["E4a"]["measured"]


def test_the_gate_takes_the_rows(program: Path, tmp_path: Path) -> None:
    """A program in the place of the one for the GPU; what it cannot do is an error with its words."""
    settings = Settings(str(tmp_path), "", "quick", "90a")
    wrapper = tmp_path / "probes"
    wrapper.write_text(f'#!/bin/sh\nexec {program} --stand-in "$@" --tiles 1\n', encoding="utf-8")
    wrapper.chmod(0o755)
    rows = [row for kind, row in part_probes.run_form(settings, "wgmma_rs") if kind == "probes"]
    assert len(rows) > 60
    assert all(row["held"] for row in rows)
    assert {row["id"] for row in rows} >= {"layout wgmma_rs.f32.e4m3.e4m3", "E1a wgmma_rs", "E17 promoted wgmma_rs"}
    wrapper.write_text(f'#!/bin/sh\nexec {program} "$@"\n', encoding="utf-8")
    with pytest.raises(RuntimeError, match="code 2 and no result: built without CUDA"):
        list(part_probes.run_form(settings, "wgmma_rs"))
