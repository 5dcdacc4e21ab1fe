# SPDX-License-Identifier: Apache-2.0
"""Writes what the GPU records of spec/evidence/ say into README.md, between its two marks.

python tests/gpu/status.py      # after a record was added; tests/meta/test_gate_records.py keeps README equal
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE, README = ROOT / "spec" / "evidence", ROOT / "README.md"
MARKS = ("<!-- gpu records -->", "<!-- end of gpu records -->")
NONE = "There is no GPU record yet: nothing here was measured on a GPU."
SHOWN = 20  # of what does not hold


def records(folder: Path = EVIDENCE) -> list[dict[str, Any]]:
    """The records of GPU runs, with the name of their file; the newest first."""
    found = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if "gpu" in document and "probes" in document:
            found.append({**document, "file": path.name})
    return sorted(found, key=lambda document: (document["date"], document["file"]), reverse=True)


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _overview(document: dict[str, Any]) -> str:
    held = sum(row["held"] is True for row in document["probes"])
    equal = [row for row in document["conformance"] if row["differ"] == 0]
    elements = sum(row["elements"] for row in equal)
    rows = f"{len(equal)} of {len(document['conformance'])} equal in every bit ({elements:,} elements)"
    where = f"{document['gpu']}, driver {document['driver']}, CUDA {document['cuda']}"
    link = f"[{document['date']}](spec/evidence/{document['file']})"
    cells = (where, link, f"`{document['commit'][:12]}`", f"{held} of {len(document['probes'])}", rows)
    return f"| {' | '.join(map(_cell, cells))} |"


def _speed(row: dict[str, Any]) -> str:
    wanted = f" (wanted {row['target']:g})" if row.get("target") is not None else ""
    return f"| {_cell(row['name'])} | {row['ours']:g} | {row['peer']:g} | {row['ratio']:.2f}{wanted} |"


def table(found: list[dict[str, Any]]) -> str:
    """The section: every record in a line, then the newest one's speeds and what does not hold in it."""
    from gpu.gate_record import failures

    if not found:
        return NONE
    lines = ["| GPU | record | commit | probes that hold | comparisons |", "|---|---|---|---|---|"]
    lines += [_overview(document) for document in found]
    newest = found[0]
    speeds = [row for row in newest["bench"] if row["ratio"] is not None]
    if speeds:
        lines += ["", f"Speeds on the {newest['gpu']}, {newest['date']}:", ""]
        lines += ["| what | ours | peer | ratio |", "|---|---|---|---|", *map(_speed, speeds)]
    problems = failures(newest)
    if problems:
        lines += ["", "What does not hold there:", "", *(f"- {_cell(line)}" for line in problems[:SHOWN])]
        lines += [f"- and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return "\n".join(lines)


def section(text: str) -> str:
    """What stands between the marks."""
    match = re.search(f"{MARKS[0]}\n(.*?)\n{MARKS[1]}", text, re.DOTALL)
    if match is None:
        raise ValueError(f"the text has no {MARKS[0]} ... {MARKS[1]}")
    return match[1]


def main() -> None:
    """Replace the section."""
    text = README.read_text(encoding="utf-8")
    README.write_text(text.replace(section(text), table(records())), encoding="utf-8")


if __name__ == "__main__":
    sys.path[0] = str(ROOT / "tests")  # in the place of this folder, whose modules are called gpu.<name>
    main()
