# SPDX-License-Identifier: Apache-2.0
"""The grouped product: against the witness, its groups against scaled_mm, and its refusals."""

from __future__ import annotations

import numpy as np
import pytest

from bits import assert_same_bits, pattern
from fp8ref.errors import OpError
from fp8ref.golden import grouped_mm as golden
from inputs.grouped_mm import COLUMNS, DEPTH, EXPERTS, ROWS, cases
from oracle import expected


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_equals_witness(case):
    arguments = dict(case.arguments)
    if "out" in arguments:
        arguments["out"] = arguments["out"].copy()
    result = golden.grouped_mm(**arguments)
    assert_same_bits(result, expected(case), case.name)
    assert result is arguments.get("out", result)


def _arguments(**change):
    arguments = {
        "a": np.full((ROWS, DEPTH), 0x38, np.uint8),
        "b": np.full((EXPERTS, COLUMNS, DEPTH), 0x38, np.uint8),
        "a_scale": np.float32(1),
        "b_scale": np.ones(EXPERTS, np.float32),
        "offsets": np.array([0, 2, 2, 5, 7]),
        "out": np.full((ROWS, COLUMNS), 3, np.float32),
        "out_dtype": "float32",
    }
    return arguments | change


def _frozen():
    array = np.zeros((ROWS, COLUMNS), np.float32)
    array.setflags(write=False)
    return array


REFUSED = {
    "offsets decrease": ({"offsets": np.array([0, 3, 2, 5, 7])}, r"offsets\[1\]=3 and offsets\[2\]=2"),
    "offsets below zero": ({"offsets": np.array([-1, 2, 2, 5, 7])}, r"0\.\.7.*-1\.\.7"),
    "offsets beyond the rows": ({"offsets": np.array([0, 2, 2, 5, 8])}, r"0\.\.7.*0\.\.8"),
    "too few offsets": ({"offsets": np.array([0, 2, 5, 7])}, r"shape \(5,\), got shape \(4,\)"),
    "offsets are no integers": ({"offsets": np.array([0, 2, 2, 5, 7.0])}, "int32 or int64.*float64"),
    "offsets are unsigned": ({"offsets": np.array([0, 2, 2, 5, 7], np.uint32)}, "int32 or int64.*uint32"),
    "K differs": ({"b": np.zeros((EXPERTS, COLUMNS, 5), np.uint8)}, r"\(7, 130\).*\(4, 3, 5\).*same K"),
    "b of two dimensions": ({"b": np.zeros((COLUMNS, DEPTH), np.uint8)}, "b must have 3 dimensions"),
    "scales of other experts": ({"b_scale": np.ones(3, np.float32)}, r"b_scale must be one value, \(4,\).*\(3,\)"),
    "scales of other rows": ({"a_scale": np.ones((3, 1), np.float32)}, r"a_scale \(7, 1\).*got a_scale \(3, 1\)"),
    "negative scale": ({"a_scale": np.float32(-1)}, "a_scale must have its sign bit clear"),
    "bias of one expert": ({"bias": np.ones(COLUMNS, np.float32)}, r"bias must have shape \(4, 3\)"),
    "out of another shape": ({"out": np.zeros((ROWS, 4), np.float32)}, r"out must be.*\(7, 3\).*\(7, 4\)"),
    "out of another type": ({"out": np.zeros((ROWS, COLUMNS))}, "out must be.*float32.*float64"),
    "out is read-only": ({"out": _frozen()}, "out must be a writable array"),
    "out is a list": ({"out": [[0.0] * COLUMNS] * ROWS}, "out must be.*list"),
    "overflow without E4M3": ({"overflow": "nan"}, "belong to out_dtype='float8_e4m3fn'"),
    "block scales of a tensor core": (
        {
            "a_scale": np.ones((ROWS, 2), np.float32),
            "b_scale": np.ones((EXPERTS, 1, 2), np.float32),
            "accumulate": "sm90_wgmma",
        },
        "needs a block epilogue",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_and_leaves_out_alone(name):
    change, message = REFUSED[name]
    arguments = _arguments(**change)
    before = pattern(np.array(arguments["out"])).copy()
    with pytest.raises(OpError, match=f"^grouped_mm: .*{message}"):
        golden.grouped_mm(**arguments)
    assert np.array_equal(pattern(np.array(arguments["out"])), before)


def test_out_may_be_a_view_of_another_array():
    whole = np.full((ROWS, 2 * COLUMNS), 9, np.float32)
    result = golden.grouped_mm(**_arguments(out=whole[:, ::2], offsets=np.array([1, 2, 2, 5, 6])))
    assert np.shares_memory(result, whole)
    assert (whole[:, 1::2] == 9).all() and (whole[[0, 6]] == 9).all()
    assert (whole[1:6, ::2] == DEPTH).all()
