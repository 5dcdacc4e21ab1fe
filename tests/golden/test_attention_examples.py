# SPDX-License-Identifier: Apache-2.0
"""The examples of spec/attention.md by a tensor core, and the modes of spec/mma.md: golden has what the pages print."""

from __future__ import annotations

import math

import pytest

from bits import pattern
from fp8ref.golden._units import MODES
from fp8ref.golden.attention import attention
from golden.test_scaled_mm_examples import SPEC
from inputs.attention_unit import _scored

FAR = -math.inf
# t and v as the page has them; the numbers
EXAMPLES = {
    ("0, -133", "0, 2^120"): ([0, -133], [0, 2.0**120]),
    ("0, -134", "0, 2^120"): ([0, -134], [0, 2.0**120]),
    ("0, -140", "1, Inf"): ([0, -140], [1, math.inf]),
    ("0, then 127 times log2(255/128) - 25", "1, 2^16, 354, then 0"): (
        [0, *[math.log2(255 / 128) - 25] * 127],
        [1, 2.0**16, 354, *[0] * 125],
    ),
    ("-126, 127 times -Inf, 0", "2^127, then 0"): ([-126, *[FAR] * 127, 0], [2.0**127, *[0] * 128]),
    ("-127, 127 times -Inf, 0", "2^127, then 0"): ([-127, *[FAR] * 127, 0], [2.0**127, *[0] * 128]),
}


def _rows(page: str) -> list[list[str]]:
    lines = (SPEC / page).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


@pytest.mark.parametrize("key", EXAMPLES, ids=str)
def test_example(key: tuple[str, str]) -> None:
    (row,) = [row for row in _rows("attention.md") if tuple(row[:2]) == key]
    arguments = _scored("example", *EXAMPLES[key]).arguments
    shown = [f"0x{pattern(attention(**{**arguments, 'accumulate': m}))[0, 0, 0]:04X}" for m in ("sm90", "exact")]
    assert row[2:4] == shown


def test_every_unit_example_is_here() -> None:
    rows = _rows("attention.md")
    start = next(i for i, row in enumerate(rows) if row[:3] == ["t", "v", "`sm90`"])
    assert {tuple(row[:2]) for row in rows[start + 1 : start + 1 + len(EXAMPLES)]} == set(EXAMPLES)


def test_the_page_has_the_modes() -> None:
    """[MMA-MODES]"""
    rows = _rows("mma.md")
    start = next(i for i, row in enumerate(rows) if row[1] == "FP8 matrix products")
    found = [(row[0], row[1], row[2].split(":")[0]) for row in rows[start + 1 : start + 1 + len(MODES)]]
    name = "`{}`".format
    expected = [(name(m.name), "none" if m.fp8 is None else name(m.fp8), name(m.bf16)) for m in MODES.values()]
    assert found == expected
