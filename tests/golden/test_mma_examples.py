# SPDX-License-Identifier: Apache-2.0
"""The examples of spec/mma.md: golden gives these bits, and the page prints them; its table of units is golden's."""

from __future__ import annotations

import numpy as np
import pytest

from bits import E4M3, from_bits
from fp8ref.golden._units import UNITS
from fp8ref.golden.mma import mma
from golden.test_scaled_mm_examples import SPEC, float32, line, shown
from inputs.mma import operands
from inputs.probes import generated

PAIR = [(64.0, 64.0), (-64.0, 64.0)]
BIG, SMALL = (256.0, 256.0), (2.0**-4, 2.0**-4)
# products and c as the page has them; the products, c
EXAMPLES = {
    ("64*64, -64*64, 0.5*1", "+0"): ([*PAIR, (0.5, 1.0)], 0.0),
    ("64*64, -64*64, 0.25*1", "+0"): ([*PAIR, (0.25, 1.0)], 0.0),
    ("none", "0x40490FDB"): ([], float32(0x40490FDB)),
    ("64*64, -64*64", "0.25"): (PAIR, 0.25),
    ("32 times 2^-4 * 2^-4", "64"): ([SMALL] * 32, 64.0),
    ("64*64, 64*64, 1.5*1", "+0"): ([PAIR[0], PAIR[0], (1.5, 1.0)], 0.0),
    ("96*96, 0.5*1, 0.5*1", "+0"): ([(96.0, 96.0), (0.5, 1.0), (0.5, 1.0)], 0.0),
    ("72*128, 0.5*1, 0.5*1", "+0"): ([(72.0, 128.0), (0.5, 1.0), (0.5, 1.0)], 0.0),
    ("2^-9*64, -2^-9*64, 2^-7*2^-7", "+0"): ([(2.0**-9, 64.0), (-(2.0**-9), 64.0), (2.0**-7, 2.0**-7)], 0.0),
    ("256*256, 2^-4*2^-4 at k = 1 and k = 2", "+0", "sm120_mma"): ({0: BIG, 1: SMALL, 2: SMALL}, 0.0),
    ("256*256, 2^-4*2^-4 at k = 1 and k = 2", "+0", "sm90_mma_sync"): ({0: BIG, 1: SMALL, 2: SMALL}, 0.0),
    ("256*256, 2^-4*2^-4 at k = 1 and k = 4", "+0"): ({0: BIG, 1: SMALL, 4: SMALL}, 0.0),
}


def _row(key):
    """The bits of sm90_wgmma and the cell of another unit, of the page's row that has this key."""
    rows = [row for row in (SPEC / "mma.md").read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    found = [row for row in cells if tuple(row[:2]) == key[:2] and all(unit in row[3] for unit in key[2:])]
    assert len(found) == 1, f"mma.md has {len(found)} rows for {key}"
    return found[0][2:4]


@pytest.mark.parametrize("key", EXAMPLES, ids=", ".join)
def test_instructions(key):
    products, c = EXAMPLES[key]
    a, b = operands(products, 32, E4M3)
    start = np.full((1, 1), c, np.float32)
    hopper, other = _row(key)
    assert shown(mma(a, b, start)) == hopper
    if other:
        unit, bits = other.split()
        assert shown(mma(a, b, start, unit.strip("`"))) == bits


@pytest.mark.parametrize("t", range(6))
def test_generated_operands(t):
    cells = line("mma.md", str(t))
    a, b = (from_bits([codes], E4M3) for codes in generated(t))
    start = float32([[int(cells[0], 16)]])
    assert [shown(mma(a, b, start, unit)) for unit in ("sm90_wgmma", "sm89_mma", "sm100_tcgen05")] == cells[1:]
    assert shown(mma(a, b, start, "sm120_mma")) == cells[3]


def test_the_table_of_units():
    """Names, operands, L, F, result, floor of E and degree of certainty are those of golden's rows."""
    text, name, found = (SPEC / "mma.md").read_text(encoding="utf-8"), "", set()
    table = text[text.index("| `accumulate` | instruction") : text.index("The rule behind the numbers")]
    for row in table.splitlines()[2:]:
        if not row.startswith("|"):
            continue
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        name = cells[0].strip("`") or name
        block = "16" if cells[3] == "[MMA-REWRITE]" else cells[3]
        for operand in cells[2].split(", "):
            for result, floor in zip(cells[5].split(", "), cells[6].split(", "), strict=True):
                found.add((name, operand, block, cells[4], result, floor, cells[7].split()[0].strip(",")))
    kinds = {"fp8": "FP8", "bf16": "bfloat16", "fp16": "float16"}
    rows = {
        (u.name, kinds[u.operands], str(u.block), str(u.fraction_bits), u.result.name.upper(), str(u.floor), u.evidence)
        for u in UNITS.values()
    }
    assert found == rows
