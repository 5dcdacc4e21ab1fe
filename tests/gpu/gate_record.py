# SPDX-License-Identifier: Apache-2.0
"""The record of a run on a GPU: rows that parts report, kept valid on disk after each of them, and their summary.

``gpu, driver, cuda, commit, date, probes[{id, expected, measured, held}], conformance[{op, shape, elements, differ}],
bench[{name, ours, peer, ratio}]``; besides, ``parts`` says how far each part came, and a row of something that failed
has its message as ``error`` and no number.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

Row = dict[str, Any]
KINDS = ("probes", "conformance", "bench")
FIELDS = {
    "probes": ("id", "expected", "measured", "held"),
    "conformance": ("op", "shape", "elements", "differ"),
    "bench": ("name", "ours", "peer", "ratio"),
}
KEYS = ("gpu", "driver", "cuda", "commit", "date")


class Record:
    """The document, and the file that always holds a whole one."""

    def __init__(self, path: Path, **facts: Any) -> None:
        self.path = path
        self.document: dict[str, Any] = {**dict.fromkeys(KEYS, "unknown"), **facts, "parts": {}}
        self.document |= {kind: [] for kind in KINDS}

    def add(self, kind: str, row: Row) -> None:
        """Keep a row; one that lacks a field is a mistake of the part."""
        missing = [name for name in FIELDS[kind] if name not in row]
        if missing:
            raise ValueError(f"a row of {kind} has no {missing[0]}: {row}")
        self.document[kind].append(row)

    def finish(self, part: str, state: str, seconds: float) -> None:
        """Say how a part ended and write everything so far."""
        self.document["parts"][part] = {"state": state, "seconds": round(seconds, 1)}
        self.write()

    def write(self) -> None:
        """Replace the file by the document: aside first, so that no reader and no cut run sees half of it."""
        text = json.dumps(self.document, indent=1) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False, encoding="utf-8") as aside:
            aside.write(text)
        Path(aside.name).replace(self.path)


def failures(document: dict[str, Any]) -> list[str]:
    """What did not hold, differed or did not end, one line each. Speed is reported and never fails."""
    found = [
        f"probe {row['id']}: measured {row['measured']}, expected {row['expected']}"
        for row in document["probes"]
        if row["held"] is not True
    ]
    for row in document["conformance"]:
        if row["differ"] != 0:
            what = row.get("error") or f"{row['differ']} of {row['elements']} differ{row.get('first', '')}"
            found.append(f"{row['op']} {row['shape']}: {what}")
    found += [f"bench {row['name']}: {row['error']}" for row in document["bench"] if row.get("error")]
    found += [
        f"part {name}: {part['state']}" for name, part in document["parts"].items() if part["state"] != "complete"
    ]
    return found


def summary(document: dict[str, Any]) -> str:
    """One line."""
    probes, ops, bench = (document[kind] for kind in KINDS)
    held = sum(row["held"] is True for row in probes)
    differing = sum(row["differ"] != 0 for row in ops)
    elements = sum(row["elements"] for row in ops)
    wanted = [row for row in bench if row.get("target") is not None and row["ratio"] is not None]
    reached = sum(row["ratio"] >= row["target"] for row in wanted)
    parts = sum(part["state"] == "complete" for part in document["parts"].values())
    return (
        f"{document['gpu']}: {held} of {len(probes)} probes hold; {differing} of {len(ops)} comparisons differ "
        f"({elements:,} elements); {reached} of {len(wanted)} speeds reach their target; "
        f"{parts} of {len(document['parts'])} parts complete"
    )
