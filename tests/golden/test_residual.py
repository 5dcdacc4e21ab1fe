# SPDX-License-Identifier: Apache-2.0
"""The residual addition, and the gated one, against the witness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, bf16, from_bits, pattern
from fp8ref.errors import OpError
from fp8ref.golden import residual as golden
from golden.pages import table
from inputs.elementwise import residual_cases
from oracle import expected, gated_residual, residual


@pytest.mark.parametrize("case", residual_cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(getattr(golden, case.function)(**case.arguments), expected(case), case.name)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)), max_size=30))
def test_any_bits(pairs):
    x, y = (from_bits([pair[i] for pair in pairs], BF16) for i in range(2))
    assert_same_bits(golden.residual(x, y), residual(x, y))


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)), max_size=10), st.integers(0, 0xFFFF))
def test_any_gate(pairs, gate):
    x, y = (from_bits([pair[i] for pair in pairs], BF16) for i in range(2))
    factor = from_bits([gate], BF16)
    assert_same_bits(golden.gated_residual(x, y, factor), gated_residual(x, y, factor))


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0, 2)])
def test_the_shape_of_x(shape):
    x, gate = np.ones(shape, BF16), bf16([1])
    assert_same_bits(golden.gated_residual(x, x, gate), gated_residual(x, x, gate))


@pytest.mark.slow
def test_every_gate():
    zero, one = bf16([0]), bf16([1])
    for bits in range(1 << 16):
        gate = from_bits([bits], BF16)
        assert_same_bits(golden.gated_residual(zero, one, gate), gated_residual(zero, one, gate), hex(bits))


def test_no_midpoint_lies_between_tanh_and_its_rounding_to_float32():
    """What golden's tanh relies on, with a distance of 2**-17 to spare: for every gate, positive ones standing for
    all."""
    gates = from_bits(np.arange(1, 0x7F80), BF16).astype(np.float64)
    size = golden.tanh(gates)
    nearest = np.abs((size.view(np.int64) & (2**45 - 1)) - 2**44) / 2.0**52  # of a significand to the midpoint
    assert nearest[size < 1].min() > 2.0**-17


def _number(text: str) -> float:
    base, _, power = text.replace("Inf", "inf").partition("^")
    return float(base) ** float(power) if power else float(base)


def test_examples():
    """Those of spec/residual.md."""
    for x, y, out, _ in table("residual.md", "x", "y", "out"):
        operands = [_operand(text) for text in (x, y)]
        assert f"0x{pattern(golden.residual(*operands))[0]:04X}" == out, (x, y)
    for x, y, gate, out, _ in table("residual.md", "x", "y", "gate"):
        shown = pattern(golden.gated_residual(*(_operand(text) for text in (x, y, gate))))[0]
        assert f"0x{shown:04X}" == out, (x, y, gate)


def _operand(text: str) -> np.ndarray:
    """A number as the page writes it: bits, or a product."""
    if text.startswith("0x"):
        return from_bits([int(text.split()[0], 16)], BF16)
    return bf16([np.prod([_number(part) for part in text.split(" * ")])])


@pytest.mark.parametrize("gate", [np.ones(2), np.ones((1, 1)), np.ones(())])
def test_a_gate_is_one_number(gate):
    with pytest.raises(OpError, match="gate must have shape"):
        golden.gated_residual(bf16([1]), bf16([1]), gate.astype(BF16))
