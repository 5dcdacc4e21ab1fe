# SPDX-License-Identifier: Apache-2.0
"""Inputs of the attention temperature: where the floor steps, and logarithms near midpoints of float32."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from bits import BF16, from_bits

from .case import Case
from .elementwise import EDGES

LAST = 2**24 - 1  # position
LLAMA4 = {"floor_scale": 8192, "attn_scale": 0.1}


def _factors(name: str, positions: object, floor_scale: float, attn_scale: float) -> Case:
    arguments = {"floor_scale": floor_scale, "attn_scale": attn_scale}
    return Case(name, "temperature_factors", positions=np.asarray(positions, np.int64), **arguments)


def _all_factors() -> Iterator[Case]:
    rng = np.random.default_rng(84)
    steps = np.arange(1, 2048, 101)[:, None] * 8192 + np.array([-2, -1, 0])
    yield _factors("Llama 4", np.r_[0, 1, 8190, 8191, 8192, 10485759, LAST, steps.ravel()], **LLAMA4)
    random = rng.integers(0, 2**24, 200)
    yield _factors("every position a step", np.r_[np.arange(300), random, LAST], 1, 1)
    yield _factors("half a position", random, 0.5, 0.3)
    # The quotient is rounded before the floor: 1 / 3 and its like reach a whole number from below.
    for floor in (1 / 3, 0.1, 0.7, 2.9999998, 1e-3, 49.7):
        yield _factors(f"a floor of {floor}", np.r_[np.arange(60), random[:60]], floor, 0.1)
    for floor in (1e-30, 1e-38, 1e-44, 1e30, 3.4e38):
        yield _factors(f"a floor of {floor}", [0, 1, 1000, LAST], floor, 0.1)
    for scale in (1e-44, 1e-8, 1e-3, 0.1000000001, 7.0, 1e30, 3.4e38):
        yield _factors(f"a scale of {scale}", np.r_[np.arange(40), LAST], 1, scale)
    yield _factors("numbers that float32 rounds", random, 8192.0001, 0.1 + 1e-10)
    yield _factors("no positions", np.arange(0), 1, 1)


def _products() -> Iterator[Case]:
    rng = np.random.default_rng(85)
    for tokens, heads, width in ((5, 3, 8), (1, 1, 1), (3, 2, 16)):
        x = rng.standard_normal((tokens, heads, width)).astype(np.float32).astype(BF16)
        yield Case(f"{(tokens, heads, width)}", "temperature", x=x, factors=_plausible(rng, tokens))
    x = from_bits(rng.integers(0, 1 << 16, (60, 2, 8)), BF16)
    yield Case("any bits", "temperature", x=x, factors=from_bits(rng.integers(0, 2**32, 60), np.float32))
    edges = from_bits(np.array(EDGES)[None, None].repeat(12, 0), BF16)
    factors = from_bits([0, 1, 0x80000000, 0x3F800000, 0x3F800001, 0x7F7FFFFF, 0x7F800000, 0xFF800000], np.float32)
    more = np.array([np.nan, -2.5, 1.003, 2.0**-20], np.float32)
    yield Case("edges", "temperature", x=edges, factors=np.r_[factors, more])
    # Products that float32 rounds to a midpoint of bfloat16, from below and from above.
    x = from_bits(np.arange(0x3F80, 0x4000)[:, None, None], BF16)
    midpoint = (x.astype(np.float64).ravel() * 0 + 1 + 2.0**-8) / x.astype(np.float64).ravel()
    for name, toward in (("below", -np.inf), ("above", np.inf)):
        near = np.nextafter(midpoint.astype(np.float32), np.float32(toward))
        for label, factors in (("at", midpoint.astype(np.float32)), (name, near)):
            yield Case(f"midpoints from {name}, {label}", "temperature", x=x, factors=factors)
    yield Case("no tokens", "temperature", x=np.zeros((0, 2, 4), BF16), factors=np.zeros(0, np.float32))
    yield Case("no heads", "temperature", x=np.zeros((2, 0, 4), BF16), factors=np.ones(2, np.float32))


def _plausible(rng: np.random.Generator, tokens: int) -> np.ndarray:
    return rng.uniform(1, 1.8, tokens).astype(np.float32)


@cache
def cases() -> list[Case]:
    """All calls of temperature_factors and temperature."""
    return [*_all_factors(), *_products()]
