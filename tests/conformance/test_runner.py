# SPDX-License-Identifier: Apache-2.0
"""What counts as equal, what a mismatch says, and the report."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fp8ref.conformance import Outcome, check
from fp8ref.conformance.outcome import compare, difference


def _outcome(*arrays: Any) -> Outcome:
    return Outcome({f"output {i}": np.asarray(array) for i, array in enumerate(arrays)})


def _bits(bits: list[int], dtype: Any) -> Any:
    return np.array(bits, dtype=f"u{np.dtype(dtype).itemsize}").view(dtype)


@pytest.mark.parametrize(
    ("dtype", "nan", "other"),
    [
        (np.float32, 0x7FC00000, 0xFFC00001),
        (np.float16, 0x7E00, 0xFE01),
        (ml_dtypes.bfloat16, 0x7FC0, 0xFF81),
        (ml_dtypes.float8_e4m3fn, 0x7F, 0xFF),
    ],
)
def test_nans_are_equal_and_zeros_are_not(dtype: Any, nan: int, other: int) -> None:
    top = 1 << (8 * np.dtype(dtype).itemsize - 1)
    one, two = _bits([nan, 0, 1], dtype), _bits([other, top, 1], dtype)
    assert difference(one, two).tolist() == [False, True, False]


def test_integers_are_compared_as_they_are() -> None:
    assert difference(np.array([0x7F, 1], np.uint8), np.array([0xFF, 1], np.uint8)).tolist() == [True, False]
    assert difference(np.array([1], np.int64), np.array([2], np.int64)).tolist() == [True]


def test_mismatch_names_the_first_coordinates_and_both_bit_patterns() -> None:
    expected, got = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    got[1, 0], got[1, 2] = 1.0, -0.0
    mismatch = compare("a case", _outcome(expected), _outcome(got))
    assert mismatch is not None
    assert (mismatch.case, mismatch.output, mismatch.index, mismatch.differing) == ("a case", "output 0", (1, 0), 2)
    assert (mismatch.expected, mismatch.got) == ("0x00000000 (0)", "0x3f800000 (1)")
    assert (mismatch.size, mismatch.ulp) == (6, 0x3F800000)
    assert mismatch.histogram == (1, 0, 0, 0, 0, 0, 1, 0)


@pytest.mark.parametrize("got", [np.zeros(3, np.float32), np.zeros((1, 2), np.float32), np.zeros(2, np.float64)])
def test_another_shape_or_type_is_a_mismatch(got: Any) -> None:
    assert compare("a case", _outcome(np.zeros(2, np.float32)), _outcome(got)) is not None


def test_errors_must_agree() -> None:
    error, result = Outcome(error="OpError"), _outcome(np.zeros(2))
    assert compare("a case", error, error) is None
    for expected, got in ((error, result), (result, error)):
        mismatch = compare("a case", expected, got)
        assert mismatch is not None
        assert {mismatch.expected, mismatch.got} == {"OpError", "a result"}


def test_a_missing_output_is_a_mismatch() -> None:
    assert compare("a case", _outcome(np.zeros(2), np.zeros(2)), _outcome(np.zeros(2))) is not None


def test_scalars_have_no_coordinates() -> None:
    mismatch = compare("a case", _outcome(np.float32(1)), _outcome(np.float32(2)))
    assert mismatch is not None
    assert mismatch.index == ()


def test_check_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="unknown op 'nothing'"):
        check("golden", ["nothing"])
