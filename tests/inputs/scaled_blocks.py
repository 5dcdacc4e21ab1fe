# SPDX-License-Identifier: Apache-2.0
"""Inputs of the scaled product beyond one scale a row: scales of blocks, orders of the epilogue, E4M3 and E8M0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from bits import E4M3, from_bits

from .case import Case
from .probes import CODE_OF, NAN

EXACT_ORDERS = ("a_b", "b_a", "ab")
BLOCK_ORDERS = ("deepgemm", "triton", "triton_ba")
WIDE = ("float32", "bfloat16", "float16")
POLICIES = ("saturate", "nan")
BLOCK = 128
ONE = np.float32(1)
BELOW = 1 - 2.0**-24


def codes(bits: Any) -> np.ndarray:
    return from_bits(bits, E4M3)


def codes_of(values: Any) -> np.ndarray:
    """Codes of numbers that are E4M3 numbers."""
    values = np.asarray(values, dtype=np.float64)
    return codes(np.reshape([CODE_OF[x] for x in values.ravel().tolist()], values.shape))


def random_codes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    bits = rng.integers(0, 256, shape)
    return codes(np.where(bits & 0x7F == NAN, bits ^ 1, bits))


def random_scales(rng: np.random.Generator, *shape: int, spread: float = 6.0) -> np.ndarray:
    """Scales of full fractions."""
    return np.exp2(rng.uniform(-spread, spread, shape)).astype(np.float32)


def element(acc: float) -> dict[str, Any]:
    """Operands of one element with this accumulator, a sum of a few E4M3 numbers."""
    parts, rest = [], acc
    while rest:
        parts.append(max(x for x in CODE_OF if x <= abs(rest)) * (1 if rest > 0 else -1))
        rest -= parts[-1]
    return {"a": codes_of([parts]), "b": codes_of([[1.0] * len(parts)])}


def sums_of_blocks(dots: Any, scales: Any) -> dict[str, Any]:
    """Operands of M = 1: the dot of block t with column n is dots[n][t], all columns with the same scales of b."""
    dots = np.asarray(dots, dtype=np.float64)
    a, b = np.zeros((1, dots.shape[1] * BLOCK)), np.zeros((len(dots), dots.shape[1] * BLOCK))
    a[0, ::BLOCK], b[:, ::BLOCK] = 1, dots
    b_scale = np.tile(np.asarray(scales, dtype=np.float32), (len(dots), 1))
    return {"a": codes_of(a), "b": codes_of(b), "a_scale": np.ones((1, dots.shape[1]), np.float32), "b_scale": b_scale}


def _orders() -> Iterator[Case]:
    swapped = {"a_scale": np.float32(0.003779232269152999), "b_scale": np.float32(0.0007170428289100528)}
    rng = np.random.default_rng(41)
    a, b = random_codes(rng, 30, 40), random_codes(rng, 31, 40)
    scales = {"a_scale": random_scales(rng, 30, 1), "b_scale": random_scales(rng, 31, 1)}
    wide = {"a_scale": random_scales(rng, 30, 1, spread=120), "b_scale": random_scales(rng, 31, 1, spread=120)}
    bias = (rng.standard_normal(31) * 1000).astype(np.float32)
    for order in EXACT_ORDERS:
        for out in WIDE:
            more = {"epilogue": order, "out_dtype": out}
            yield Case(f"vLLM's swap, {order}, {out}", "scaled_mm", **element(1807.4921875), **swapped, **more)
            yield Case(f"rows, {order}, {out}", "scaled_mm", a=a, b=b, **scales, **more)
            yield Case(f"rows, {order}, {out}, bias", "scaled_mm", a=a, b=b, **scales, bias=bias, **more)
            yield Case(f"far apart, {order}, {out}", "scaled_mm", a=a, b=b, **wide, **more)


def _shapes() -> Iterator[Case]:
    rng = np.random.default_rng(42)
    sizes = ((2, 3, 0), (0, 2, 129), (2, 0, 129), (2, 3, 1), (2, 3, 127), (2, 2, 128), (3, 2, 129), (1, 131, 130))
    for m, n, k in sizes:
        of_k = -(-k // BLOCK)
        a, b, left = random_codes(rng, m, k), random_codes(rng, n, k), random_scales(rng, m, of_k)
        for rows in {n, -(-n // BLOCK)}:
            scales = {"a_scale": left, "b_scale": random_scales(rng, rows, of_k)}
            for order in (*EXACT_ORDERS, *BLOCK_ORDERS):
                name = f"blocks {m}x{n}x{k}, {rows} rows of b_scale, {order}"
                yield Case(name, "scaled_mm", a=a, b=b, **scales, epilogue=order, out_dtype="float32")
                bias = (rng.standard_normal(n) * 64).astype(np.float32)
                accumulate = "sm90_wgmma" if order in BLOCK_ORDERS else "exact"
                more = {"bias": bias, "epilogue": order, "accumulate": accumulate}
                yield Case(name + ", bias", "scaled_mm", a=a, b=b, **scales, **more)


def _sums() -> Iterator[Case]:
    """What one rounding of the exact sum tells apart: ties, what is far below them, and blocks that cancel."""
    dots = [[1, 1, tiny] for tiny in (0, 1, -1)] + [[-1, -1, tiny] for tiny in (0, 1, -1)] + [[3, 1, 1], [1, 3, -1]]
    for out, power in (("float32", -24), ("bfloat16", -8), ("float16", -11)):
        for tiny in (-30, -60, -149):
            blocks = sums_of_blocks(dots, [1, 2.0**power, 2.0**tiny])
            for bias in (None, -1.0, 2.0**-126):
                offset = None if bias is None else np.full(len(dots), bias, np.float32)
                name = f"tie of {out}, 2**{tiny}, bias {bias}"
                yield Case(name, "scaled_mm", **blocks, out_dtype=out, bias=offset)
    # 2**-8 below a tie of bf16 by a part that only bf16 sees once float32 has rounded it away.
    yield Case("sum is rounded twice", "scaled_mm", **sums_of_blocks([[1, 1, -1]], [1, 2.0**-8, 2.0**-40]))
    rng = np.random.default_rng(43)
    half, other = random_codes(rng, 4, BLOCK).view(np.uint8), random_codes(rng, 5, BLOCK).view(np.uint8)
    a = codes(np.concatenate([half, half, random_codes(rng, 4, 20).view(np.uint8)], axis=1))
    b = codes(np.concatenate([other, other ^ 0x80, random_codes(rng, 5, 20).view(np.uint8)], axis=1))
    left, right = random_scales(rng, 4, 3), random_scales(rng, 5, 3)
    left[:, 1], right[:, 1] = left[:, 0], right[:, 0]
    for low in (0.0, 2.0**-149, 2.0**-90, 2.0**-35):
        scales = {"a_scale": np.where([True, True, False], left, np.float32(low)), "b_scale": right}
        for bias in (None, np.array([0, -0.0, 2.0**-149, -1, 2.0**-40], dtype=np.float32)):
            name = f"blocks cancel, {low}, {'no ' if bias is None else ''}bias"
            yield Case(name, "scaled_mm", a=a, b=b, **scales, bias=bias, out_dtype="float32")


def _specials() -> Iterator[Case]:
    rng = np.random.default_rng(44)
    a, b = random_codes(rng, 9, 150), random_codes(rng, 9, 150).view(np.uint8).copy()
    b[1, 140], b[2, 3], b[3], b[4, :BLOCK], b[5, BLOCK:] = NAN, NAN | 0x80, 0, 0x80, 0
    row = from_bits(
        [0, 1, 0x00800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x5F3CE508, 0x7F800000], np.float32
    )
    scales = {"a_scale": np.stack([row, np.roll(row, 2)], axis=1), "b_scale": np.stack([np.roll(row, 1), row], axis=1)}
    bias = from_bits([0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x3F800000, 1, 0xFF7FFFFF, 0], np.float32)
    for order in ("ab", *BLOCK_ORDERS):
        for out in WIDE:
            for offset in (None, bias):
                name = f"special blocks, {order}, {out}, {'no ' if offset is None else ''}bias"
                more = {"epilogue": order, "out_dtype": out, "bias": offset}
                yield Case(name, "scaled_mm", a=a, b=codes(b), **scales, **more)
    powers = from_bits([0, 1, 0x3F, 0x7F, 0x81, 0xFE, 0xFF, 0x7E, 0x40], ml_dtypes.float8_e8m0fnu)
    e8m0 = {"a_scale": powers[:, None], "b_scale": powers[::-1, None]}
    yield Case("E8M0 of rows", "scaled_mm", a=a, b=codes(b), **e8m0, out_dtype="float32")
    pairs = np.stack([powers, powers[::-1]], axis=1)
    for order in ("a_b", *BLOCK_ORDERS):
        more = {"epilogue": order, "out_dtype": "float32"}
        yield Case(f"E8M0 of blocks, {order}", "scaled_mm", a=a, b=codes(b), a_scale=pairs, b_scale=pairs, **more)


def _e4m3() -> Iterator[Case]:
    """Overflow at 448, 464 and 480; ties that a second rounding moves; infinities, zeros and their signs."""
    values = (0.0, 2.0**-9, 1.0, 1.0625, 448.0, 464.0, 464.5, 480.0)
    plain = {"a_scale": ONE, "b_scale": ONE, "out_dtype": "float8_e4m3fn"}
    for policy in POLICIES:
        for value in values:
            for sign in (1, -1):
                name = f"E4M3 {sign * value}, {policy}"
                for scale in (ONE, np.float32(0), np.float32(BELOW), np.float32(3e38), np.float32(np.inf)):
                    more = {"out_scale": scale, "overflow": policy}
                    yield Case(f"{name}, {scale}", "scaled_mm", **element(sign * value), **plain, **more)
        # RN32(z * out_scale) is a tie of E4M3, z * out_scale is just below; and a tie that rounding z to bf16 makes.
        for name, acc, out_scale in (("float32", 1.1875, 1 - 2.0**-23), ("bf16", 1.0625, 1)):
            more = {"out_scale": np.float32(out_scale), "overflow": policy, "out_dtype": "float8_e4m3fn"}
            scales = {"a_scale": ONE, "b_scale": np.float32(1 + 2.0**-23)}
            yield Case(f"E4M3 tie by {name}, {policy}", "scaled_mm", **element(acc), **scales, **more)
        rng = np.random.default_rng(45)
        for order in (*EXACT_ORDERS, *BLOCK_ORDERS):
            a, b = random_codes(rng, 6, 140), random_codes(rng, 7, 140)
            scales = {"a_scale": random_scales(rng, 6, 2, spread=3), "b_scale": random_scales(rng, 7, 2, spread=3)}
            more = {"bias": (rng.standard_normal(7) * 999).astype(np.float32), "epilogue": order, "overflow": policy}
            for scale in (2.0**-9, 0.013, np.nan):
                name = f"E4M3 blocks, {order}, {policy}, {scale}"
                out = {"out_scale": np.float32(scale), "out_dtype": "float8_e4m3fn"}
                yield Case(name, "scaled_mm", a=a, b=b, **scales, **more, **out)


def block_cases() -> Iterator[Case]:
    """All of them."""
    for group in (_orders, _sums, _e4m3, _specials, _shapes):
        yield from group()
