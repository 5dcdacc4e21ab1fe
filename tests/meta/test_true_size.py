# SPDX-License-Identifier: Apache-2.0
"""The records of single layers at true size: both models, nothing that differs, and the memory that was saved."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from meta.tree import ROOT
from model.true_size import EXPERTS, TOKENS, WEIGHTS

RECORDS = {path.name.split("-")[1]: path for path in sorted((ROOT / "spec/evidence").glob("cpu-*.json"))}


@pytest.fixture(params=EXPERTS)
def record(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RECORDS[request.param].read_text(encoding="utf-8"))
    assert found["model"] == request.param
    return found


def test_it_says_what_it_was(record: dict[str, Any]) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", record["commit"])
    assert record["tokens"] == TOKENS
    assert [run["weights"] for run in record["runs"]] == list(WEIGHTS)


def test_every_bit_was_right(record: dict[str, Any]) -> None:
    assert record["golden_equal"]
    assert record["ways_equal"]
    assert len({run["digest"] for run in record["runs"]}) == 1


def test_streaming_kept_less_than_a_layer(record: dict[str, Any]) -> None:
    """[LLAMA-STREAM]: less than a tenth of the checkpoint's bytes, and mapped weights show that this says something."""
    peaks = {run["weights"]: run["peak_resident_bytes"] for run in record["runs"]}
    assert 10 * peaks["streamed"] < record["checkpoint_bytes"]
    assert peaks["streamed"] < peaks["mapped"] // 4


def test_the_status_names_the_records() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"spec/evidence/{path.name}" in readme for path in RECORDS.values())
