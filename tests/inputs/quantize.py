# SPDX-License-Identifier: Apache-2.0
"""Inputs of the scale rules: places where two rules, or one rule and a slip in it, part ways."""

from __future__ import annotations

from functools import cache

import ml_dtypes
import numpy as np

from bits import BF16, E4M3, from_bits

from .case import Case
from .e4m3 import MIDPOINTS

ROW_RULES = ("vllm.per_token", "compressed_tensors.channel")
TENSOR_RULES = ("compressed_tensors.tensor", "autofp8.per_tensor")
STATIC = "vllm.per_tensor_static"
DTYPES = (BF16, np.dtype(np.float16), np.dtype(np.float32))

# x/s is a tie for these two numbers and x*RN32(1/s) is above it.
RECIPROCAL_TRAP = (1.078125, 0.0031585693359375)
# The quotient's bf16 rounding is a tie, the quotient itself is not.
DOUBLE_ROUNDING_TRAP = (0.06787109375, 0.016357421875)
# amax/448, amax*RN32(1/448), 448/amax and recip(amax)*448 take different bits here, two by two.
SCALE_TRAPS = (1.015625, 1.0234375, 1.046875)


def _specials(dtype: np.dtype) -> list[list[float]]:
    info = ml_dtypes.finfo(dtype)
    tiny, least, most = float(info.tiny), float(info.smallest_subnormal), float(info.max)
    return [
        [0.0, 0.0, 0.0, 0.0],
        [0.0, -0.0, -0.0, 0.0],
        [-0.0, 1.0, -1.0, 0.0],
        [np.nan, 1.0, -2.0, 0.0],
        [np.nan, np.nan, np.nan, -np.nan],
        [np.inf, 1.0, -2.0, -0.0],
        [-np.inf, np.inf, -3.0, 0.0],
        [-np.inf, np.nan, 5.0, -0.0],
        [least, -least, 2 * least, 0.0],
        [tiny, -tiny, least, -least],
        [most, -most, 1.0, -least],
        [most / 2, least, -tiny, 1.0],
        [0.005, 0.001, -0.0, 0.0],
        [0.001, 0.002, -0.00001, 0.0],
        [448.0, 464.0, -0.001953125, -0.0009765625],
        [448.0, 0.0009765625, -0.0009765625, 0.00048828125],
        [1e-6, -1e-6, 2e-7, 1e-7],
        [0.0018, -0.0019, 0.00195, 0.0017],
        [*RECIPROCAL_TRAP, 0.0, 0.0],
        [*DOUBLE_ROUNDING_TRAP, 0.0, 0.0],
        *([amax, -amax / 3, amax / 7, -amax / 300] for amax in SCALE_TRAPS),
    ]


def _array(values: object, dtype: np.dtype) -> np.ndarray:
    """Any representable number near each value; which one does not matter."""
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float32).astype(dtype)


def _random(rng: np.random.Generator, rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    return _array(rng.standard_normal((rows, columns)) * 10.0 ** rng.uniform(-4, 2, (rows, 1)), dtype)


def _ties(dtype: np.dtype) -> np.ndarray:
    """amax is 448, so the scale is 1 and each midpoint of E4M3 is a tie; and its neighbours."""
    middle = _array([448.0, *[m for m in MIDPOINTS if m < 448]], dtype)
    bits = middle.view(f"u{dtype.itemsize}")
    around = np.stack([bits, np.concatenate([bits[:1], bits[1:] + 1]), np.concatenate([bits[:1], bits[1:] - 1])])
    return np.concatenate([around.view(dtype), -around.view(dtype)])


def _rows(dtype: np.dtype) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    return {
        "specials": _array(_specials(dtype), dtype),
        "ties": _ties(dtype),
        "random": _random(rng, 60, 23, dtype),
        "no rows": _array(np.zeros((0, 5)), dtype),
        "no columns": _array(np.zeros((3, 0)), dtype),
        "every mantissa": _array(np.linspace(1, 2, 128, endpoint=False)[:, None] * [1, 0.3, -0.01], dtype),
    }


@cache
def cases() -> list[Case]:
    """All calls of quantize and dequantize."""
    found = []
    for dtype in DTYPES:
        for name, x in _rows(dtype).items():
            found += [Case(f"{rule}, {dtype}, {name}", "quantize", x=x, rule=rule) for rule in ROW_RULES]
            if name in ("random", "every mantissa", "no rows"):
                found += [Case(f"{rule}, {dtype}, {name}", "quantize", x=x, rule=rule) for rule in TENSOR_RULES]
            else:
                found += [
                    Case(f"{rule}, {dtype}, {name} {i}", "quantize", x=row, rule=rule)
                    for rule in TENSOR_RULES
                    for i, row in enumerate(x)
                    if row.size
                ]
        found += [
            Case(f"{rule}, {dtype}, amax {amax}", "quantize", x=_array([[[amax], [amax / 5]]], dtype), rule=rule)
            for rule in TENSOR_RULES
            for amax in np.linspace(1, 2, 32, endpoint=False)
        ]
        found += _static_cases(dtype)
    return found + _dequantize_cases()


def _static_cases(dtype: np.dtype) -> list[Case]:
    trap = from_bits(0x3B1DB6DB, np.float32)[()]
    scales = [trap, np.float32(1), np.float32(0.013), np.float32(0), np.float32(np.inf), np.float32(np.nan)]
    scales += [from_bits(1, np.float32)[()], from_bits(0x7F7FFFFF, np.float32)[()]]
    x = np.concatenate([_array(_specials(dtype), dtype), _random(np.random.default_rng(5), 30, 4, dtype)])
    return [Case(f"{STATIC}, {dtype}, {s}", "quantize", x=x, rule=STATIC, scale=s) for s in scales] + [
        Case(f"{STATIC}, {dtype}, ties", "quantize", x=_ties(dtype), rule=STATIC, scale=np.float32(1))
    ]


def _dequantize_cases() -> list[Case]:
    codes = from_bits(np.arange(256).reshape(16, 16), E4M3)
    rng = np.random.default_rng(6)
    per_row = (2.0 ** rng.uniform(-30, 8, (16, 1))).astype(np.float32)
    edges = from_bits([0, 1, 0x00800000, 0x7F800000, 0x7FC00000, 0x7F7FFFFF, 0x3F800000, 0x33800000], np.float32)
    scales = {"per row": per_row, **{f"scale {s}": s for s in edges}}
    listed = [
        Case(f"dequantize, {out}, {name}", "dequantize", codes=codes, scale=s, out_dtype=out)
        for out in ("bfloat16", "float16", "float32")
        for name, s in scales.items()
    ]
    # code * s beside a tie of the output: RN32 makes it the tie.
    odd = from_bits([0x39, 0x3A, 0x3B, 0x3D, 0x3F, 0x3C], E4M3)
    for out, bits in (("bfloat16", 8), ("float16", 11)):
        ties = 1 + (2 * np.arange(16) + 1) * 2.0**-bits
        near = [(ties / float(code)).astype(np.float32) for code in odd]
        scale = np.concatenate([x for s in near for x in (s, np.nextafter(s, 0), np.nextafter(s, 4))])[:, None]
        codes = np.broadcast_to(odd, (len(scale), len(odd))).copy()
        listed.append(Case(f"dequantize, {out}, ties", "dequantize", codes=codes, scale=scale, out_dtype=out))
    return listed
