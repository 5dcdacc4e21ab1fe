# SPDX-License-Identifier: Apache-2.0
"""Inputs of the scaled product: probes of the accumulators, traps of the epilogue, and every kind of special value."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from bits import BF16, E4M3, from_bits

from .case import Case
from .mma import FP8_UNITS
from .probes import CODE_OF, MINUS_ZERO, NAN, grouping, probes
from .scaled_blocks import block_cases
from .scaled_e5m2 import e5m2_cases

ACCUMULATORS = ("exact", "sm90_wgmma")
EVERY_ACCUMULATOR = (*ACCUMULATORS, "sm90_wgmma_promoted", *(x for x in FP8_UNITS if x != "sm90_wgmma"))
OUT_DTYPES = ("float32", "bfloat16", "float16")
ONE = np.float32(1)


def codes(bits: Any) -> np.ndarray:
    return from_bits(bits, E4M3)


def summing_to(value: float) -> list[int]:
    """Codes whose sum is `value`."""
    parts = []
    while value:
        part = max((x for x in CODE_OF if 0 < x <= abs(value)), default=0.0)
        assert part, "not a sum of codes"
        parts.append(CODE_OF[part if value > 0 else -part])
        value -= part if value > 0 else -part
    return parts


def _float32(bits: Any) -> np.ndarray:
    return from_bits(bits, np.float32)


def _probes() -> Iterator[Case]:
    for name, (a, b, _) in probes().items():
        for accumulate in ACCUMULATORS:
            yield _raw(f"{name}, {accumulate}", codes([a]), codes([b]), accumulate)


def _grouping() -> Iterator[Case]:
    """Only the diagonals matter, so the parts are small."""
    a, b = grouping()
    for row in range(0, len(a), 8):
        yield _raw(f"E4 grouping {row}", a[row : row + 8], b[row : row + 8], "sm90_wgmma")


def _raw(name: str, a: np.ndarray, b: np.ndarray, accumulate: str) -> Case:
    """The accumulator itself: scales of 1, float32 out."""
    arguments = {"a_scale": ONE, "b_scale": ONE, "out_dtype": "float32", "accumulate": accumulate}
    return Case(name, "scaled_mm", a=a, b=b, **arguments)


def _shapes() -> Iterator[Case]:
    rng = np.random.default_rng(11)
    for k in (0, 1, 2, 31, 32, 33, 64, 95, 127, 129):
        a, b = (codes(_random_codes(rng, (n, k))) for n in (3, 4))
        for accumulate in ACCUMULATORS:
            yield _raw(f"K={k}, {accumulate}", a, b, accumulate)
    narrow = {"a_scale": np.array([[1.5], [0.01], [3e-5]]).astype(BF16), "b_scale": np.array([0.3], dtype=np.float16)}
    yield Case("scales of 16 bits", "scaled_mm", a=a, b=b, **narrow)
    yield Case("many columns", "scaled_mm", a=a, b=codes(_random_codes(rng, (70, k))), a_scale=ONE, b_scale=ONE)
    for m, n in ((0, 3), (3, 0), (0, 0)):
        a, b = codes(np.zeros((m, 5))), codes(np.zeros((n, 5)))
        yield Case(f"M={m} N={n}", "scaled_mm", a=a, b=b, a_scale=ONE, b_scale=ONE)


def _random_codes(rng: np.random.Generator, shape: tuple[int, ...], nan: bool = False) -> np.ndarray:
    bits = rng.integers(0, 256, shape)
    return bits if nan else np.where(bits & 0x7F == 0x7F, bits ^ 1, bits)


def _long_rows() -> Iterator[Case]:
    """K beyond 171,196, where float64 can no longer hold the sum: a tie of fp32 and what lies beside it."""
    n = 180_000
    big = np.full(n, CODE_OF[448.0])
    signs = np.where(np.arange(n) % 2, 0x80, 0)
    least = CODE_OF[2.0**-9]
    a = [[least, *big, CODE_OF[64.0]], [0, *big, CODE_OF[64.0]], [least, *(big | signs), CODE_OF[1.0]]]
    b = [[least, *big, CODE_OF[32.0]], [least | 0x80, *big, CODE_OF[32.0]]]
    yield _raw("long rows", codes(a), codes(b), "exact")


def _cancelling() -> Iterator[Case]:
    rng = np.random.default_rng(12)
    half = _random_codes(rng, (6, 48))
    weights = _random_codes(rng, (5, 48))
    a = np.concatenate([half, half ^ 0x80, _random_codes(rng, (6, 3))], axis=1)
    b = np.concatenate([weights, weights, _random_codes(rng, (5, 3))], axis=1)
    for accumulate in ACCUMULATORS:
        yield _raw(f"cancelling, {accumulate}", codes(a), codes(b), accumulate)


def _random() -> Iterator[Case]:
    rng = np.random.default_rng(13)
    for accumulate in ACCUMULATORS:
        for out in OUT_DTYPES:
            for spread, k in ((1.0, 96), (30.0, 40)):
                a, b = codes(_random_codes(rng, (5, k))), codes(_random_codes(rng, (7, k)))
                arguments = {
                    "a_scale": np.exp2(rng.uniform(-spread, 0, (5, 1))).astype(np.float32),
                    "b_scale": np.exp2(rng.uniform(-spread, 0, (7, 1))).astype(np.float32),
                    "out_dtype": out,
                    "accumulate": accumulate,
                }
                label = f"random 2**-{spread:.0f}, {out}, {accumulate}"
                yield Case(label, "scaled_mm", a=a, b=b, **arguments)
                bias = (rng.standard_normal(7) * 8).astype(np.float32).astype(BF16)
                yield Case(label + ", bf16 bias", "scaled_mm", a=a, b=b, bias=bias, **arguments)
                bias = (rng.standard_normal(7) * 2.0**-spread).astype(np.float32)
                yield Case(label + ", fp32 bias", "scaled_mm", a=a, b=b, bias=bias, **arguments)


def _epilogue(name: str, acc: float, a_scale: Any, b_scale: Any, **arguments: Any) -> Iterator[Case]:
    """One element with a given accumulator, in all output types."""
    row = summing_to(acc)
    a, b = codes([row]), codes([[CODE_OF[1.0]] * len(row)])
    for out in OUT_DTYPES:
        scales = {"a_scale": np.float32(a_scale), "b_scale": np.float32(b_scale)}
        yield Case(f"{name}, {out}", "scaled_mm", a=a, b=b, **scales, out_dtype=out, **arguments)


def _traps() -> Iterator[Case]:
    low = 1 - 2.0**-23
    swapped = {"a_scale": 0.003779232269152999, "b_scale": 0.0007170428289100528}
    yield from _epilogue("order of the scales", 1807.4921875, **swapped)
    # a_scale * y is below a bf16 tie by less than fp32 sees: RN32 gives the tie, and the tie goes up.
    y = 1 + 3 * 2.0**-8 + 2.0**-23
    yield from _epilogue("output is rounded twice", 1.0, a_scale=low, b_scale=y)
    # The product is 2**-24 less a part in 2**46. Fused, it leaves the bias where it is; rounded first, it makes a tie.
    bias = np.array([1 + 3 * 2.0**-8 - 2.0**-23], dtype=np.float32)
    fused = {"a_scale": (1 + 2.0**-23) * 2.0**-12, "b_scale": low * 2.0**-12, "bias": bias}
    yield from _epilogue("bias is fused", 1.0, **fused)
    yield from _epilogue("bias cancels", 3.0, a_scale=1, b_scale=1, bias=np.array([-3], dtype=np.float16))
    yield from _epilogue("bias of minus zero", 0.0, a_scale=1, b_scale=1, bias=np.array([-0.0], dtype=np.float32))
    half = {"a_scale": 1 + 2.0**-10, "b_scale": 1 + 2.0**-23}
    yield from _epilogue("fp16 overflow", 65504.0, **half)


def _specials() -> Iterator[Case]:
    accs = [CODE_OF[x] for x in (0.0, 1.0, -1.0, 448.0, -448.0, 2.0**-9, -(2.0**-9))] + [NAN, MINUS_ZERO]
    a = codes([[c] for c in accs])
    b = codes([[CODE_OF[448.0]], [CODE_OF[2.0**-9]], [0x80 | CODE_OF[1.0]], [NAN | 0x80], [0], [CODE_OF[1.0]]])
    scales = _float32([0, 1, 0x200000, 0x00800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x1E3CE508])
    biases = _float32([0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x3F800000])
    for out in OUT_DTYPES:
        for scale in scales:
            arguments = {"a": a, "b": b, "out_dtype": out}
            per_row = np.broadcast_to(scale, (9, 1)).copy()
            label = f"specials, scale {scale}, {out}"
            yield Case(label, "scaled_mm", a_scale=per_row, b_scale=ONE, **arguments)
            yield Case(label + ", squared", "scaled_mm", a_scale=per_row, b_scale=scale, bias=biases, **arguments)
        yield Case(
            f"specials, a scale each, {out}", "scaled_mm", a_scale=scales.reshape(9, 1), b_scale=ONE, **arguments
        )
    for accumulate in ACCUMULATORS:
        yield _raw(f"special codes, {accumulate}", a, b, accumulate)
        rng = np.random.default_rng(14)
        nans = [codes(_random_codes(rng, (6, 70), nan=True)) for _ in range(2)]
        yield _raw(f"many NaN codes, {accumulate}", *nans, accumulate)


def _tensor_cores() -> Iterator[Case]:
    """Every accumulator, over several promotions and in parts of K. Two large products come first and cancel."""
    rng = np.random.default_rng(16)
    for k in (129, 300, 520):
        a, b = codes(_random_codes(rng, (2, k))), codes(_random_codes(rng, (3, k)) & 0xB7)
        a[0, :2], b[:, :2] = codes([CODE_OF[256.0], CODE_OF[-256.0]]), codes([CODE_OF[256.0]] * 2)
        for accumulate in EVERY_ACCUMULATOR:
            for split_k in (1, 2, 3):
                more = {"a_scale": ONE, "b_scale": ONE, "out_dtype": "float32", "split_k": split_k}
                name = f"{accumulate}, K={k}, split {split_k}"
                yield Case(name, "scaled_mm", a=a, b=b, accumulate=accumulate, **more)


@cache
def cases() -> list[Case]:
    """All calls of scaled_mm, those first that many mistakes show in."""
    groups = [_traps, _shapes, _probes, _tensor_cores, block_cases, e5m2_cases, _random, _specials, _cancelling]
    return [case for group in (*groups, _grouping, _long_rows) for case in group()]
