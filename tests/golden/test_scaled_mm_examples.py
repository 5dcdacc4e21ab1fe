# SPDX-License-Identifier: Apache-2.0
"""The examples of spec/scaled_mm.md and spec/grouped_mm.md: golden gives these bits, and the pages print them."""

from __future__ import annotations

import numpy as np
import pytest

from bits import from_bits, is_nan, pattern
from fp8ref.golden.grouped_mm import grouped_mm
from fp8ref.golden.scaled_mm import scaled_mm
from golden.pages import SPEC
from inputs.mma import E5M2, operands
from inputs.scaled_blocks import codes_of, element, sums_of_blocks

ONE = np.float32(1)


def float32(bits):
    return from_bits(bits, np.float32)


def line(page, *parts):
    """The one line of a page that begins with these cells; its cells without backquotes."""
    rows = [row for row in (SPEC / page).read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    cells = [[cell.strip().strip("`") for cell in row.strip("|").split(" |")] for row in rows]
    found = [row for row in cells if tuple(row[: len(parts)]) == parts]
    assert len(found) == 1, f"{page} has {len(found)} rows for {parts}"
    return found[0][len(parts) :]


def shown(result):
    """A result of one element as the pages print it."""
    return f"0x{pattern(result).item():0{2 * result.dtype.itemsize}X}"


PRODUCTS = {
    "64*64, 64*64, 1.5*1": ([64, 64, 1.5], [64, 64, 1]),
    "64*64, -64*64, 0.25*1": ([64, -64, 0.25], [64, 64, 1]),
    "32 codes 0x7E with 0x7E": ([448] * 32, [448] * 32),
    "32,768 times 2^-4 * 2^-4": ([2.0**-4] * 32768, [2.0**-4] * 32768),
}


@pytest.mark.parametrize("products", PRODUCTS)
def test_accumulators(products):
    a, b = (codes_of([row]) for row in PRODUCTS[products])
    results = [
        shown(scaled_mm(a, b, ONE, ONE, out_dtype="float32", accumulate=name)) for name in ("exact", "sm90_wgmma")
    ]
    assert results == line("scaled_mm.md", products)[:2]


TIE, TINY, INFINITE = [(2.0**15, 2.0**15)] * 2 + [(2.0**7, 1.0)], 2.0**-16, float("inf")
E5M2_PRODUCTS = {
    "2^15*2^15 twice, 2^7*1, 2^-16*2^-16": [*TIE, (TINY, TINY)],
    "2^15*2^15 twice, 2^7*1, -2^-16*2^-16": [*TIE, (-TINY, TINY)],
    "Inf*1, 1*1": [(INFINITE, 1.0), (1.0, 1.0)],
    "Inf*0": [(INFINITE, 0.0)],
    "Inf*1, -Inf*1": [(INFINITE, 1.0), (-INFINITE, 1.0)],
}


@pytest.mark.parametrize("products", E5M2_PRODUCTS)
def test_e5m2(products):
    a, b = operands(E5M2_PRODUCTS[products], 32, E5M2)
    results = [
        shown(scaled_mm(a, b, ONE, ONE, out_dtype="float32", accumulate=name)) for name in ("exact", "sm100_tcgen05")
    ]
    assert results == line("scaled_mm.md", products)[:2]


@pytest.mark.parametrize("epilogue", ["a_b", "b_a", "ab"])
def test_order_of_the_scales(epilogue):
    scales = {"a_scale": float32(0x3B77ACFF), "b_scale": float32(0x3A3BF7EE), "epilogue": epilogue}
    results = [shown(scaled_mm(**element(1807.4921875), **scales, out_dtype=out)) for out in ("float32", "bfloat16")]
    assert results == line("scaled_mm.md", epilogue)


def test_fused_bias():
    call = {**element(1022.0), "a_scale": float32(0x3F230FEC), "b_scale": ONE, "out_dtype": "float32"}
    bias = float32([0x428015A4])
    assert float32(0x447F8000) == 1022
    assert shown(scaled_mm(**call, bias=bias)) == "0x4432C119"
    assert shown(scaled_mm(**call) + bias) == "0x4432C118"


def test_orders_of_block_scales():
    """With a second block of zeros, so that the shape of the scales means blocks for every epilogue."""
    a, b = codes_of([[3.0] + [0.0] * 128]), codes_of([[1.0] + [0.0] * 128])
    scales = {"a_scale": float32([[0x3FB2737A, 0x3F800000]]), "b_scale": float32([[0x3FEDBF6C, 0x3F800000]])}
    orders = ("a_b", "deepgemm", "triton", "triton_ba")
    results = [shown(scaled_mm(a, b, **scales, out_dtype="float32", epilogue=name)) for name in orders]
    assert results[1:] == line("scaled_mm.md", results[0])


@pytest.mark.parametrize("d", [1, 0, -1])
def test_sums_of_blocks(d):
    blocks = sums_of_blocks([[1, 1, d]], [1, 2.0**-24, 2.0**-100])
    results = [shown(scaled_mm(**blocks, out_dtype="float32", epilogue=name)) for name in ("a_b", "deepgemm")]
    assert results == line("scaled_mm.md", f"d = {d}")


def test_special_block_scales():
    call = {**sums_of_blocks([[2, 0]], [1, 1]), "out_dtype": "float32"}
    one, infinity, least = np.float32(1), np.float32(np.inf), float32(1)
    text = (SPEC / "scaled_mm.md").read_text(encoding="utf-8")
    for scales, bits in (((one, 0), "0x40000000"), ((infinity, one), "0x7F800000"), ((least, one), "0x00000002")):
        assert shown(scaled_mm(**call | {"a_scale": np.array([scales], np.float32)})) == bits
        assert bits in text
    assert is_nan(scaled_mm(**call | {"a_scale": np.array([[one, infinity]])})).all()


E4M3 = {
    ("464", "1"): (464.0, 0x3F800000),
    ("465", "1"): (465.0, 0x3F800000),
    ("-480", "1"): (-480.0, 0x3F800000),
    ("-0.001953125", "0.25"): (-(2.0**-9), 0x3E800000),
    ("0x3F980001", "0x3F7FFFFE"): (1.1875, 0x3F7FFFFE),
}


@pytest.mark.parametrize("z, out_scale", E4M3)
def test_e4m3_output(z, out_scale):
    acc, factor = E4M3[z, out_scale]
    call = {**element(acc), "a_scale": ONE, "b_scale": float32(0x3F800001) if z.startswith("0x") else ONE}
    if z.startswith("0x"):
        assert shown(scaled_mm(**call, out_dtype="float32")) == z
    policy = {"out_dtype": "float8_e4m3fn", "out_scale": float32(factor)}
    results = [shown(scaled_mm(**call, **policy, overflow=name)) for name in ("saturate", "nan")]
    assert results == line("scaled_mm.md", z, out_scale)[:2]


@pytest.mark.parametrize(
    "rows, offsets, out",
    [("3", "1, 2, 2, 3", "None"), ("3", "0, 1, 1, 1", "filled with 7"), ("2", "1, 1, 1, 1", "None")],
)
def test_groups(rows, offsets, out):
    target = None if out == "None" else np.full((int(rows), 1), 7, np.float32)
    result = grouped_mm(
        np.full((int(rows), 32), 0x38, np.uint8),
        np.full((3, 1, 32), 0x38, np.uint8),
        ONE,
        np.array([1, 9, 2], np.float32),
        np.array([int(x) for x in offsets.split(", ")]),
        out_dtype="float32",
        out=target,
    )
    expected = line("grouped_mm.md", rows, offsets, "1, 9, 2", out)
    assert ", ".join(f"0x{bits:08X}" for bits in pattern(result)[:, 0].tolist()) == expected[0]
