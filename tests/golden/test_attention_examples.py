# SPDX-License-Identifier: Apache-2.0
"""The examples of spec/attention.md by a tensor core, and the modes of spec/mma.md: golden has what the pages print."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bits import bf16, pattern
from fp8ref.golden._units import MODES
from fp8ref.golden.attention import attention
from golden.pages import rows, table
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


@pytest.mark.parametrize("key", EXAMPLES, ids=str)
def test_example(key: tuple[str, str]) -> None:
    (row,) = [row for row in rows("attention.md") if tuple(row[:2]) == key]
    arguments = _scored("example", *EXAMPLES[key]).arguments
    shown = [f"0x{pattern(attention(**{**arguments, 'accumulate': m}))[0, 0, 0]:04X}" for m in ("sm90", "exact")]
    assert row[2:4] == shown


@pytest.mark.parametrize("row", table("attention.md", "chunk", "out"), ids=str)
def test_chunk(row: list[str]) -> None:
    q, v = bf16(np.zeros((4, 1, 1))), bf16([[[1]], [[2]], [[4]], [[8]]])
    out = attention(q, q, v, mask="chunked", chunk=int(row[0]))
    assert ", ".join(f"0x{bits:04X}" for bits in pattern(out).ravel()) == row[1]


def test_every_unit_example_is_here() -> None:
    assert {tuple(row[:2]) for row in table("attention.md", "t", "v", "`sm90`")} == set(EXAMPLES)


def test_the_page_has_the_modes() -> None:
    """[MMA-MODES]"""
    found = [(row[0], row[1], row[2].split(":")[0]) for row in table("mma.md", "`accumulate`", "FP8 matrix products")]
    name = "`{}`".format
    expected = [(name(m.name), "none" if m.fp8 is None else name(m.fp8), name(m.bf16)) for m in MODES.values()]
    assert found == expected
