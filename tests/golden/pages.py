# SPDX-License-Identifier: Apache-2.0
"""The tables of the specification's pages, for tests that what they print is what golden gives."""

from __future__ import annotations

from pathlib import Path

SPEC = Path(__file__).resolve().parents[2] / "spec"


def rows(page: str) -> list[list[str]]:
    """The cells of all lines of a page's tables."""
    lines = (SPEC / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def table(page: str, *header: str) -> list[list[str]]:
    """The lines of the one table whose header begins with these cells."""
    lines = (SPEC / page).read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (start,) = [i for i, row in enumerate(cells) if tuple(row[: len(header)]) == header]
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    return cells[start + 2 : end]
