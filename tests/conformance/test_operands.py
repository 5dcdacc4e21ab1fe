# SPDX-License-Identifier: Apache-2.0
"""What a mismatch says of the computation at its place is what was computed there. [REPORT-OPERANDS]"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fp8ref
from fp8ref.conformance import Case, Mismatch, ModelCase, Outcome, cases_of
from fp8ref.conformance.operands import DESCRIBERS, describe
from fp8ref.conformance.targets import BackendTarget
from fp8ref.table import ops

GOLDEN = BackendTarget("golden")


def _at(case: Case, output: str, index: tuple[int, ...]) -> tuple[str, ...]:
    return describe(case, Mismatch(case.name, output, index, "", "", 1), GOLDEN.run(case))


def _case(function: str, **arguments: Any) -> Case:
    return Case("one", function, arguments)


@pytest.mark.parametrize("stem", [op.stem for op in ops() if op.functions])
def test_every_case_has_operands_everywhere(stem: str) -> None:
    """Corners of every output of the quick cases; a describer that reads beyond its arrays would raise."""
    described = set()
    for i, case in enumerate(cases_of(stem, "quick")):
        if isinstance(case, ModelCase) or (stem in ("quantize", "mma", "scaled_mm") and i % 7):
            continue
        expected = GOLDEN.run(case)
        for output, array in expected.arrays.items():
            if array.size:
                for index in {(0,) * array.ndim, tuple(n - 1 for n in array.shape)}:
                    lines = describe(case, Mismatch(case.name, output, index, "", "", 1), expected)
                    assert lines, f"{case.name}, {output}{index}"
                    assert all(0 < len(line) < 1000 and "\n" not in line for line in lines)
                    described.add(case.function)
    assert described == set(next(op.functions for op in ops() if op.stem == stem))


def test_the_describers_are_of_functions() -> None:
    assert set(DESCRIBERS) <= {function for op in ops() for function in op.functions}


def test_scaled_mm_names_scales_and_the_largest_products() -> None:
    a = fp8ref.encode(np.float32([[1, 2, 3, 4], [0, 448, -0.5, 1]]))
    b = fp8ref.encode(np.float32([[1, 1, 1, 1], [2, -3, 416, 2], [1, 1, 1, 1]]))
    scales = {"a_scale": np.float32([[0.5], [0.25]]), "b_scale": np.float32([[1], [2], [4]])}
    lines = _at(_case("scaled_mm", a=a, b=b, **scales, bias=np.float32([7, 8, 9]), out_dtype="float32"), "out", (1, 1))
    assert lines == (
        "a_scale[1, 0] 0x3e800000 (0.25), b_scale[1, 0] 0x40000000 (2), bias[1] 0x41000000 (8)",
        "largest of 4 products a[1, k] * b[1, k]: k=1: 448 * -3, k=2: -0.5 * 416, k=3: 1 * 2",
        "out_dtype float32",
    )


def test_scales_of_blocks_are_those_of_the_largest_product() -> None:
    a, b = np.zeros((2, 300), np.uint8), np.full((130, 300), 0x38, np.uint8)
    a[1, 200] = 0x7E
    a_scale = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    b_scale = np.arange(11, 17, dtype=np.float32).reshape(2, 3)
    lines = _at(_case("scaled_mm", a=a, b=b, a_scale=a_scale, b_scale=b_scale), "out", (1, 129))
    assert lines[0] == "a_scale[1, 1] 0x40a00000 (5), b_scale[1, 1] 0x41700000 (15)"
    assert "k=200: 448 * 1" in lines[1]


def test_grouped_mm_names_the_group() -> None:
    a, b = np.full((5, 8), 0x38, np.uint8), np.full((3, 2, 8), 0x38, np.uint8)
    case = _case("grouped_mm", a=a, b=b, a_scale=1.0, b_scale=np.float32([1, 2, 3]), offsets=np.array([0, 2, 2, 4]))
    assert _at(case, "out", (2, 1))[0] == "group 2 of 3: rows 2 to 3"
    assert "b_scale of group 2 0x40400000 (3)" in _at(case, "out", (2, 1))[1]
    assert _at(case, "out", (4, 0))[0].startswith("row 4 belongs to no group")


def test_quantize_names_the_number_its_scale_and_the_quotient() -> None:
    x = np.float32([[1, 2, 4.5], [0, -448, 3]])
    case = _case("quantize", x=x, rule="vllm.per_token")
    assert _at(case, "codes", (1, 2)) == (
        "x[1, 2] 0x40400000 (3)",
        "scale[1, 0] 0x3f800000 (1)",
        "x / scale 3",
        "rule vllm.per_token",
    )
    assert _at(case, "scale", (0, 0))[0] == "largest magnitude of 3 elements: x[0, 2] 0x40900000 (4.5)"


def test_attention_counts_visible_keys() -> None:
    q, k = np.ones((2, 2, 4), ml_dtypes.bfloat16), np.ones((5, 1, 4), ml_dtypes.bfloat16)
    k[1] = 3
    lines = _at(_case("attention", q=q, k=k, v=k), "out", (0, 1, 2))
    assert lines[0] == "query 0 of 2, head 1, key head 0: 4 of 5 keys are visible"
    assert lines[1].startswith("largest scores q.k: key 1: 12, v[1, 0, 2] 3; key 0: 4")


def test_an_unknown_function_shows_the_inputs_at_the_place() -> None:
    case = Case("one", "newcomer", {"x": np.float32([[1, 2], [3, 4]]), "row": np.float32([5, 6]), "mode": "fast"})
    lines = describe(case, Mismatch("one", "out", (1, 0), "", "", 1), Outcome({"out": np.zeros((2, 2), np.float32)}))
    assert lines == ("x[1, 0] 0x40400000 (3)", "row[0] 0x40a00000 (5)", "mode fast")


def test_errors_and_other_shapes_have_no_operands() -> None:
    case = _case("residual", x=np.float32([1]), y=np.float32([2]))
    assert describe(case, Mismatch("one", "error", (), "", "", 1), Outcome(error="OpError")) == ()
    assert describe(case, Mismatch("one", "out", (), "", "", 1), Outcome({"out": np.zeros(3, np.float32)})) == ()
