# SPDX-License-Identifier: Apache-2.0
"""Rotary positions against the witness: frequencies, tables, rotation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, bf16, from_bits, pattern
from fp8ref.errors import OpError
from fp8ref.golden import rope as golden
from golden.pages import table
from inputs.rope import cases
from oracle import expected, rope, rope_frequencies, rope_table


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(getattr(golden, case.function)(**case.arguments), expected(case), case.name)


@given(st.data())
def test_any_frequencies(data):
    scaling = None
    if data.draw(st.booleans()):
        low = data.draw(st.sampled_from([1.0, 1.3]))
        scaling = {
            "factor": data.draw(st.floats(1, 64)),
            "low_freq_factor": low,
            "high_freq_factor": data.draw(st.sampled_from([low, 4.0, 3.9])),
            "original_max_position_embeddings": data.draw(st.integers(1, 100_000)),
        }
    arguments = (2 * data.draw(st.integers(1, 24)), data.draw(st.floats(1.5, 1e9)), scaling)
    assert_same_bits(golden.rope_frequencies(*arguments), rope_frequencies(*arguments), str(arguments))


@given(st.lists(st.integers(0, 2**24 - 1), max_size=4), st.lists(st.floats(0, 1, width=32), min_size=1, max_size=4))
def test_any_table(positions, frequencies):
    frequencies = np.array(frequencies, dtype=np.float32)
    assert_same_bits(golden.rope_table(positions, frequencies), rope_table(positions, frequencies))


@given(st.lists(st.tuples(*[st.integers(0, 0xFFFF)] * 2, *[st.floats(-1, 1, width=32)] * 2), min_size=1, max_size=9))
def test_any_rotation(columns):
    x = from_bits([[[c[0] for c in columns] + [c[1] for c in columns]]], BF16)
    cos, sin = (np.array([[c[i] for c in columns]], dtype=np.float32) for i in (2, 3))
    for layout in ("rotate_half", "interleaved"):
        assert_same_bits(golden.rope(x, cos, sin, layout), rope(x, cos, sin, layout))


def test_rotation_examples():
    """Those of spec/rope.md."""
    cos, sin = golden.rope_table([1], np.ones(1, np.float32))
    for text, result in table("rope.md", "input", "result")[-3:]:
        if text.startswith("rotate"):
            x = bf16([[[float(n) for n in text[text.index("(") + 1 : text.index(")")].split(",")]]])
        layout = "interleaved" if "interleaved" in text else "rotate_half"
        assert ", ".join(f"0x{b:04X}" for b in pattern(golden.rope(x, cos, sin, layout)).ravel()) == result


def test_layouts_are_known():
    x, table = bf16([[[1, 2]]]), np.ones((1, 1), np.float32)
    with pytest.raises(OpError, match="layout='neox' is unknown; known: rotate_half, interleaved"):
        golden.rope(x, table, table, "neox")
