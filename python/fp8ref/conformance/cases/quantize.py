# SPDX-License-Identifier: Apache-2.0
"""Cases of the scale rules: amax zero, tiny, huge, NaN, infinite; quotients on midpoints; every dtype; odd shapes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._case import BF16_SPECIAL, Case
from ._stream import BFLOAT16, FLOAT8, FLOAT16, FLOAT32, Array, Stream

DYNAMIC = ("vllm.per_token", "compressed_tensors.channel", "compressed_tensors.tensor", "autofp8.per_tensor")
STATIC = "vllm.per_tensor_static"
DTYPES = {"bf16": BFLOAT16, "fp16": FLOAT16, "fp32": FLOAT32}


def _midpoint_row(width: int) -> Array:
    """448 first, so that the scale is one, then midpoints of the grid of both signs."""
    grid = np.append(np.arange(127, dtype=np.uint8).view(FLOAT8).astype(np.float64), 480.0)
    middle = (grid[1:] + grid[:-1]) / 2
    row = np.concatenate([[448.0], middle[middle < 448], -middle[middle < 448]])
    return np.resize(row, width).astype(np.float32)


def _trap_rows(dtype: Array, width: int) -> Iterator[tuple[str, Array]]:
    """One row for each trap, as float32 values that every dtype holds or rounds alike."""
    info = {BFLOAT16: (2.0**-133, 3.0e38), FLOAT16: (2.0**-24, 65504.0), FLOAT32: (2.0**-149, 3.0e38)}
    smallest, largest = info[np.dtype(dtype)]
    ramp = np.linspace(-1, 1, width, dtype=np.float64)
    yield "zero", np.zeros(width)
    yield "negative_zero", np.full(width, -0.0)
    yield "smallest", np.where(np.arange(width) % 3 == 0, smallest, 0.0)
    yield "tiny", ramp * smallest * 100
    yield "largest", ramp * largest
    yield "midpoints", _midpoint_row(width)
    yield "midpoints_scaled", _midpoint_row(width) * np.float32(2.0**-7)
    yield "one_outlier", np.where(np.arange(width) == width // 2, 1000.0, ramp)
    yield "negative_max", np.minimum(ramp, 0.0) * 3


def _specials(dtype: Array, width: int) -> Iterator[tuple[str, Array]]:
    ramp = np.linspace(-2, 3, width, dtype=np.float64)
    first = np.arange(width) == 0
    yield "nan", np.where(first, np.nan, ramp)
    yield "inf", np.where(first, np.inf, ramp)
    yield "minus_inf", np.where(first, -np.inf, ramp)
    yield "inf_and_nan", np.where(first, np.nan, np.where(np.arange(width) == 1, np.inf, ramp))
    yield "all_nan", np.full(width, np.nan)


def _inputs(label: str, level: str) -> Iterator[tuple[str, Array]]:
    """(name, x) for one dtype. Traps are cases of their own for tensor rules, and rows of one matrix for row rules."""
    dtype = DTYPES[label]
    for shape in ((1, 1), (3, 37), (5, 256), (2, 0), (0, 8)):
        name = f"{shape[0]}x{shape[1]}"
        yield name, Stream(f"quantize/{label}/{name}").normal(shape, dtype, exponent=-3)
    rows = [*_trap_rows(dtype, 293), *_specials(dtype, 293)]
    for name, row in rows:
        yield name, row.astype(np.float32).astype(dtype)[None, :]
    yield "trap_matrix", np.stack([row.astype(np.float32).astype(dtype) for _, row in rows])
    # One scale a row from every exponent: quotients land near midpoints in many ways.
    for count in (96, 4096) if level == "full" else (96,):
        s = Stream(f"quantize/{label}/spread_{count}")
        spread = s.spread((count, 64), -14, 14, FLOAT32)
        yield f"spread_{count}", np.ldexp(spread, s.integers((count, 1), -3, 3)).astype(dtype)
    if level == "full":
        yield "large", Stream(f"quantize/{label}/large").normal((1536, 576), dtype, exponent=-5)
        yield "random_bits", Stream(f"quantize/{label}/bits").bits((2048, 16), dtype)


def _static_scales() -> Iterator[tuple[str, np.float32]]:
    yield "typical", np.float32(0.0123456789)
    yield "power_of_two", np.float32(2.0**-6)
    yield "zero", np.float32(0)
    yield "smallest", np.float32(2.0**-149)
    yield "largest", np.finfo(np.float32).max
    yield "inf", np.float32(np.inf)
    yield "nan", np.float32(np.nan)
    yield "negative", np.float32(-1.0)


def _static(level: str) -> Iterator[Case]:
    for label, dtype in DTYPES.items():
        x = Stream(f"quantize/static/{label}").normal((7, 129), dtype)
        for name, scale in _static_scales():
            yield Case(f"{STATIC}/{label}/{name}", "quantize", {"x": x, "rule": STATIC, "scale": scale})
        # RN32(n * RN32(1/n)) is not 1 for n of 41, 47, 55, 61, 83: there x * RN32(1/s) and x / s disagree.
        for divisor in (1.0, 1 / 3, 0.7, 41.0, 47.0, 55 / 64, 61.0, 83.0):
            x = (_midpoint_row(300) * np.float32(divisor))[None, :].astype(dtype)
            arguments = {"x": x, "rule": STATIC, "scale": np.float32(divisor)}
            yield Case(f"{STATIC}/{label}/midpoints_{divisor:.3f}", "quantize", arguments)
    special = {"x": BF16_SPECIAL[None, :], "rule": STATIC, "scale": np.float32(0.5)}
    yield Case(f"{STATIC}/special", "quantize", special)
    yield Case(f"{STATIC}/no_scale", "quantize", {"x": BF16_SPECIAL[None, :], "rule": STATIC})
    if level == "full":
        every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(BFLOAT16).reshape(256, 256)
        for scale in Stream("quantize/static/full").scales((8,)):
            yield Case(f"{STATIC}/all_bf16_{scale!r}", "quantize", {"x": every, "rule": STATIC, "scale": scale})


def _near_midpoints(precision: int) -> Array:
    """Scales (rows, 1) whose products with the codes 9/8 .. 15/8 lie a hair beside a midpoint of ``precision`` bits.

    RN32 moves such a product onto the midpoint, so a result rounded only once differs. [QUANT-DEQUANTIZE]
    """
    middle = 1 + (2 * np.arange(48) + 1) * 2.0**-precision
    return np.concatenate([middle / odd for odd in (9, 11, 13, 15)]).astype(np.float32)[:, None] * np.float32(8)


def _dequantize() -> Iterator[Case]:
    codes = np.tile(np.arange(256, dtype=np.uint8), (9, 1)).view(FLOAT8)
    rows = np.array([0, 2.0**-149, 2.0**-135, 2.0**-120, 0.1, 1, 3e38, np.inf, np.nan], dtype=np.float32)[:, None]
    for out_dtype in ("bfloat16", "float16", "float32"):
        arguments = {"codes": codes, "out_dtype": out_dtype}
        yield Case(f"dequantize/{out_dtype}/rows", "dequantize", {**arguments, "scale": rows})
        random = Stream(f"dequantize/{out_dtype}").scales((9, 1), -20, 4)
        yield Case(f"dequantize/{out_dtype}/random", "dequantize", {**arguments, "scale": random})
        near = _near_midpoints({"bfloat16": 8, "float16": 11, "float32": 24}[out_dtype])
        wide = np.resize(codes, (len(near), 256))
        yield Case(f"dequantize/{out_dtype}/midpoints", "dequantize", {**arguments, "codes": wide, "scale": near})
        yield Case(f"dequantize/{out_dtype}/scalar", "dequantize", {**arguments, "scale": np.float32(1 / 3)})
    yield Case("dequantize/negative_scale", "dequantize", {"codes": codes, "scale": np.float32(-1.0)})


def cases(level: str) -> Iterator[Case]:
    """Each dynamic rule on each dtype and trap, the static rule on its scales, and dequantize on all codes."""
    for rule in DYNAMIC:
        for label in DTYPES:
            for name, x in _inputs(label, level):
                yield Case(f"{rule}/{label}/{name}", "quantize", {"x": x, "rule": rule})
    yield from _static(level)
    yield from _dequantize()
    yield Case("unknown_rule", "quantize", {"x": BF16_SPECIAL[None, :], "rule": "nobody.knows"})
