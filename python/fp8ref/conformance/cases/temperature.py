# SPDX-License-Identifier: Apache-2.0
"""Cases of the attention temperature: where the floor steps, logarithms of whole numbers, products that round twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ._case import BF16_SPECIAL, Case
from ._stream import BFLOAT16, FLOAT32, Stream

LAST = (1 << 24) - 1
LLAMA4 = (8192, 0.1)  # floor_scale, attn_scale


def _factors(name: str, positions: Any, floor_scale: float, attn_scale: float) -> Case:
    arguments = {
        "positions": np.asarray(positions, np.int64),
        "floor_scale": floor_scale,
        "attn_scale": attn_scale,
    }
    return Case(f"factors/{name}", "temperature_factors", arguments)


def _all_factors(level: str) -> Iterator[Case]:
    steps = np.arange(1, 2048, 101)[:, None] * 8192 + np.array([-2, -1, 0])
    yield _factors("llama4", np.r_[0, 1, steps.ravel(), 10485759, LAST], *LLAMA4)
    # Each position a step, so that each logarithm shows; the multiplier keeps all of its bits.
    for count in (1000, 200_000) if level == "full" else (1000,):
        random = Stream(f"temperature/{count}").integers((count,), 0, LAST + 1)
        yield _factors(f"logarithms_{count}", random, 1, 1)
        yield _factors(f"logarithms_{count}/tenth", random, 1, 0.1)
        yield _factors(f"random_{count}", random, *LLAMA4)
    yield _factors("small", np.arange(600), 1, 0.1)
    # The quotient is rounded before the floor, which some whole numbers are reached by.
    for floor in (1 / 3, 0.1, 0.7, 1.0e-3, 49.7, 8191.9998):
        yield _factors(f"floor/{floor}", np.r_[np.arange(300), LAST], floor, 0.1)
    for floor in (1.0e-30, 1.0e-44, 1.0e30):
        yield _factors(f"floor/{floor}", [0, 1, 1000, LAST], floor, 0.1)
    for scale in (1.0e-44, 1.0e-8, 7.0, 1.0e30, 3.4e38):
        yield _factors(f"scale/{scale}", np.r_[np.arange(64), LAST], 1, scale)
    yield _factors("empty", np.arange(0), *LLAMA4)
    for name, bad in (("negative", -1), ("too_large", LAST + 1)):
        yield _factors(f"error/{name}", [bad], *LLAMA4)
    for name, numbers in (("floor_zero", (0.0, 0.1)), ("scale_nan", (8192.0, float("nan"))), ("tiny", (1e-60, 1.0))):
        yield _factors(f"error/{name}", [1], *numbers)


def _products(level: str) -> Iterator[Case]:
    for tokens, heads, width in (
        *((1, 1, 1), (7, 5, 33), (3, 40, 128), (0, 2, 4), (2, 0, 4)),
        *(((512, 40, 128),) if level == "full" else ()),
    ):
        name = f"product/{tokens}x{heads}x{width}"
        s = Stream(name)
        factors = 1 + np.abs(np.ldexp(s.normal((tokens,), FLOAT32), -2))
        yield Case(name, "temperature", {"x": s.normal((tokens, heads, width)), "factors": factors})
    s = Stream("product")
    ends = [0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, 2.0**-140, 3.4e38, 1 + 2.0**-23, -1.5]
    special = np.tile(BF16_SPECIAL, (len(ends), 1, 1))
    yield Case("product/special", "temperature", {"x": special, "factors": np.array(ends, FLOAT32)})
    bits = {"x": s.bits((256, 2, 8)), "factors": s.bits((256,), FLOAT32)}
    yield Case("product/bits", "temperature", bits)
    small = {"x": s.spread((64, 1, 16), -126, -110), "factors": s.scales((64,), -20, 0)}
    yield Case("product/subnormal", "temperature", small)
    # Products that lie beside a midpoint of bfloat16: float32 rounds some of them to it.
    x = np.arange(0x3F80, 0x4000).astype(np.uint16).view(BFLOAT16)[:, None, None]
    middle = (1 + 2.0**-8) / x.astype(np.float64).ravel()
    for name, toward in (("below", -np.inf), ("above", np.inf)):
        near = np.nextafter(middle.astype(np.float32), np.float32(toward))
        yield Case(f"product/midpoints/{name}", "temperature", {"x": x, "factors": near})
    yield Case("product/midpoints/at", "temperature", {"x": x, "factors": middle.astype(np.float32)})
    yield Case("product/error/shape", "temperature", {"x": x, "factors": middle[:3].astype(np.float32)})


def cases(level: str) -> Iterator[Case]:
    """The factors, then the products."""
    yield from _all_factors(level)
    yield from _products(level)
