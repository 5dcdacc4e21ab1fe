# SPDX-License-Identifier: Apache-2.0
"""Inputs of the scale rules: places where two rules, or one rule and a slip in it, part ways."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import ml_dtypes
import numpy as np

from bits import BF16, E4M3, from_bits
from witness.quantize import BOUNDED, GIVEN, GRANULARITY, SEARCH

from .case import Case
from .e4m3 import MIDPOINTS

DTYPES = (BF16, np.dtype(np.float16), np.dtype(np.float32))
COMPUTED = tuple(sorted(set(GRANULARITY) - set(GIVEN) - set(SEARCH)))  # rules that make a scale of amax alone
STATIC = "vllm.per_tensor_static"

# x/s is a tie for these two numbers and x*RN32(1/s) is above it.
RECIPROCAL_TRAP = (1.078125, 0.0031585693359375)
# The quotient's bf16 rounding is a tie, the quotient itself is not.
DOUBLE_ROUNDING_TRAP = (0.06787109375, 0.016357421875)
# amax/448, amax*RN32(1/448), 448/amax and recip(amax)*448 take different bits here, two by two.
SCALE_TRAPS = (1.015625, 1.0234375, 1.046875)
# The floors of the rules, as numbers that amax has there.
FLOORS = (1e-12, 1e-10, 448e-10, 1e-4, 1.0 / 512, 448e-6, 448 * 2.0**-23, 448 * 2.0**-10)


def _specials(dtype: np.dtype) -> list[list[float]]:
    info = ml_dtypes.finfo(dtype)
    tiny, least, most = float(info.tiny), float(info.smallest_subnormal), float(info.max)
    return [
        [0.0, 0.0, 0.0, 0.0],
        [0.0, -0.0, -0.0, 0.0],
        [-0.0, 1.0, -1.0, 0.0],
        [np.nan, 1.0, -2.0, 0.0],
        [1.0, np.nan, -2.0, 0.0],
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
        *([amax, -amax / 3, amax / 7, -0.0] for floor in FLOORS for amax in (floor * 0.9, floor, floor * 1.1)),
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


def _beside_powers() -> np.ndarray:
    """Rows whose amax/448 is a power of two or some ulp beside it: where ceil and floor of a rounded log2 go wrong."""
    powers = np.array([448 * 2.0**k for k in (-20, -10, -8, 0, 5)], np.float32).view(np.uint32)
    amax = (powers[:, None] + np.array([-6, -5, -2, -1, 0, 1, 2, 5, 6], np.int64)).astype(np.uint32).view(np.float32)
    return amax.reshape(-1, 1) * np.array([1, -0.3, 0.01], np.float32)


def _mantissas(dtype: np.dtype) -> np.ndarray:
    """Every bf16 mantissa as amax, at two exponents."""
    amax = np.linspace(1, 2, 128, endpoint=False)
    return _array(np.concatenate([amax, 2 * amax[::3]])[:, None] * [1, -0.3], dtype)


def _rows(dtype: np.dtype) -> dict[str, np.ndarray]:
    """Matrices of short rows, each of them a case of its own: a scale each, or a tensor."""
    rows = {"specials": _array(_specials(dtype), dtype), "every mantissa": _mantissas(dtype)}
    if dtype == np.float32:
        rows["beside powers of two"] = _beside_powers()
    return rows


def _shapes(rng: np.random.Generator, granularity: str) -> Iterator[tuple[int, int]]:
    """Few elements, and what is special about shapes: none at all, tails of groups and of blocks."""
    yield from ((0, 5), (3, 0), (2, 9))
    if granularity == "group":
        yield from ((2, 128), (1, 129), (2, 259))
    if granularity == "block":
        yield from ((130, 2), (2, 131), (257, 1))
    if granularity == "row":
        yield (9, 23)


def _computed_cases(rule: str, dtype: np.dtype) -> Iterator[Case]:
    granularity = GRANULARITY[rule]
    for name, x in _rows(dtype).items():
        if granularity in ("row", "group"):
            yield Case(f"{rule}, {dtype}, {name}", "quantize", x=x, rule=rule)
        else:
            step = 4 if name == "every mantissa" else 1
            for i, row in enumerate(x[::step]):
                yield Case(f"{rule}, {dtype}, {name} {i}", "quantize", x=row[None, :], rule=rule)
    rng = np.random.default_rng(4)
    for shape in _shapes(rng, granularity):
        yield Case(f"{rule}, {dtype}, {shape}", "quantize", x=_random(rng, *shape, dtype), rule=rule)


def _bounded_cases(rule: str, dtype: np.dtype) -> Iterator[Case]:
    """Bounds that cut amax or the scale, that do not, and that lie below the floor; NaN and Inf under a bound."""
    x = _array(
        [[2000.0, 1300.0, -7.0], [1.0, -0.5, 0.3], [np.inf, 1.0, -2.0], [np.nan, 3000.0, -1.0], [0, -0.0, 0]], dtype
    )
    for bound in (1200.0, 0.7, 3.1, 1e-4, 1e-13, 3e38, 2.0**-149):
        rows = [x] if GRANULARITY[rule] in ("row", "group") else list(x[:, None])
        for i, part in enumerate(rows):
            name = f"{rule}, {dtype}, bound {bound} {i}"
            yield Case(name, "quantize", x=part, rule=rule, scale_ub=np.float32(bound))


def _given_cases(rule: str, dtype: np.dtype) -> Iterator[Case]:
    trap = from_bits(0x3B1DB6DB, np.float32)[()]
    scales = [trap, np.float32(1), np.float32(0.013), np.float32(0), np.float32(np.inf), np.float32(np.nan)]
    scales += [from_bits(1, np.float32)[()], from_bits(0x7F7FFFFF, np.float32)[()]]
    x = np.concatenate([_array(_specials(dtype), dtype), _random(np.random.default_rng(5), 30, 4, dtype)])
    for s in scales:
        yield Case(f"{rule}, {dtype}, {s}", "quantize", x=x, rule=rule, scale=s)


def _search_cases(rule: str, dtype: np.dtype) -> Iterator[Case]:
    """Rows on which the search shrinks and on which it does not, together and alone: it gives up for all at once."""
    rng = np.random.default_rng(7)
    x = _array(rng.standard_normal((6, 12)) * 0.05, dtype)
    specials = _array([[0, -0.0, 0], [1, 2, np.nan], [1, np.inf, 0], [1e-7, 2e-7, -3e-6], [200, -3, 90]], dtype)
    yield Case(f"{rule}, {dtype}, random", "quantize", x=x, rule=rule)
    yield Case(f"{rule}, {dtype}, specials", "quantize", x=specials, rule=rule)
    for i, row in enumerate([*x[:2], *specials]):
        yield Case(f"{rule}, {dtype}, alone {i}", "quantize", x=row[None, :], rule=rule)
    # 264 lies 8 above a code; the error grows for five steps, and only then is the next code nearer than 8.
    late = _array([[448, *[264] * 40]], dtype)
    yield Case(f"{rule}, {dtype}, better too late", "quantize", x=late, rule=rule)
    yield Case(f"{rule}, {dtype}, none", "quantize", x=x[:0], rule=rule)


@cache
def cases_of(rule: str) -> list[Case]:
    """The calls of quantize with one rule."""
    kind = _given_cases if rule in GIVEN else _search_cases if rule in SEARCH else _computed_cases
    listed = [case for dtype in DTYPES for case in kind(rule, dtype)]
    if rule in BOUNDED:
        listed += [case for dtype in DTYPES for case in _bounded_cases(rule, dtype)]
    if rule in (STATIC, "vllm.per_token", "compressed_tensors.channel"):  # they encode like all others
        scale = {"scale": np.float32(1)} if rule == STATIC else {}
        listed += [Case(f"{rule}, {t}, ties", "quantize", x=_ties(t), rule=rule, **scale) for t in DTYPES]
    if rule == "deepgemm.block_128x128@cpu":
        square = _random(np.random.default_rng(8), 129, 130, DTYPES[2])  # two blocks each way
        listed.append(Case(f"{rule}, square", "quantize", x=square, rule=rule))
    return listed


@cache
def cases() -> list[Case]:
    """All calls of quantize and dequantize."""
    return [case for rule in GRANULARITY for case in cases_of(rule)] + dequantize_cases()


def _shaped_scales(rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Codes, and a scale of each shape that they can have."""
    for rows, columns in ((3, 300), (130, 2), (1, 257), (129, 131)):
        codes = from_bits(rng.integers(0, 256, (rows, columns)), E4M3)
        groups, blocks = -(-columns // 128), -(-rows // 128)
        for shape in {(rows, 1), (rows, groups), (blocks, groups)}:
            if rows * columns < 2000 or shape == (blocks, groups):
                yield f"{rows}x{columns} by {shape}", codes, (2.0 ** rng.uniform(-9, 3, shape)).astype(np.float32)


@cache
def dequantize_cases() -> list[Case]:
    """All calls of dequantize."""
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
    for name, shaped, scale in _shaped_scales(rng):
        listed.append(Case(f"dequantize, {name}", "dequantize", codes=shaped, scale=scale, out_dtype="bfloat16"))
    return listed + _dequantize_ties()


def _dequantize_ties() -> list[Case]:
    """code * s beside a tie of the output: RN32 makes it the tie."""
    odd, listed = from_bits([0x39, 0x3A, 0x3B, 0x3D, 0x3F, 0x3C], E4M3), []
    for out, bits in (("bfloat16", 8), ("float16", 11)):
        ties = 1 + (2 * np.arange(16) + 1) * 2.0**-bits
        near = [(ties / float(code)).astype(np.float32) for code in odd]
        scale = np.concatenate([x for s in near for x in (s, np.nextafter(s, 0), np.nextafter(s, 4))])[:, None]
        codes = np.broadcast_to(odd, (len(scale), len(odd))).copy()
        listed.append(Case(f"dequantize, {out}, ties", "dequantize", codes=codes, scale=scale, out_dtype=out))
    return listed
