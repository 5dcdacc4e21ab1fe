# SPDX-License-Identifier: Apache-2.0
"""Inputs of the scaled product with E5M2 codes: infinities, sums that span 64 bits, every accumulator and order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bits import E4M3, from_bits

from .case import Case
from .mma import E5M2, finite, operands, random_bits

PAIRS = ((E4M3, E5M2), (E5M2, E4M3), (E5M2, E5M2))
ONE = np.float32(1)
RAW: dict[str, Any] = {"a_scale": ONE, "b_scale": ONE, "out_dtype": "float32"}
ACCUMULATORS = (
    "exact", "sm90_wgmma", "sm90_wgmma_promoted", "sm90_mma_sync", "sm89_mma", "sm100_tcgen05", "sm120_mma",
)  # fmt: skip
ZERO, ONE_CODE, INFINITE, NEGATIVE, NAN = 0x00, 0x3C, 0x7C, 0xFC, 0x7D


def _every() -> Iterator[Case]:
    rng = np.random.default_rng(81)
    for types in PAIRS:
        name = " x ".join(x.name for x in types)
        for k in (0, 1, 33, 150):
            a, b = (random_bits(rng, (rows, k), dtype) for rows, dtype in zip((3, 4), types, strict=True))
            for label, left, right in (("any bits", a, b), ("finite", finite(a), finite(b))):
                for accumulate in ACCUMULATORS:
                    case = f"{label}, {name}, K={k}, {accumulate}"
                    yield Case(case, "scaled_mm", a=left, b=right, accumulate=accumulate, **RAW)
                    if k == 150:
                        more = {**RAW, "accumulate": accumulate, "split_k": 2}
                        yield Case(f"{case}, split 2", "scaled_mm", a=left, b=right, **more)


def _infinities() -> Iterator[Case]:
    """Infinities with numbers, zeros, NaNs and each other, one of them in each place."""
    rows = [
        [ONE_CODE, INFINITE, ZERO], [ONE_CODE, NEGATIVE, ZERO], [INFINITE, NEGATIVE, ZERO], [INFINITE, INFINITE, ZERO],
        [INFINITE, NAN, ZERO], [ZERO, ZERO, INFINITE], [ONE_CODE, ONE_CODE | 0x80, ZERO],
    ]  # fmt: skip
    a = from_bits(rows, E5M2)
    weights = from_bits([[ONE_CODE, ONE_CODE, ZERO], [ONE_CODE, 0xBC, ONE_CODE], [ZERO, INFINITE, 0x01]], E5M2)
    for b in (weights, finite(weights).astype(np.float32).astype(E4M3)):
        for accumulate in ACCUMULATORS:
            yield Case(f"infinities, {b.dtype.name}, {accumulate}", "scaled_mm", a=a, b=b, accumulate=accumulate, **RAW)
        bias = from_bits([0x7F800000, 0xFF800000, 0x7FC00000], np.float32)
        scales = {"a_scale": ONE, "b_scale": from_bits([[0], [0x7F800000], [0x3F800000]], np.float32)}
        yield Case(f"infinities scaled, {b.dtype.name}", "scaled_mm", a=a, b=b, bias=bias, **scales)
        blocks = {"a_scale": np.ones((7, 1), np.float32), "b_scale": np.ones((3, 1), np.float32)}
        for epilogue in ("deepgemm", "triton", "triton_ba"):
            yield Case(f"infinities, {epilogue}, {b.dtype.name}", "scaled_mm", a=a, b=b, epilogue=epilogue, **blocks)


def _wide() -> Iterator[Case]:
    """Sums that float64 cannot hold: a midpoint of float32 and the smallest product on either side of it."""
    big, tiny = (2.0**15, 2.0**15), 2.0**-16
    for label, tail in (("tie", 0.0), ("above", tiny), ("below", -tiny)):
        products = [big, big, (2.0**7, 1.0), (tiny, tail)]
        a, b = operands(products, 8, E5M2)
        yield Case(f"midpoint, {label}", "scaled_mm", a=a, b=b, **RAW)
        cancelled = [*products[:2], (-big[0], big[1]), (-big[0], big[1]), (tiny, tail)]
        a, b = operands(cancelled, 8, E5M2)
        yield Case(f"cancelled, {label}", "scaled_mm", a=a, b=b, **RAW)


def _blocks() -> Iterator[Case]:
    rng = np.random.default_rng(82)
    for types in PAIRS:
        a, b = (finite(random_bits(rng, (rows, 260), dtype)) for rows, dtype in zip((2, 3), types, strict=True))
        scales = {
            "a_scale": np.exp2(rng.uniform(-20, 0, (2, 3))).astype(np.float32),
            "b_scale": np.exp2(rng.uniform(-20, 0, (3, 3))).astype(np.float32),
        }
        name = " x ".join(x.name for x in types)
        for epilogue in ("a_b", "deepgemm", "triton", "triton_ba"):
            yield Case(f"blocks, {name}, {epilogue}", "scaled_mm", a=a, b=b, epilogue=epilogue, **scales)
        yield Case(f"blocks, {name}, unit", "scaled_mm", a=a, b=b, epilogue="triton", accumulate="sm90_wgmma", **scales)
        a = a.copy()
        a[0, 130], a[1, 0] = (from_bits(bits, types[0]) for bits in (0x7C, 0x7D))  # numbers, if this is E4M3
        yield Case(f"blocks, {name}, infinite", "scaled_mm", a=a, b=b, **scales)


def e5m2_cases() -> Iterator[Case]:
    """All calls of scaled_mm with an operand in E5M2."""
    for group in (_every, _infinities, _wide, _blocks):
        yield from group()
