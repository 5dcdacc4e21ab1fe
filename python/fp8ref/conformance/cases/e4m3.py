# SPDX-License-Identifier: Apache-2.0
"""Cases of encode and decode: every 16-bit input, every midpoint of the grid, and values a hair beside them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._case import Case
from ._stream import BFLOAT16, FLOAT8, FLOAT16, FLOAT32, Array, Stream


def _grid() -> Array:
    """The non-negative finite values of the codes 0x00 .. 0x7E, and 480, the step that the format does not have."""
    values = np.arange(127, dtype=np.uint8).view(FLOAT8).astype(np.float64)
    return np.append(values, 480.0)


def _midpoints() -> Array:
    """Between neighbours, 464 included; a tie goes to the even code."""
    grid = _grid()
    return (grid[1:] + grid[:-1]) / 2


def _both_signs(values: Array) -> Array:
    return np.concatenate([values, -values])


def _around(values: Array) -> Array:
    """float32 values and their two neighbours on each side."""
    centre = values.astype(np.float32).view(np.int32)
    near = centre[:, None] + np.arange(-2, 3, dtype=np.int32)
    return np.abs(near.ravel()).astype(np.int32).view(np.float32)


def _past_float32(values: Array) -> Array:
    """float64 values so near to a midpoint that a float32 on the way would round twice. [ROUND-ONCE]"""
    return np.concatenate([values * (1 + step * 2.0**-40) for step in (-1, 0, 1)])


def _inputs(level: str) -> Iterator[tuple[str, Array]]:
    every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    yield "all_bf16", every.view(BFLOAT16)
    yield "all_fp16", every.view(FLOAT16)
    yield "midpoints_fp32", _both_signs(_around(_midpoints()))
    yield "grid_fp32", _both_signs(_around(_grid()[1:]))
    yield "midpoints_fp64", _both_signs(_past_float32(_midpoints()))
    yield "overflow_fp64", _both_signs(np.array([448, 463.99, 464, 464 + 2.0**-30, 464.01, 480, 1e300, np.inf, np.nan]))
    yield "tiny_fp64", _both_signs(np.array([0.0, 5e-324, 2.0**-149, 2.0**-11, 2.0**-10, 2.0**-10 + 2.0**-60, 2.0**-9]))
    # Above 1.8125, so 1.875; onnxruntime#16938 gave 1.75.
    yield "onnxruntime_16938", _both_signs(np.array([1.8131605], np.float32))
    # Every binade above the largest number, where a NaN, a clamp and a wrapped exponent part (universal#1302).
    yield (
        "beyond_largest",
        _both_signs(np.ldexp(np.array([1, 1.75, 1.8125, 1.875], np.float32), np.arange(8, 128)[:, None])),
    )
    yield "random_fp32", Stream("e4m3/random_fp32").bits((1 << 15,), FLOAT32)
    yield "random_fp64", Stream("e4m3/random_fp64").spread((1 << 12,), -12, 10, FLOAT32).astype(np.float64)
    yield "shape_3d", Stream("e4m3/shape_3d").normal((3, 5, 7), FLOAT32)
    yield "shape_0d", np.array(1.0625, dtype=np.float64)
    yield "empty", np.zeros((0, 4), dtype=np.float32)
    if level == "full":
        for part in range(32):
            yield f"random_fp32_{part}", Stream(f"e4m3/random_fp32_{part}").bits((1 << 20,), FLOAT32)


def exhaustive() -> Iterator[Case]:
    """encode of all 2**32 float32 patterns."""
    for part in range(1 << 8):
        x = np.arange(part << 24, (part + 1) << 24, dtype=np.uint32).view(FLOAT32)
        for overflow in ("saturate", "nan"):
            yield Case(f"encode/{overflow}/every_fp32_{part:02x}", "encode", {"x": x, "overflow": overflow})


def cases(level: str) -> Iterator[Case]:
    """Every input under both overflow policies; all 256 codes back."""
    for name, x in _inputs(level):
        for overflow in ("saturate", "nan"):
            yield Case(f"encode/{overflow}/{name}", "encode", {"x": x, "overflow": overflow})
    every = np.arange(256, dtype=np.uint8)
    yield Case("decode/all", "decode", {"codes": every.view(FLOAT8)})
    yield Case("decode/all_uint8", "decode", {"codes": every.reshape(16, 4, 4)})
    yield Case("encode/unknown_overflow", "encode", {"x": np.ones(1, dtype=np.float32), "overflow": "wrap"})
