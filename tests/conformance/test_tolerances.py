# SPDX-License-Identifier: Apache-2.0
"""README's table of tolerances is what is measured; nothing wrong is caught by nobody."""

from __future__ import annotations

from conformance import tolerances


def test_the_table_of_the_readme_is_measured() -> None:
    assert tolerances.section(tolerances.README.read_text(encoding="utf-8")) == tolerances.table()


def test_what_is_right_passes_everywhere() -> None:
    right = tolerances.product().right
    found = tolerances.sums(right)
    assert all(tolerance.passes(found) for tolerance in tolerances.TOLERANCES)
    assert found.bits == 0
    window = right[: tolerances.WINDOW, : tolerances.WINDOW]
    assert tolerances.contract_held(window, 1.0)


def test_bits_and_the_contract_catch_every_defect() -> None:
    rows = [line.split(" | ") for line in tolerances.table().splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(tolerances.DEFECTS)
    assert all(row[-2] == "caught" and row[-1].startswith("caught") for row in rows)
    assert all(any("missed" in row[column] for row in rows) for column in range(1, len(tolerances.TOLERANCES) + 1))
