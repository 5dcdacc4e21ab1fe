# SPDX-License-Identifier: Apache-2.0
"""Records of GPU runs are complete, and README.md says what they say and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gpu import status
from gpu.gate_record import FIELDS, KEYS, KINDS, Record

RECORDS = status.records()
HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["file"])
def test_a_committed_record_says_what_it_was(record: dict[str, Any]) -> None:
    assert set(KEYS) <= set(record)
    assert re.fullmatch(r"[0-9a-f]{40}", record["commit"]), "the sources of a committed record are a commit"
    assert "unknown" not in [record[key] for key in KEYS]
    for kind in KINDS:
        assert all(set(FIELDS[kind]) <= set(row) for row in record[kind])


def test_readme_is_made_of_the_records() -> None:
    text = status.README.read_text(encoding="utf-8")
    assert status.section(text) == status.table(RECORDS), "run python tests/gpu/status.py"


def test_without_a_record_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "exhaustive.json").write_text('{"date": "2026-01-01"}', encoding="utf-8")
    assert status.records(tmp_path) == []
    assert status.table([]) == status.NONE


def _fabricated(folder: Path, name: str, date: str, held: bool) -> None:
    """A record that no GPU made; it lives in a temporary folder only."""
    record = Record(folder / name, gpu="GPU | 1", driver="580.1", cuda="13.0", commit=HASH, date=date)
    record.add("probes", {"id": "E1a", "expected": "0x3F000000", "measured": "0x00000000", "held": held})
    record.add("conformance", {"op": "mma", "shape": "2x2", "elements": 4000, "differ": 0})
    record.add("conformance", {"op": "linear", "shape": "1x2x3", "elements": 2, "differ": 2})
    record.add("bench", {"name": "x", "ours": 2.0, "peer": 1.0, "ratio": 2.0, "target": 1.5})
    record.add("bench", {"name": "y", "ours": None, "peer": None, "ratio": None, "error": "no peer"})
    record.write()


def test_the_table_of_records(tmp_path: Path) -> None:
    _fabricated(tmp_path, "gpu-a.json", "2026-01-01", True)
    _fabricated(tmp_path, "gpu-b.json", "2026-02-01", False)
    found = status.records(tmp_path)
    assert [record["file"] for record in found] == ["gpu-b.json", "gpu-a.json"]
    text = status.table(found)
    assert (
        "| GPU \\| 1, driver 580.1, CUDA 13.0 | [2026-02-01](spec/evidence/gpu-b.json) | `0123456789ab` | 0 of 1 "
        "| 1 of 2 equal in every bit (4,000 elements) |"
    ) in text
    assert "| x | 2 | 1 | 2.00 (wanted 1.5) |" in text
    assert "- probe E1a: measured 0x00000000, expected 0x3F000000" in text
    assert "- linear 1x2x3: 2 of 2 differ" in text
    assert "- bench y: no peer" in text


def test_a_stale_readme_is_noticed(tmp_path: Path) -> None:
    _fabricated(tmp_path, "gpu-a.json", "2026-01-01", True)
    text = status.README.read_text(encoding="utf-8")
    assert status.section(text) != status.table(status.records(tmp_path))


def test_the_fabricated_record_is_json(tmp_path: Path) -> None:
    _fabricated(tmp_path, "gpu-a.json", "2026-01-01", True)
    document = json.loads((tmp_path / "gpu-a.json").read_text(encoding="utf-8"))
    assert set(KEYS) | set(KINDS) <= set(document)
