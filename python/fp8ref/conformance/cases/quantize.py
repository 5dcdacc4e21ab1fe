# SPDX-License-Identifier: Apache-2.0
"""Cases of the scale rules: amax zero, tiny, huge, NaN, infinite, beside powers of two and floors; bounds; shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

from fp8ref.golden._rules import RULES

from ._case import BF16_SPECIAL, Case
from ._stream import BFLOAT16, FLOAT8, FLOAT16, FLOAT32, Array, Stream

STATIC = "vllm.per_tensor_static"
DTYPES = {"bf16": BFLOAT16, "fp16": FLOAT16, "fp32": FLOAT32}
LIMITS = {BFLOAT16: (2.0**-133, 3.0e38), FLOAT16: (2.0**-24, 65504.0), FLOAT32: (2.0**-149, 3.0e38)}
# The floors of the rules, as numbers that amax has there.
FLOORS = (1e-12, 1e-10, 448e-10, 1e-4, 1 / 512, 448e-6, 448 * 2.0**-23, 448 * 2.0**-10)
WIDTH = 293  # two groups and a tail
# The smallest rows on which two systems part: what decides there, and the row. spec/quantize.md
NAN, INF = float("nan"), float("inf")
WITNESSES: dict[str, tuple[float, ...]] = {
    "reciprocal": (1.078125, 0.0031585693359375),  # x/s is the tie 1.3125, x*RN32(1/s) lies above it
    "amax_by_r": (1.015625, -0.338541),  # amax/448 is not amax*RN32(1/448)
    "inverse_of_inverse": (1.0234375, 0.1462),  # amax/448 is not 1/(448/amax)
    "multiplier": (1.046875, -0.0034896),  # 448/amax is not RN32(1/amax)*448
    "double_rounding": (0.06787109375, 0.016357421875),  # the quotient's bf16 rounding is a tie, it itself is not
    "round_of_log2": (1.0, 0.75),  # rounded, not up: 448 and more saturate
    "fp16_multiplier": (0.005, 0.001),  # 448/amax is beyond fp16
    "dead": (0.0, -0.0),
    "nan_first": (NAN, 1.0),
    "nan_before_two": (NAN, 2.0),
    "nan_between": (1.0, NAN, -2.0),  # amax forgets what came before a NaN, ignores it, or is one
    "nan_last": (3.0, 1.0, NAN),
    "infinity": (INF, 1.0),  # a scale of 2**127 where it is a power of two
    "both_infinities": (-INF, INF, -1.0),
}


def _midpoint_row(width: int) -> Array:
    """448 first, so that the scale is one, then midpoints of the grid of both signs."""
    grid = np.append(np.arange(127, dtype=np.uint8).view(FLOAT8).astype(np.float64), 480.0)
    middle = (grid[1:] + grid[:-1]) / 2
    row = np.concatenate([[448.0], middle[middle < 448], -middle[middle < 448]])
    return np.resize(row, width).astype(np.float32)


def _trap_rows(dtype: Array, width: int) -> Iterator[tuple[str, Array]]:
    """One row for each trap, as float32 values that every dtype holds or rounds alike."""
    smallest, largest = LIMITS[np.dtype(dtype)]
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


def _specials(width: int) -> Iterator[tuple[str, Array]]:
    ramp = np.linspace(-2, 3, width, dtype=np.float64)
    first = np.arange(width) == 0
    yield "nan", np.where(first, np.nan, ramp)
    yield "inf", np.where(first, np.inf, ramp)
    yield "minus_inf", np.where(first, -np.inf, ramp)
    yield "inf_and_nan", np.where(first, np.nan, np.where(np.arange(width) == 1, np.inf, ramp))
    yield "all_nan", np.full(width, np.nan)


def _floor_rows() -> Iterator[tuple[str, Array]]:
    """Short rows whose amax lies below, on and above a floor."""
    for i, floor in enumerate(FLOORS):
        for factor in (0.9, 1.0, 1.1):
            yield f"floor_{i}_{factor}", np.array([floor, -floor / 3, floor / 7, -0.0]) * factor


def _beside_powers() -> Array:
    """amax/448 on powers of two and some ulp beside them: where ceil and floor of a rounded log2 go wrong."""
    powers = np.array([448 * 2.0**k for k in (-20, -10, -8, 0, 5)], np.float32).view(np.uint32)
    beside = np.array([-6, -5, -2, -1, 0, 1, 2, 5, 6], np.int64)
    amax: Array = (powers[:, None] + beside).astype(np.uint32).view(np.float32).reshape(-1, 1)
    return amax * np.array([1, -0.3, 0.01], np.float32)


def _mantissas(dtype: Array) -> Array:
    """Every bf16 mantissa as amax at two exponents, and numbers whose quotients differ in a last bit."""
    amax = np.concatenate([1 + np.arange(128) / 128, 2 + np.arange(128) / 64])[:, None]
    # For 1.078125 the second divides to the tie 1.3125, and goes beside it as a product with the reciprocal.
    return (amax * [1, 0, -0.3, 0.07] + [0, 0.0031585693359375, 0, 0]).astype(np.float32).astype(dtype)


def _matrices(label: str, granularity: str) -> Iterator[tuple[str, Array]]:
    """(name, x) of the traps: matrices of rows, or for rules with few scales, tensors one by one and rows of blocks."""
    dtype = DTYPES[label]
    with np.errstate(over="ignore"):
        long = [
            (name, row.astype(np.float32).astype(dtype)) for name, row in [*_trap_rows(dtype, WIDTH), *_specials(WIDTH)]
        ]
        short = [(name, row.astype(np.float32).astype(dtype)) for name, row in _floor_rows()]
    beside = _beside_powers() if label == "fp32" else np.zeros((0, 3), dtype)
    witnesses = [(name, np.array((*row, 0, 0)[:3], np.float32).astype(dtype)) for name, row in WITNESSES.items()]
    if granularity in ("row", "group"):
        yield "traps", np.stack([row for _, row in long])
        yield "floors", np.stack([row for _, row in short])
        yield "mantissas", _mantissas(dtype)
        yield "beside_powers", beside
        yield "witnesses", np.stack([row for _, row in witnesses])
        return
    yield from ((name, row[None, :]) for name, row in (*long, *short))
    yield from ((f"witness/{name}", row[None, :]) for name, row in witnesses)
    if granularity == "block":
        for name, x in (("mantissas", _mantissas(dtype)), ("beside_powers", beside)):
            spread = np.zeros((len(x), 128), dtype)  # each row in a block of its own
            spread[:, : x.shape[1]] = x
            yield name, spread.reshape(1, -1)
        return
    for i, row in enumerate([*_mantissas(dtype)[::16], *beside[::4]]):
        yield f"amax_{i}", row[None, :]


def _shapes(granularity: str) -> tuple[tuple[int, int], ...]:
    tails = {"group": ((2, 128), (3, 129)), "block": ((129, 131), (257, 2), (2, 257))}
    return ((1, 1), (3, 37), (5, 256), (2, 0), (0, 8), *tails.get(granularity, ()))


@cache
def _inputs(label: str, level: str, granularity: str) -> tuple[tuple[str, Array], ...]:
    """(name, x) for one dtype, made once for all rules."""
    return tuple(_made(label, level, granularity))


def _made(label: str, level: str, granularity: str) -> Iterator[tuple[str, Array]]:
    dtype = DTYPES[label]
    for shape in _shapes(granularity):
        name = f"{shape[0]}x{shape[1]}"
        yield name, Stream(f"quantize/{label}/{name}").normal(shape, dtype, exponent=-3)
    yield from _matrices(label, granularity)
    # One scale a row from every exponent: quotients land near midpoints in many ways.
    for count in (96, 4096) if level == "full" else (96,):
        s = Stream(f"quantize/{label}/spread_{count}")
        spread = s.spread((count, 64), -14, 14, FLOAT32)
        yield f"spread_{count}", np.ldexp(spread, s.integers((count, 1), -3, 3)).astype(dtype)
    if level == "full":
        yield "large", Stream(f"quantize/{label}/large").normal((1536, 576), dtype, exponent=-5)
        yield "random_bits", Stream(f"quantize/{label}/bits").bits((2048, 16), dtype)


def _searched(label: str, level: str) -> Iterator[tuple[str, Array]]:
    """Inputs of rules that search: the search ends for all rows at once, and may end too early."""
    dtype = DTYPES[label]
    late = np.where(np.arange(41) == 0, 448.0, 264.0)  # 8 above a code; the next code is nearer after six steps
    with np.errstate(over="ignore"):
        rows = [
            (name, row.astype(np.float32).astype(dtype))
            for name, row in [*_trap_rows(dtype, 41), *_specials(41), ("late", late)]
        ]
    yield from ((name, row[None, :]) for name, row in rows)
    yield "together", np.stack([row for _, row in rows])
    for shape in ((12, 24), (2, 0), (0, 8)) if level == "quick" else ((12, 24), (2, 0), (0, 8), (64, 300)):
        name = f"{shape[0]}x{shape[1]}"
        yield name, Stream(f"quantize/search/{label}/{name}").normal(shape, dtype, exponent=-5)


def _scales() -> Iterator[tuple[str, np.float32]]:
    yield "typical", np.float32(0.0123456789)
    yield "power_of_two", np.float32(2.0**-6)
    yield "zero", np.float32(0)
    yield "smallest", np.float32(2.0**-149)
    yield "largest", np.finfo(np.float32).max
    yield "inf", np.float32(np.inf)
    yield "nan", np.float32(np.nan)
    yield "negative", np.float32(-1.0)


def _given(rule: str, level: str) -> Iterator[Case]:
    """Rules whose scale the caller has."""
    for label, dtype in DTYPES.items():
        x = Stream(f"quantize/static/{label}").normal((7, 129), dtype)
        for name, scale in _scales():
            yield Case(f"{rule}/{label}/{name}", "quantize", {"x": x, "rule": rule, "scale": scale})
        # RN32(n * RN32(1/n)) is not 1 for n of 41, 47, 55, 61, 83: there x * RN32(1/s) and x / s disagree.
        for divisor in (1.0, 1 / 3, 0.7, 41.0, 47.0, 55 / 64, 61.0, 83.0):
            x = (_midpoint_row(300) * np.float32(divisor))[None, :].astype(dtype)
            arguments = {"x": x, "rule": rule, "scale": np.float32(divisor)}
            yield Case(f"{rule}/{label}/midpoints_{divisor:.3f}", "quantize", arguments)
    for name, word in (("reciprocal", 0x3B1DB6DB), ("double_rounding", 0x391F0000)):
        for label, dtype in DTYPES.items():
            x = np.array([WITNESSES[name]], np.float32).astype(dtype)
            arguments = {"x": x, "rule": rule, "scale": np.array(word, np.uint32).view(FLOAT32)[()]}
            yield Case(f"{rule}/{label}/witness/{name}", "quantize", arguments)
    yield Case(f"{rule}/special", "quantize", {"x": BF16_SPECIAL[None, :], "rule": rule, "scale": np.float32(0.5)})
    yield Case(f"{rule}/no_scale", "quantize", {"x": BF16_SPECIAL[None, :], "rule": rule})
    if level == "full":
        every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(BFLOAT16).reshape(256, 256)
        for scale in Stream("quantize/static/full").scales((8,)):
            yield Case(f"{rule}/all_bf16_{scale!r}", "quantize", {"x": every, "rule": rule, "scale": scale})


def _bounded(rule: str) -> Iterator[Case]:
    """Bounds that cut amax or the scale, that do not, that lie below a floor, and that are refused."""
    rows = [[2000, 1300, -7], [1, -0.5, 0.3], [np.inf, 1, -2], [np.nan, 3000, -1], [0, -0.0, 0], [1e-9, 0, -1e-10]]
    for label, dtype in DTYPES.items():
        for bound in (1200.0, 0.7, 3.1, 1e-4, 1e-13, 3e38, 2.0**-149, 0.0, -1.0, np.nan, np.inf):
            for i, part in enumerate([rows] if RULES[rule].granularity in ("row", "group") else [[r] for r in rows]):
                x = np.array(part, np.float32).astype(dtype)
                arguments = {"x": x, "rule": rule, "scale_ub": np.float32(bound)}
                yield Case(f"{rule}/{label}/bound_{bound}_{i}", "quantize", arguments)


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
    for shape, scale in (
        ((3, 300), (3, 3)),
        ((129, 131), (2, 2)),
        ((257, 2), (3, 1)),
        ((1, 257), (1, 3)),
        ((9, 9), (2, 1)),
    ):
        name = f"{shape[0]}x{shape[1]}_by_{scale[0]}x{scale[1]}"
        shaped = {"codes": np.resize(codes, shape), "scale": Stream(f"dequantize/{name}").scales(scale, -9, 4)}
        yield Case(f"dequantize/{name}", "dequantize", shaped)


def cases(level: str) -> Iterator[Case]:
    """Each rule on each dtype and trap, on its scales or bounds where it takes them, and dequantize on all codes."""
    for row in RULES.values():
        if row.given:
            yield from _given(row.name, level)
            continue
        for label in DTYPES:
            search = row.search != "none"
            inputs: Iterable[tuple[str, Array]] = (
                _searched(label, level) if search else _inputs(label, level, row.granularity)
            )
            for name, x in inputs:
                yield Case(f"{row.name}/{label}/{name}", "quantize", {"x": x, "rule": row.name})
        if row.upper_bound != "none":
            yield from _bounded(row.name)
    x = BF16_SPECIAL[None, :]
    yield Case("unknown_rule", "quantize", {"x": x, "rule": "nobody.knows"})
    yield Case("bound_not_taken", "quantize", {"x": x, "rule": "vllm.group_128", "scale_ub": np.float32(1)})
    yield from _dequantize()
