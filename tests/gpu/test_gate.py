# SPDX-License-Identifier: Apache-2.0
"""The GPU gate as a test: `pytest -m gpu` runs it shortened where there is a CUDA device, and is skipped elsewhere."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpu import device
from gpu.gate_record import failures

pytestmark = pytest.mark.gpu


def _missing() -> str:
    """Why the gate cannot run here; empty if it can."""
    found = device.find()
    if isinstance(found, str):
        return found
    if shutil.which("nvcc") is None:
        return "no nvcc"
    return "" if importlib.util.find_spec("torch") else "no torch"


def test_nothing_differs(tmp_path: Path) -> None:
    if reason := _missing():
        pytest.skip(reason)
    out = tmp_path / "record.json"
    parts = "probes,build,kernels,conformance,torch"
    command = [sys.executable, str(Path(__file__).with_name("gate.py")), "--quick", "--parts", parts, "--out", str(out)]
    subprocess.run(command, check=False, timeout=900)
    assert failures(json.loads(out.read_text(encoding="utf-8"))) == []
