# SPDX-License-Identifier: Apache-2.0
"""grouped_mm of the cpu backend: golden's bits, however it is run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import assert_same_bits
from everywhere import assert_everywhere
from fp8ref.backends.cpu import grouped_mm as cpu
from fp8ref.errors import OpError
from inputs.grouped_mm import cases

BLOCK_ORDERS = ("deepgemm", "triton", "triton_ba")


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_inputs_of_the_golden_tests(case):
    assert_everywhere("grouped_mm", **case.arguments)


def _sorted_offsets(rng, experts, rows):
    return np.sort(rng.integers(0, rows + 1, experts + 1)).astype(rng.choice([np.int32, np.int64]))


def _scales(rng, *shape):
    return np.exp2(rng.uniform(-10, 4, shape)).astype(np.float32)


@given(
    seed=st.integers(0, 2**32),
    sizes=st.tuples(st.integers(0, 9), st.integers(1, 6), st.integers(0, 140), st.integers(0, 300)),
    layout=st.sampled_from(["one", "expert", "row", "block", "block of 128"]),
    out_dtype=st.sampled_from(["float32", "bfloat16", "float8_e4m3fn"]),
    data=st.data(),
)
def test_anything(seed, sizes, layout, out_dtype, data):
    """Any sizes, groups, layouts of the scales, and policies that go with them."""
    rows, experts, n, k = sizes
    rng = np.random.default_rng(seed)
    blocks = -(-k // 128)
    shapes = {
        "one": ((), ()),
        "expert": ((), (experts,)),
        "row": ((rows, 1), (experts, n, 1)),
        "block": ((rows, blocks), (experts, n, blocks)),
        "block of 128": ((rows, blocks), (experts, -(-n // 128), blocks)),
    }
    arguments = {
        "a": rng.integers(0, 0x7F, (rows, k)).astype(np.uint8),
        "b": (rng.integers(0, 0x7F, (experts, n, k)) | rng.integers(0, 2, (experts, n, k)) << 7).astype(np.uint8),
        "a_scale": _scales(rng, *shapes[layout][0]),
        "b_scale": _scales(rng, *shapes[layout][1]),
        "offsets": _sorted_offsets(rng, experts, rows),
        "out_dtype": out_dtype,
        "bias": data.draw(st.sampled_from([None, rng.standard_normal((experts, n)).astype(np.float32)])),
        "epilogue": data.draw(st.sampled_from(["a_b", *(BLOCK_ORDERS if "block" in layout else ("b_a", "ab"))])),
    }
    if out_dtype == "float8_e4m3fn":
        arguments |= {"out_scale": np.float32(0.01), "overflow": data.draw(st.sampled_from(["saturate", "nan"]))}
    assert_everywhere("grouped_mm", **arguments)


@pytest.mark.parametrize("sizes", [[3] * 40, [0, 50, 1, 0, 9], [1, 0] * 12], ids=str)
def test_groups_in_parallel_and_in_turn(sizes):
    """Many small groups run beside each other, large ones one after the other."""
    rng = np.random.default_rng(41)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    a = rng.integers(0, 0x7F, (offsets[-1], 260)).astype(np.uint8)
    b = rng.integers(0, 0x7F, (len(sizes), 130, 260)).astype(np.uint8)
    assert_everywhere("grouped_mm", a, b, _scales(rng, len(a), 1), _scales(rng, len(sizes)), offsets)


def test_kept_rows():
    """Rows of no expert keep every bit that `out` has, NaN payloads too."""
    out = np.full((4, 3), 0x7FA12345, np.uint32).view(np.float32)
    a, b = np.full((4, 32), 0x38, np.uint8), np.full((2, 3, 32), 0x38, np.uint8)
    result = cpu.grouped_mm(a, b, 1.0, 1.0, np.array([1, 2, 3]), out_dtype="float32", out=out)
    assert result is out
    assert (out.view(np.uint32)[[0, 3]] == 0x7FA12345).all()
    assert (out[1:3] == 32).all()


def test_out_may_be_an_input():
    """Codes are read before the first result is written over them."""
    codes = np.full((3, 32), 0x38, np.uint8)
    weights = np.full((1, 32, 32), 0x38, np.uint8)
    policy = {"out_dtype": "float8_e4m3fn", "out_scale": 1.0, "overflow": "saturate"}
    expected = cpu.grouped_mm(codes, weights, 1.0, 1.0, np.array([0, 3]), **policy)
    out = codes.view(expected.dtype)
    assert_same_bits(cpu.grouped_mm(codes, weights, 1.0, 1.0, np.array([0, 3]), **policy, out=out), expected, "out")


def test_refusals_name_the_operation():
    a, b = np.zeros((4, 8), np.uint8), np.zeros((2, 3, 8), np.uint8)
    with pytest.raises(OpError, match=r"^grouped_mm: offsets must not decrease"):
        cpu.grouped_mm(a, b, 1.0, 1.0, np.array([0, 3, 2]))
    with pytest.raises(OpError, match=r"^grouped_mm: out must be"):
        cpu.grouped_mm(a, b, 1.0, 1.0, np.array([0, 3, 4]), out=np.zeros((4, 3), np.float32))
