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


def test_attention_shows_the_keys_of_the_chunk() -> None:
    q, k = np.ones((2, 1, 4), ml_dtypes.bfloat16), np.ones((6, 1, 4), ml_dtypes.bfloat16)
    k[3], k[4] = 5, 3
    lines = _at(_case("attention", q=q, k=k, v=k, mask="chunked", chunk=4), "out", (1, 0, 2))
    assert lines[0] == "query 1 of 2, head 0, key head 0: 2 of 6 keys are visible"
    assert lines[1] == "largest scores q.k: key 4: 12, v[4, 0, 2] 3; key 5: 4, v[5, 0, 2] 1"
    assert lines[2] == "mask chunked, chunk 4"


def test_rope_names_the_pair_of_its_layout() -> None:
    x, table = np.arange(8).reshape(1, 1, 8).astype(ml_dtypes.bfloat16), np.float32([[1, 2, 3, 4]])
    for layout, pair in (("rotate_half", (1, 5)), ("interleaved", (4, 5))):
        lines = _at(_case("rope", x=x, cos=table, sin=table, layout=layout), "out", (0, 0, 5))
        assert [f"x[0, 0, {i}]" in lines[0] for i in range(8)] == [i in pair for i in range(8)]
        assert f"cos[0, {1 if layout == 'rotate_half' else 2}]" in lines[1]


def test_experts_name_tokens_and_choices() -> None:
    bf16 = ml_dtypes.bfloat16
    route = _case("route", logits=np.array([[1, 3, 2], [0, 1, 5]], bf16), top_k=2)
    assert _at(route, "scores", (1, 1))[0] == "choice 1 of token 1: logits[1, 1] 0x3f80 (1)"
    assert _at(route, "experts", (0, 0))[1].startswith("largest of 3 logits: logits[0, 1] 0x4040 (3), logits[0, 2]")
    x, scores = np.array([[1, 2], [3, 4]], bf16), np.array([[0.5, 1], [2, 4]], bf16)
    sent = _case("dispatch", x=x, experts=np.array([[2, 0], [0, 1]]), scores=scores, num_experts=3)
    assert _at(sent, "inputs", (1, 1)) == (
        "row 1 is pair 2: token 1, choice 0, expert 0",
        "x[1, 1] 0x4080 (4), scores[1, 0] 0x4000 (2)",
        "num_experts 3",
    )
    assert _at(sent, "order", (3,))[0] == "row 3 is pair 0: token 0, choice 0, expert 2"
    assert _at(sent, "offsets", (2,))[0] == "3 of 4 pairs have an expert below 2"
    parts = np.array([[1], [2], [3], [4]], bf16)
    added = _case("combine", routed=parts, order=np.array([1, 2, 0, 3]), shared=np.array([[5], [6]], bf16))
    assert _at(added, "out", (0, 0)) == (
        "shared[0, 0] 0x40a0 (5)",
        "2 of 2 routed terms: routed[2, 0] 0x4040 (3), routed[0, 0] 0x3f80 (1)",
    )


def test_an_unknown_function_shows_the_inputs_at_the_place() -> None:
    case = Case("one", "newcomer", {"x": np.float32([[1, 2], [3, 4]]), "row": np.float32([5, 6]), "mode": "fast"})
    lines = describe(case, Mismatch("one", "out", (1, 0), "", "", 1), Outcome({"out": np.zeros((2, 2), np.float32)}))
    assert lines == ("x[1, 0] 0x40400000 (3)", "row[0] 0x40a00000 (5)", "mode fast")


def test_errors_and_other_shapes_have_no_operands() -> None:
    case = _case("residual", x=np.float32([1]), y=np.float32([2]))
    assert describe(case, Mismatch("one", "error", (), "", "", 1), Outcome(error="OpError")) == ()
    assert describe(case, Mismatch("one", "out", (), "", "", 1), Outcome({"out": np.zeros(3, np.float32)})) == ()
