# SPDX-License-Identifier: Apache-2.0
"""Comparing arrays by their bits: no tolerance anywhere; only NaNs are equal whatever their bits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np

BF16 = np.dtype(ml_dtypes.bfloat16)
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
# The exponent and mantissa bits of the largest finite pattern: what is above is Inf or NaN, `_NAN_ABOVE` excludes Inf.
_NAN_ABOVE = {np.dtype(np.float64): 0x7FF << 52, np.dtype(np.float32): 0x7F800000, np.dtype(np.float16): 0x7C00}
_NAN_ABOVE |= {BF16: 0x7F80, E4M3: 0x7E}


def pattern(array: Any) -> np.ndarray:
    """The bits of an array, as unsigned integers of its width."""
    array = np.asarray(array)
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").reshape(array.shape)


def from_bits(bits: Any, dtype: Any) -> np.ndarray:
    """The array of a float type that has the given bits."""
    dtype = np.dtype(dtype)
    return np.asarray(bits, dtype=f"u{dtype.itemsize}").view(dtype)


def bf16(values: Any) -> np.ndarray:
    """Numbers that bf16 holds exactly (checked), as a bf16 array."""
    wide = np.asarray(values, dtype=np.float64)
    narrow = wide.astype(np.float32).astype(BF16)
    exact = (narrow.astype(np.float64) == wide) | np.isnan(wide)
    assert exact.all(), f"not bf16 numbers: {wide[~exact]}"
    return narrow


def is_nan(array: np.ndarray) -> np.ndarray:
    """Which elements are NaN, read off the bits."""
    bits = pattern(array)
    return (bits & ((1 << (8 * array.dtype.itemsize - 1)) - 1)) > _NAN_ABOVE[array.dtype]


def differing(actual: Any, expected: Any) -> np.ndarray:
    """Indices (n, ndim) of the elements that differ in bits. Shapes and dtypes must be equal."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, f"dtype {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if actual.dtype not in _NAN_ABOVE:
        return np.argwhere(actual != expected)
    return np.argwhere((pattern(actual) != pattern(expected)) & ~(is_nan(actual) & is_nan(expected)))


def same_bits(actual: Any, expected: Any) -> bool:
    """Whether results (arrays, or tuples or dicts of arrays) are equal in type, shape and all bits."""
    try:
        assert_same_bits(actual, expected)
    except AssertionError:
        return False
    return True


def assert_same_bits(actual: Any, expected: Any, label: str = "result") -> None:
    """Fail with the place and the bits of the first difference."""
    for name, a, e in _leaves(actual, expected, label):
        where = differing(a, e)
        if len(where) == 0:
            continue
        a, e, first = np.asarray(a), np.asarray(e), tuple(int(i) for i in where[0])
        raise AssertionError(
            f"{name}: {len(where)} of {e.size} elements differ, first at {first}: "
            f"{_show(a[first])}, expected {_show(e[first])}"
        )


def _leaves(actual: Any, expected: Any, label: str) -> Iterable[tuple[str, Any, Any]]:
    if isinstance(expected, dict):
        assert list(actual) == list(expected), f"{label}: keys {list(actual)}, expected {list(expected)}"
        for key in expected:
            yield from _leaves(actual[key], expected[key], f"{label}[{key}]")
    elif isinstance(expected, tuple):
        assert len(actual) == len(expected), f"{label}: {len(actual)} results, expected {len(expected)}"
        for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
            yield from _leaves(a, e, f"{label}[{i}]")
    else:
        yield label, actual, expected


def _show(x: np.generic) -> str:
    return f"{int(pattern(x)):#x} ({x})" if x.dtype in _NAN_ABOVE else str(x)
