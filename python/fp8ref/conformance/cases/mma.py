# SPDX-License-Identifier: Apache-2.0
"""Cases of mma: every unit on every class of operands; cut, floor, order and special values show in each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from ...golden._units import UNIT_NAMES, units_of
from ._case import Case
from ._probes import STEPS, accumulator, operands
from ._stream import BFLOAT16, FLOAT8, FLOAT16, FLOAT32, Array, Stream

E5M2 = np.dtype(ml_dtypes.float8_e5m2)
# (label, class, types of a and b, accumulators)
OPERANDS: tuple[tuple[str, str, tuple[Any, Any], tuple[str, ...]], ...] = (
    ("e4m3", "fp8", (FLOAT8, FLOAT8), ("float32", "float16")),
    ("e5m2", "fp8", (E5M2, E5M2), ("float32", "float16")),
    ("e4m3_e5m2", "fp8", (FLOAT8, E5M2), ("float32",)),
    ("e5m2_e4m3", "fp8", (E5M2, FLOAT8), ("float32",)),
    ("bf16", "bf16", (BFLOAT16, BFLOAT16), ("float32",)),
    ("fp16", "fp16", (FLOAT16, FLOAT16), ("float32", "float16")),
)
ONE_STEP = 32


def _finite(x: Array) -> Array:
    """Ones in place of infinities and NaNs."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(x.astype(np.float32)), x, x.dtype.type(1))


def _narrow(x: Array, dtype: Any) -> Array:
    """float32 values rounded to the type; the same everywhere, for they are cast once."""
    with np.errstate(over="ignore"):
        return _finite(x.astype(dtype))


def _cancelling(s: Stream, types: tuple[Any, Any], k: int) -> tuple[Array, Array]:
    """Every second product is the opposite of the one before it; a few small ones are left."""
    a, b = (_finite(s.bits((6, k), dtype)) for dtype in types)
    words = a.view(f"u{a.dtype.itemsize}")
    words[:, 1::2] = words[:, : k // 2 * 2 : 2] ^ words.dtype.type(1 << (8 * a.dtype.itemsize - 1))
    b[:, 1::2] = b[:, : k // 2 * 2 : 2]
    words[:, 7] ^= words.dtype.type(1)
    return a, b


def _inputs(name: str, types: tuple[Any, Any], out: Any) -> Iterator[tuple[str, Array, Array, Array | None]]:
    s = Stream(f"mma/{name}")
    for k in (1, 8, 15, 16, 31, 33, 100):
        a, b = (_narrow(s.normal((5, k), FLOAT32), dtype) for dtype in types)
        yield f"normal_{k}", a, b, s.normal((5, 5), out, exponent=3)
    a, b = (s.bits((9, ONE_STEP), dtype) for dtype in types)
    yield "any_bits", a, b, s.bits((9, 9), out)
    a, b = _finite(a), _finite(b)
    yield "finite", a, b, _finite(s.bits((9, 9), out))
    yield "from_zero", a, b, None
    yield "special_c", a, b, s.pick(_special(out), (9, 9))
    a, b = _cancelling(s, types, 48)
    yield "cancelling", a, b, s.normal((6, 6), out, exponent=-12)
    # Products far below the accumulator, and an accumulator far below the products.
    a, b = (_narrow(s.normal((5, 48), FLOAT32, exponent=-4), dtype) for dtype in types)
    yield "small_products", a, b, s.normal((5, 5), out, exponent=4)
    yield "nothing_but_c", np.zeros((5, 32), types[0]), np.zeros((5, 32), types[1]), s.bits((5, 5), out)


def _special(dtype: Any) -> Array:
    """Zeros, infinities, NaNs, subnormal numbers and the largest ones."""
    if np.dtype(dtype) == FLOAT16:
        words = [0, 0x8000, 1, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0xFC01]
        return np.array(words, np.uint16).view(FLOAT16)
    words = [0, 0x80000000, 1, 0x3FF, 0x400, 0x807FFFFF, 0x00800001, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0xFFC00001]
    return np.array(words, np.uint32).view(FLOAT32)


def _floor() -> Iterator[tuple[str, dict[str, Any]]]:
    """bf16 products whose exponents lie about the floor of E, where what is cut depends on it."""
    s = Stream("mma/floor")
    a, b = s.spread((12, 16), -80, -64), s.spread((12, 16), -80, -64)
    for unit in units_of("bf16", "float32"):
        yield f"floor/{unit}", {"a": a, "b": b, "c": None, "accumulate": unit}
    a, b = s.spread((12, 16), -14, -9, FLOAT16), s.spread((12, 16), -16, -10, FLOAT16)
    for unit in units_of("fp16", "float16"):
        yield f"floor_fp16/{unit}", {"a": a, "b": b, "c": None, "accumulate": unit, "out_dtype": "float16"}


def _probes() -> Iterator[Case]:
    """What tells one unit from another, with the accumulator that each probe begins with."""
    kinds = {FLOAT8: "fp8", E5M2: "fp8", BFLOAT16: "bf16", FLOAT16: "fp16"}
    for probe in STEPS:
        out = "float16" if probe.dtype == FLOAT16 else "float32"
        a, b = operands(probe)
        for unit in units_of(kinds[probe.dtype], out):
            arguments = {"a": a, "b": b, "c": accumulator(probe), "accumulate": unit, "out_dtype": out}
            yield Case(f"probe/{probe.name}/{unit}", "mma", arguments)


def _errors() -> Iterator[Case]:
    codes, wide = np.zeros((2, 4), np.uint8), np.zeros((2, 4), BFLOAT16)
    yield Case("error/classes", "mma", {"a": codes, "b": wide})
    yield Case("error/k", "mma", {"a": codes, "b": codes[:, :3]})
    yield Case("error/no_fp8", "mma", {"a": codes, "b": codes, "accumulate": "sm80_mma"})
    yield Case("error/no_half", "mma", {"a": wide, "b": wide, "out_dtype": "float16"})
    yield Case("error/unit", "mma", {"a": codes, "b": codes, "accumulate": "exact"})
    yield Case("error/c", "mma", {"a": codes, "b": codes, "c": np.zeros((2, 3), np.float32)})
    yield Case("error/c_dtype", "mma", {"a": codes, "b": codes, "c": np.zeros((2, 2), np.float16)})


def _large(level: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Long chains."""
    shapes = ((4, 6, 640),) if level == "quick" else ((4, 6, 640), (48, 40, 1024))
    for m, n, k in shapes:
        s = Stream(f"mma/{m}x{n}x{k}")
        codes, wide = [s.codes((rows, k)) for rows in (m, n)], [s.normal((rows, k)) for rows in (m, n)]
        for unit in UNIT_NAMES:
            if unit in units_of("fp8", "float32"):
                yield f"{m}x{n}x{k}/e4m3/{unit}", {"a": codes[0].view(np.uint8), "b": codes[1], "accumulate": unit}
            yield f"{m}x{n}x{k}/bf16/{unit}", {"a": wide[0], "b": wide[1], "accumulate": unit}


def cases(level: str) -> Iterator[Case]:
    """Every unit with every class of operands and accumulators that it has."""
    for label, kind, types, outs in OPERANDS:
        for out in outs:
            for name, a, b, c in _inputs(f"{label}/{out}", types, np.dtype(out)):
                for unit in units_of(kind, out):
                    arguments = {"a": a, "b": b, "c": c, "accumulate": unit, "out_dtype": out}
                    yield Case(f"{label}/{out}/{name}/{unit}", "mma", arguments)
    for group in (_floor(), _large(level)):
        for name, arguments in group:
            yield Case(name, "mma", arguments)
    yield from _probes()
    yield Case("empty/k", "mma", {"a": np.zeros((2, 0), np.uint8), "b": np.zeros((3, 0), np.uint8)})
    yield Case("empty/m", "mma", {"a": np.zeros((0, 5), np.uint8), "b": np.zeros((3, 5), np.uint8)})
    wide = {"a": np.zeros((2, 0), BFLOAT16), "b": np.zeros((3, 0), BFLOAT16), "accumulate": "sm80_mma"}
    yield Case("empty/k_bf16", "mma", wide)
    yield from _errors()
