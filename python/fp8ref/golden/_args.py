# SPDX-License-Identifier: Apache-2.0
"""Argument checks that all backends share: each returns a plain array or raises OpError with the op and the argument.

Nothing here rounds. A value is taken only if it is exact in the type that the operation works in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..errors import OpError
from ._round import Array as Array
from ._round import widen

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT8 = np.dtype(ml_dtypes.float8_e4m3fn)
FLOATS = {np.dtype(t) for t in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)}
SCALES = FLOATS - {np.dtype(np.float64)}


def fail(op: str, message: str) -> OpError:
    """The error to raise; every message begins with the operation's name."""
    return OpError(f"{op}: {message}")


def describe(x: Array) -> str:
    """Shape and dtype, as error messages give them."""
    return f"shape {x.shape}, dtype {x.dtype.name}"


def choice(op: str, name: str, value: str, allowed: Iterable[str]) -> str:
    """A policy string out of ``allowed``."""
    options = tuple(allowed)
    if not isinstance(value, str) or value not in options:
        raise fail(op, f"{name}={value!r} is unknown; known: {', '.join(options)}")
    return value


def _dimensions(op: str, name: str, x: Array, ndim: int | None) -> Array:
    if ndim is not None and x.ndim != ndim:
        raise fail(op, f"{name} must have {ndim} dimensions, got {describe(x)}")
    return x


def _array(op: str, name: str, x: Any) -> Array:
    try:
        return np.asarray(x)
    except (TypeError, ValueError) as error:
        raise fail(op, f"{name} is not an array: {error}") from None


def float_array(op: str, name: str, x: Any, ndim: int | None = None) -> Array:
    """An array of float64, float32, float16 or bfloat16; Python numbers and integer arrays become float64."""
    array = _array(op, name, x)
    if array.dtype.kind in "iu":
        array = array.astype(np.float64)
    if array.dtype not in FLOATS:
        raise fail(op, f"{name} must be float64, float32, float16 or bfloat16, got {describe(array)}")
    return _dimensions(op, name, array, ndim)


def bf16_array(op: str, name: str, x: Any, ndim: int | None = None) -> Array:
    """A bfloat16 array with ``ndim`` dimensions (any number if None)."""
    array = _array(op, name, x)
    if array.dtype != BFLOAT16:
        raise fail(op, f"{name} must be bfloat16, got {describe(array)}")
    return _dimensions(op, name, array, ndim)


def float32_array(op: str, name: str, x: Any, ndim: int | None = None) -> Array:
    """A float32 array with ``ndim`` dimensions (any number if None)."""
    array = _array(op, name, x)
    if array.dtype != np.float32:
        raise fail(op, f"{name} must be float32, got {describe(array)}")
    return _dimensions(op, name, array, ndim)


def codes_array(op: str, name: str, x: Any, ndim: int | None = None) -> NDArray[np.uint8]:
    """E4M3 codes, given as float8_e4m3fn or uint8, as a uint8 array."""
    array = _array(op, name, x)
    if array.dtype != FLOAT8 and array.dtype != np.uint8:
        raise fail(op, f"{name} must be E4M3 codes (float8_e4m3fn or uint8), got {describe(array)}")
    return _dimensions(op, name, array, ndim).view(np.uint8)


def _widened(op: str, name: str, x: Any) -> Array:
    """Float32 values of float32, bfloat16 or float16 input, exactly; also of Python numbers that float32 holds."""
    array = _array(op, name, x)
    if array.dtype in SCALES:
        return widen(array)
    if array.ndim or array.dtype.kind not in "fiu":
        raise fail(op, f"{name} must be float32, bfloat16 or float16, got {describe(array)}")
    with np.errstate(over="ignore", invalid="ignore"):
        value = array.astype(np.float32)
    if not np.isnan(array) and value.astype(np.float64) != array.astype(np.float64):
        raise fail(op, f"{name}={array.item()!r} is not a float32 number; round it first, as in numpy.float32(...)")
    return np.asarray(value)


def float32_scale(op: str, name: str, scale: Any, rows: int | None = None) -> NDArray[np.float32]:
    """A scale as float32 of shape () or, where ``rows`` is given, (rows, 1). [MM-SCALES]

    One scale for all is a number or an array of shape (), (1,) or (1, 1). Its sign bit must be clear.
    """
    array = _widened(op, name, scale)
    if array.shape in ((), (1,), (1, 1)):
        array = array.reshape(())
    elif rows is None or array.shape != (rows, 1):
        wanted = "one value" if rows is None else f"one value or shape ({rows}, 1)"
        raise fail(op, f"{name} must be {wanted}, got {describe(array)}")
    if np.signbit(array).any():
        raise fail(op, f"{name} must have its sign bit clear")
    return array


def bias_vector(op: str, bias: Any, columns: int) -> NDArray[np.float32] | None:
    """A bias as float32 of shape (columns,), widened exactly from float32, bfloat16 or float16; None stays None."""
    if bias is None:
        return None
    array = _widened(op, "bias", bias)
    if array.shape != (columns,):
        raise fail(op, f"bias must have shape ({columns},), got {describe(array)}")
    return array
