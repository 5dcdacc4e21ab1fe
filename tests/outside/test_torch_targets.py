# SPDX-License-Identifier: Apache-2.0
"""No false alarm: torch's functions on a CPU pass the suite under the contract that they follow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fp8ref
from outside.tensors import BF16, tensor, torch

torch_targets = pytest.importorskip("outside.torch_targets")
pytestmark = pytest.mark.outside

SATURATES = tuple(int(n) for n in torch.__version__.split(".")[:2]) >= (2, 12)
MODULE = "outside.torch_targets"
# The op, the function, its contract, and at least how many cases it must answer.
PASSES = {
    "e4m3": ("e4m3", MODULE, "", 20),
    "residual": ("residual", f"{MODULE}:residual", "", 8),
    "silu_mul": ("silu_mul", f"{MODULE}:silu_mul_in_float64", "", 6),
    "sample": ("sample", f"{MODULE}:sample", "", 9),
    "per token": ("quantize", f"{MODULE}:per_token", "vllm.per_token_native", 40),
    "linear": ("linear", f"{MODULE}:linear", "bound", 30),
    "scaled_mm": ("scaled_mm", f"{MODULE}:scaled_mm", "bound", 100),
}


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """From the folder of the tests, which a target's module is found in."""
    command = [sys.executable, "-m", "fp8ref", *arguments]
    folder = Path(__file__).parents[1]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=folder)


def _check(op: str, target: str, contract: str) -> tuple[int, dict[str, Any]]:
    claim = ("--contract", contract) if contract else ()
    done = _command("check", op, "--target", target, *claim, "--json", "-")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("name", PASSES)
def test_passes(name):
    op, target, contract, least = PASSES[name]
    if name == "e4m3" and not SATURATES:
        pytest.skip("this torch has NaN where it should saturate")
    code, report = _check(op, target, contract)
    assert [row["mismatches"] for row in report["ops"]] == [[]]
    assert code == 0
    assert report["ops"][0]["cases"] >= least and report["ops"][0]["elements"] > 500


def test_silu_in_float32_overflows():
    """[SILU-TORCH]"""
    code, report = _check("silu_mul", f"{MODULE}:silu_mul", "")
    assert code == 1
    assert {mismatch["case"].split("/")[0] for mismatch in report["ops"][0]["mismatches"]} == {"every_gate"}
    gates = np.arange(1 << 16, dtype=np.uint16).view(BF16)
    gates = gates[np.isfinite(gates.astype(np.float32))]
    theirs = torch.nn.functional.silu(tensor(gates)).view(torch.int16).numpy()
    ours = fp8ref.silu_mul(gates, np.ones_like(gates)).view(np.int16)
    assert gates[theirs != ours].astype(float).tolist() == [-89.0 - i / 2 for i in range(17)]


def test_bits_are_too_much_to_ask_of_torchs_product():
    """Under the default contract, exact bits, the same function differs: the bound is what it follows."""
    code, report = _check("scaled_mm", f"{MODULE}:scaled_mm", "")
    assert code == 1 and report["ops"][0]["differing"] > 100


def test_fingerprint_of_torchs_product():
    """[FINGERPRINT-NAMES]"""
    done = _command("fingerprint", "--target", f"{MODULE}:scaled_mm", "--rows", "32", "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["accumulator"] is None
    assert found["verdict"].startswith("fp32, not a tensor core")
    values = {name: parameter["value"] for name, parameter in found["parameters"].items()}
    assert (values["epilogue"], values["bias"]) == ("operands", "added")
    assert values["result of a step"] == "24 bits, nearest_even"
    assert torch_targets.fp8ref_arrays == "torch"
