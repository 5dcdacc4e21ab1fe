# SPDX-License-Identifier: Apache-2.0
"""Clause ids: each is defined once in spec/, what code cites exists, and what the spec says is cited by code.

An id that code cites cannot vanish or be given away unseen. [VERSION-CLAUSES]
"""

from __future__ import annotations

import re
from collections import Counter

from meta.tree import ROOT, files, name

DEFINED = re.compile(r"^(?:- )?\*\*\[([A-Z0-9]+(?:-[A-Z0-9]+)+)\]\*\*", re.MULTILINE)
CITED = re.compile(r"\[([A-Z][A-Z0-9]+(?:-[A-Z0-9]+)+)\]")


def _defined() -> Counter[str]:
    return Counter(id_ for path in sorted((ROOT / "spec").glob("*.md")) for id_ in DEFINED.findall(path.read_text()))


def _cited(*suffixes: str) -> dict[str, set[str]]:
    """Clause id to the files that cite it."""
    found: dict[str, set[str]] = {}
    for path in files(*suffixes):
        for id_ in CITED.findall(path.read_text(encoding="utf-8")):
            found.setdefault(id_, set()).add(name(path))
    return found


def test_each_clause_is_defined_once() -> None:
    defined = _defined()
    assert len(defined) > 50
    assert [id_ for id_, count in defined.items() if count > 1] == []


def test_cited_clauses_exist() -> None:
    defined = _defined()
    unknown = {id_: sorted(where) for id_, where in _cited(".py", ".h", ".cpp", ".cu", ".md").items()}
    assert {id_: where for id_, where in unknown.items() if id_ not in defined} == {}


def test_defined_clauses_are_cited_by_code() -> None:
    """By the golden model or the readers, or by the tests that show the clause."""
    cited = _cited(".py", ".h", ".cpp", ".cu")
    assert sorted(id_ for id_ in _defined() if id_ not in cited) == []
