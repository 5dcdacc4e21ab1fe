# SPDX-License-Identifier: Apache-2.0
"""The record of the exhaustive run is complete: every function of the sweep, every input, nothing that differs."""

from __future__ import annotations

import json
import re

import pytest

from meta.tree import ROOT

RECORD = json.loads((ROOT / "spec/evidence/exhaustive.json").read_text(encoding="utf-8"))
SWEEP = (ROOT / "tests/cpp/sweep.cpp").read_text(encoding="utf-8")
# fp32 has 2**32 patterns, 2**31 - 2**23 - 1 of them positive and finite; bf16 has 2**16.
# Whole numbers: those below 2**24, the larger ones up to the largest, and infinity.
WHOLE = 2**24 + (0x7F800000 - 0x4B800000) + 1
INPUTS = {"fp32": 2**32, "fp32 > 0": 2**31 - 2**23 - 1, "fp32, whole": WHOLE, "bf16": 2**16}


def test_every_function_of_the_sweep_is_recorded() -> None:
    named = re.findall(r'(?:encode_row\(|\{)"([^"]+)", (?:Overflow|"fp32|"bf16)', SWEEP)
    assert len(named) >= 6
    assert [row["function"] for row in RECORD["sweep"]["functions"]] == named


@pytest.mark.parametrize("row", RECORD["sweep"]["functions"], ids=lambda row: row["function"])
def test_all_inputs_are_right(row: dict[str, object]) -> None:
    assert row["differ"] == 0
    assert row["inputs"] == INPUTS[str(row["type"])]


def test_it_was_the_exhaustive_sweep() -> None:
    assert RECORD["sweep"]["exhaustive"] is True
    assert re.fullmatch(r"[0-9a-f]{40}", RECORD["commit"])


def test_golden_and_cpu_are_equal() -> None:
    found = {op["op"]: op for op in RECORD["check"]["ops"]}
    assert RECORD["check"]["level"] == "exhaustive"
    assert {name: op["differing"] for name, op in found.items()} == {"e4m3": 0, "rope": 0}
    assert found["e4m3"]["elements"] > 2 * 2**32
