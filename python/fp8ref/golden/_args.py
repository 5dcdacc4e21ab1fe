# SPDX-License-Identifier: Apache-2.0
"""Argument checks that all backends share: each returns a plain array or raises OpError with the op and the argument.

Nothing here rounds. A value is taken only if it is exact in the type that the operation works in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..errors import OpError
from ._foreign import as_array
from ._round import Array as Array
from ._round import widen

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT8 = np.dtype(ml_dtypes.float8_e4m3fn)
E5M2 = np.dtype(ml_dtypes.float8_e5m2)
E8M0 = np.dtype(ml_dtypes.float8_e8m0fnu)
FLOATS = {np.dtype(t) for t in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)}
SCALES = FLOATS - {np.dtype(np.float64)}
MASKS = ("causal", "chunked", "full")
LAYOUTS = ("rotate_half", "interleaved")
LONGEST_ROW = 1 << 24  # up to here the length of a row is a float32 number
POSITIONS = 1 << 24  # a position below this is a float32 number
# Bits of float64: the largest number that rounds to zero, and the smallest that rounds to infinity.
BEYOND = {"float32": (0x3690000000000000, 0x47EFFFFFF0000000), "float64": (0, 0x7FF0000000000000)}
SCALING = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


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
        return as_array(x)
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


def fp8_array(op: str, name: str, x: Any, ndim: int | None = None) -> Array:
    """FP8 codes as a float8_e4m3fn or float8_e5m2 array; uint8 codes are E4M3. [MM-CODES]"""
    array = _array(op, name, x)
    if array.dtype == np.uint8:
        array = array.view(FLOAT8)
    if array.dtype != FLOAT8 and array.dtype != E5M2:
        raise fail(op, f"{name} must be float8_e4m3fn (or uint8, its codes) or float8_e5m2, got {describe(array)}")
    return _dimensions(op, name, array, ndim)


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


def _power_of_two(x: Array) -> NDArray[np.float32]:
    """Float32 values of E8M0 codes e: 2**(e - 127), of which e = 0 is subnormal, and NaN for e = 255. [MM-SCALES]"""
    code = x.view(np.uint8).astype(np.uint32)
    bits = np.where(code == 0, np.uint32(0x00400000), code << np.uint32(23))
    return np.asarray(np.where(code == 255, np.uint32(0x7FC00000), bits), np.uint32).view(np.float32)


def scale_values(op: str, name: str, scale: Any) -> NDArray[np.float32]:
    """Scales of any shape as float32: float32, bfloat16, float16, E8M0; no sign bit may be set. [MM-SCALES]"""
    array = _array(op, name, scale)
    array = _power_of_two(array) if array.dtype == E8M0 else _widened(op, name, array)
    if np.signbit(array).any():
        raise fail(op, f"{name} must have its sign bit clear")
    return array


def scale_array(op: str, name: str, scale: Any, shapes: Iterable[tuple[int, ...]]) -> NDArray[np.float32]:
    """A scale as float32 of shape () or of one of ``shapes``. [MM-SCALES]

    One scale for all is a number or an array of shape (), (1,) or (1, 1).
    """
    array, allowed = scale_values(op, name, scale), tuple(dict.fromkeys(shapes))
    if array.shape in ((), (1,), (1, 1)):
        array = array.reshape(())
    elif array.shape not in allowed:
        wanted = " or ".join(["one value", *(f"shape {shape}" for shape in allowed)])
        raise fail(op, f"{name} must be {wanted}, got {describe(array)}")
    return array


def float32_scale(op: str, name: str, scale: Any, rows: int | None = None) -> NDArray[np.float32]:
    """A scale as float32 of shape () or, where ``rows`` is given, (rows, 1). [MM-SCALES]"""
    return scale_array(op, name, scale, () if rows is None else ((rows, 1),))


def bias_vector(op: str, bias: Any, columns: int) -> NDArray[np.float32] | None:
    """A bias as float32 of shape (columns,), widened exactly from float32, bfloat16 or float16; None stays None."""
    if bias is None:
        return None
    array = _widened(op, "bias", bias)
    if array.shape != (columns,):
        raise fail(op, f"bias must have shape ({columns},), got {describe(array)}")
    return array


def bf16_pair(op: str, first: str, x: Any, second: str, y: Any) -> tuple[Array, Array]:
    """Two bfloat16 arrays of the same shape; nothing is broadcast. [SILU-SHAPES] [RESIDUAL-SHAPES]"""
    left, right = bf16_array(op, first, x), bf16_array(op, second, y)
    if left.shape != right.shape:
        raise fail(op, f"{first} and {second} must have the same shape, got {describe(left)} and {describe(right)}")
    return left, right


def gate_value(gate: Any) -> Array:
    """One bfloat16 number. [RESIDUAL-SHAPES]"""
    array = bf16_array("gated_residual", "gate", gate)
    if array.shape != (1,):
        raise fail("gated_residual", f"gate must have shape (1,), got {describe(array)}")
    return array


def positive(op: str, name: str, value: Any, dtype: str) -> float:
    """``value`` as float64, where its rounding to ``dtype`` is positive and finite. [RMSNORM-EPS] [ROPE-ARGUMENTS]

    Only bits are compared: the cpu backend may be called in any floating-point environment. [ROUND-ENV]
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    below, above = BEYOND[dtype]
    if not below < int(np.float64(number).view(np.int64)) < above:
        raise fail(op, f"{name} must be a number that is positive and finite in {dtype}, got {value!r}")
    return number


def count(op: str, name: str, value: Any, most: int = (1 << 63) - 1) -> int:
    """An integer from 1 to ``most``."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 1 <= value <= most:
        raise fail(op, f"{name} must be an integer from 1 to {most}, got {value!r}")
    return int(value)


def integers_array(op: str, name: str, x: Any, ndim: int) -> NDArray[np.int64]:
    """Integers as int64; an empty array may have any dtype."""
    array = _array(op, name, x)
    if array.ndim != ndim or (array.size and array.dtype.kind not in "iu"):
        raise fail(op, f"{name} must be integers with {ndim} dimensions, got {describe(array)}")
    if array.size and array.dtype == np.uint64 and array.max() >= 1 << 63:
        raise fail(op, f"{name} must be integers below 2**63, got {array.max()}")
    return array.astype(np.int64)


def rmsnorm_arrays(x: Any, weight: Any) -> tuple[Array, Array | None]:
    """x of at least one dimension, and a weight for the last one. [RMSNORM-SHAPES]"""
    array = bf16_array("rmsnorm", "x", x)
    if array.ndim == 0 or not 1 <= array.shape[-1] <= LONGEST_ROW:
        raise fail("rmsnorm", f"x must have shape (..., K) with 1 <= K <= {LONGEST_ROW}, got {describe(array)}")
    if weight is None:
        return array, None
    factors = bf16_array("rmsnorm", "weight", weight)
    if factors.shape != array.shape[-1:]:
        raise fail("rmsnorm", f"weight must have shape ({array.shape[-1]},), got {describe(factors)}")
    return array, factors


def rope_head(head_dim: Any) -> int:
    """An even number of elements of a head. [ROPE-ARGUMENTS]"""
    if not isinstance(head_dim, (int, np.integer)) or head_dim < 2 or head_dim % 2:
        raise fail("rope_frequencies", f"head_dim must be an even number >= 2, got {head_dim!r}")
    return int(head_dim)


def rope_scaling(scaling: Mapping[str, Any]) -> tuple[float, ...]:
    """The four numbers of llama3 scaling in the order of SCALING, to be rounded to float32. [ROPE-ARGUMENTS]"""
    missing = [key for key in SCALING if key not in scaling]
    if missing:
        raise fail("rope_frequencies", f"scaling lacks {', '.join(missing)}")
    return tuple(positive("rope_frequencies", key, scaling[key], "float32") for key in SCALING)


def position_array(op: str, positions: Any) -> NDArray[np.int64]:
    """Positions that are float32 numbers. [ROPE-ARGUMENTS] [TEMPERATURE-ARGUMENTS]"""
    index = integers_array(op, "positions", positions, 1)
    if index.size and (index.min() < 0 or index.max() >= POSITIONS):
        raise fail(op, f"positions must lie in [0, 2**24), got {index.min()} to {index.max()}")
    return index


def rope_arrays(x: Any, cos: Any, sin: Any, layout: str) -> tuple[Array, Array, Array]:
    """Heads of an even number of elements, and a table for each token. [ROPE-ARGUMENTS]"""
    choice("rope", "layout", layout, LAYOUTS)
    array = bf16_array("rope", "x", x, 3)
    tables = [float32_array("rope", name, table, 2) for name, table in (("cos", cos), ("sin", sin))]
    tokens, _, d = array.shape
    for name, table in zip(("cos", "sin"), tables, strict=True):
        if d % 2 or table.shape != (tokens, d // 2):
            raise fail("rope", f"x {array.shape} needs {name} of shape (T, d // 2) with d even, got {describe(table)}")
    return array, tables[0], tables[1]


def temperature_scales(floor_scale: Any, attn_scale: Any) -> tuple[float, float]:
    """Two numbers, to be rounded to float32. [TEMPERATURE-ARGUMENTS]"""
    op = "temperature_factors"
    return positive(op, "floor_scale", floor_scale, "float32"), positive(op, "attn_scale", attn_scale, "float32")


def temperature_arrays(x: Any, factors: Any) -> tuple[Array, Array]:
    """Heads, and a factor for each token. [TEMPERATURE-ARGUMENTS]"""
    array, values = bf16_array("temperature", "x", x, 3), float32_array("temperature", "factors", factors, 1)
    if values.shape != array.shape[:1]:
        raise fail("temperature", f"x {array.shape} needs factors of shape (T,), got {describe(values)}")
    return array, values


def attention_arrays(q: Any, k: Any, v: Any, mask: str, chunk: Any) -> tuple[Array, Array, Array]:
    """Queries, keys and values that fit together under that mask. [ATTN-SHAPES] [ATTN-VISIBLE]"""
    choice("attention", "mask", mask, MASKS)
    if mask != "chunked" and chunk is not None:
        raise fail("attention", f"chunk belongs to mask='chunked', got chunk={chunk!r} and mask={mask!r}")
    if mask == "chunked":
        count("attention", "chunk", chunk)
    q, k, v = (bf16_array("attention", name, x, 3) for name, x in (("q", q), ("k", k), ("v", v)))
    (queries, heads, d), (keys, kv_heads, width) = q.shape, k.shape
    if k.shape != v.shape or d != width or d == 0 or kv_heads == 0 or heads % kv_heads:
        shapes = ", ".join(f"{name}: {describe(x)}" for name, x in (("q", q), ("k", k), ("v", v)))
        wanted = "q (T, Hq, d), k and v (S, Hkv, d), d >= 1, Hq a multiple of Hkv"
        raise fail("attention", f"expected {wanted}; got {shapes}")
    if mask != "full" and keys < queries:
        raise fail("attention", f"a {mask} mask needs at least as many keys as queries, got {keys} and {queries}")
    return q, k, v


def attention_scale(scale: Any) -> float | None:
    """A factor of the scores, or None for the default. [ATTN-SCALE]"""
    if scale is None:
        return None
    try:
        number = float(scale)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0.0 <= number < 2.0**127:
        raise fail("attention", f"scale must be a number >= 0 and below 2**127, got {scale!r}")
    return number


def logits_array(logits: Any) -> Array:
    """Logits with at least one entry in the last dimension. [SAMPLE-SHAPES]"""
    array = _array("sample", "logits", logits)
    if array.dtype not in (np.dtype(np.float32), BFLOAT16):
        raise fail("sample", f"logits must be float32 or bfloat16, got {describe(array)}")
    if array.ndim == 0 or array.shape[-1] == 0:
        raise fail("sample", f"logits must have shape (..., vocabulary) with vocabulary >= 1, got {describe(array)}")
    return array
