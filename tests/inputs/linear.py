# SPDX-License-Identifier: Apache-2.0
"""Inputs of the bf16 projection: sums beside ties of fp32 and bf16, cancellation, the whole exponent range."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from bits import BF16, bf16, from_bits, pattern

from .case import Case
from .mma import MODES, WIDE_UNITS

# Sums of these bf16 numbers. What each shows is in its name.
_SUMS = {
    "fp32 tie decided by 2**-80, then a bf16 tie": [1, 2.0**-8, 2.0**-24, 2.0**-80],
    "the same downward": [1, 2.0**-8, 2.0**-24, -(2.0**-80)],
    "an odd fp32 tie decided by -2**-80": [1, 3 * 2.0**-8, -(2.0**-23), 2.0**-24, -(2.0**-80)],
    "an odd fp32 tie": [1, 3 * 2.0**-8, -(2.0**-23), 2.0**-24],
    "fp32 drops what is above a bf16 tie": [1, 2.0**-8, 2.0**-30],
    "fp32 drops what is below a bf16 tie": [1, 3 * 2.0**-8, -(2.0**-30)],
    "fp32 keeps what is above a bf16 tie": [1, 2.0**-8, 2.0**-23],
    "bf16 tie to even, down": [1, 2.0**-8],
    "bf16 tie to even, up": [1, 3 * 2.0**-8],
    "fp32 tie alone": [1, 2.0**-24, 2.0**-80],
    "cancels to a small rest": [2.0**60, 1, -(2.0**60)],
    "cancels to zero": [3.0, -1.0, -2.0],
    "minus zeros": [-0.0, -0.0, -0.0],
    "largest exponent cancels": [2.0**127, 2.0**127, 1, -(2.0**127), -(2.0**127)],
    "overflow at the end": [2.0**127, 2.0**127],
    "bf16 overflow by rounding": [255 * 2.0**120, 2.0**119],
    "no bf16 overflow": [255 * 2.0**120, 2.0**119, -(2.0**100)],
    "smallest numbers": [2.0**-133, 2.0**-133, -(2.0**-133)],
    "one rest of many": [*([1.0] * 200), *([-1.0] * 200), 2.0**-100],
}


def _sums() -> Iterator[Case]:
    for name, terms in _SUMS.items():
        x = bf16([terms])
        negative = from_bits(pattern(x) ^ 0x8000, BF16)
        both = np.concatenate([x, negative, x[:, ::-1]])
        yield Case(name, "linear", x=both, weight=bf16(np.ones_like(x, dtype=np.float64)))
    # Products at and below the smallest numbers of fp32 and bf16, and above the largest.
    x = bf16([[s * 2.0**e for s in (1, 1.5, -1, -1.9921875)] for e in (-40, -66, -67, -70, -75, 63, 64)])
    yield Case("underflow and overflow", "linear", x=x.reshape(-1, 1), weight=x.reshape(-1, 1))


def _random_bits(rng: np.random.Generator, shape: tuple[int, ...], exponents: tuple[int, int]) -> np.ndarray:
    """Any mantissa and sign, the exponent field in a range."""
    field = rng.integers(*exponents, shape)
    return from_bits((rng.integers(0, 2, shape) << 15) | (field << 7) | rng.integers(0, 128, shape), BF16)


def _random() -> Iterator[Case]:
    rng = np.random.default_rng(21)
    for k in (0, 1, 3, 64, 257):
        x, weight = (rng.standard_normal((n, k)).astype(np.float32).astype(BF16) for n in (6, 7))
        yield Case(f"normal, K={k}", "linear", x=x, weight=weight)
        bias = rng.standard_normal(7).astype(np.float32)
        yield Case(f"normal, K={k}, fp32 bias", "linear", x=x, weight=weight, bias=bias)
        yield Case(f"normal, K={k}, bf16 bias", "linear", x=x, weight=weight, bias=bias.astype(BF16))
        yield Case(f"normal, K={k}, fp16 bias", "linear", x=x, weight=weight, bias=bias.astype(np.float16))
    for low, high in ((0, 255), (0, 20), (60, 68), (90, 165), (180, 255)):
        x, weight = (_random_bits(rng, (8, 24), (low, high)) for _ in range(2))
        yield Case(f"exponents {low} to {high}", "linear", x=x, weight=weight)
        # Each product once more with the other sign, but for the last few columns.
        half, others = _random_bits(rng, (8, 12), (low, high)), _random_bits(rng, (8, 12), (low, high))
        x = np.concatenate([half, from_bits(pattern(half) ^ 0x8000, BF16), x[:, :3]], axis=1)
        weight = np.concatenate([others, others, weight[:, :3]], axis=1)
        order = rng.permutation(x.shape[1])
        yield Case(f"cancelling {low} to {high}", "linear", x=x[:, order], weight=weight[:, order])


def _ties() -> Iterator[Case]:
    """Sums on bf16 ties, one fp32 unit and half a unit away, at many exponents."""
    rng = np.random.default_rng(22)
    exponents = rng.integers(-60, 60, (60, 1))
    heads = (128 + rng.integers(0, 128, (60, 1))) * 2.0 ** (exponents - 7)
    tie = 2.0 ** (exponents - 8)
    unit = rng.choice([0.0, 1, -1, 0.5, -0.5], (60, 1)) * 2.0 ** (exponents - 23)
    least = rng.choice([0.0, 1, -1], (60, 1)) * 2.0 ** (exponents - 60)
    x = bf16(np.concatenate([heads, tie, unit, least], axis=1))
    yield Case("ties", "linear", x=x, weight=bf16([[1, 1, 1, 1], [-1, -1, -1, -1], [1, -1, 1, 1], [2, 2, 2, 2]]))


def _biases() -> Iterator[Case]:
    x, weight = bf16([[1, 2.0**-8], [0, 0], [-1, 0], [np.inf, 0], [3, -0.0]]), bf16([[1, 1], [1, 1], [-1, 0]])
    for name, bias in {
        "in the sum": [2.0**-20, 2.0**-30, -(2.0**-40)],
        "cancels": [-1, 1, -3],
        "minus zero": [-0.0, 0.0, -0.0],
        "infinite": [-np.inf, np.inf, np.nan],
        "smallest": [2.0**-149, -(2.0**-149), 3.4e38],
    }.items():
        yield Case(f"bias {name}", "linear", x=x, weight=weight, bias=np.array(bias, dtype=np.float32))
    # The sum is a tie of fp32 short of one unit of 2**-40: bias and dot must be rounded together.
    x, bias = bf16([[2.0**-24, -(2.0**-50)]]), np.array([1 + 3 * 2.0**-8 - 2.0**-23], dtype=np.float32)
    yield Case("bias is fused", "linear", x=x, weight=bf16([[1, 1]]), bias=bias)


def _specials() -> Iterator[Case]:
    values = from_bits([0, 0x8000, 0x3F80, 0xBF80, 0x7F80, 0xFF80, 0x7FC0, 0xFFC1, 1, 0x7F7F], BF16)
    pairs = np.stack(np.meshgrid(values, values), axis=-1).reshape(-1, 2)
    weight = np.concatenate([pairs[::7], bf16([[1, 1], [0, 1], [-1, 1]])])
    yield Case("specials", "linear", x=pairs, weight=weight)
    rng = np.random.default_rng(23)
    x, weight = (_random_bits(rng, (9, 40), (100, 150)) for _ in range(2))
    x[2, 5], x[3, 7], x[4, :2], weight[1, 5], weight[6, 9] = np.inf, np.nan, (np.inf, -np.inf), 0, -np.inf
    yield Case("specials among others", "linear", x=x, weight=weight)
    for m, n, k in ((0, 2, 3), (2, 0, 3), (2, 2, 0)):
        yield Case(f"shape {m} {n} {k}", "linear", x=np.zeros((m, k), BF16), weight=np.zeros((n, k), BF16))


def _units() -> Iterator[Case]:
    """The same product by every tensor core: sums that each of them cuts elsewhere, and special values."""
    rng = np.random.default_rng(24)
    x, weight = (_random_bits(rng, (3, 50), (115, 140)) for _ in range(2))
    special = x.copy()
    special[0, 3], special[1, 20], special[2, 49] = np.inf, np.nan, -np.inf
    bias = rng.standard_normal(3).astype(np.float32)
    small = (rng.standard_normal((9, 16)) * 2.0**-22).astype(np.float32).astype(BF16)
    small[:, :2], ones = bf16([1, -1]), bf16(np.ones((3, 16)))
    for accumulate in (*WIDE_UNITS, *MODES):
        more = {"weight": weight, "accumulate": accumulate}
        yield Case(f"by {accumulate}", "linear", x=x, **more)
        yield Case(f"by {accumulate}, bias", "linear", x=x, bias=bias, **more)
        yield Case(f"by {accumulate}, specials", "linear", x=special, **more)
        # Ones that cancel, in the sum or against the bias: what is left are products of which each unit cut more.
        yield Case(f"by {accumulate}, cancelling", "linear", x=small, weight=ones, accumulate=accumulate)
        rest = {"x": small[:, 1:], "weight": ones[:, 1:], "bias": ones[:, 0], "accumulate": accumulate}
        yield Case(f"by {accumulate}, cancelling bias", "linear", **rest)
        yield Case(f"by {accumulate}, K=0", "linear", x=x[:, :0], weight=weight[:, :0], accumulate=accumulate)


@cache
def cases() -> list[Case]:
    """All calls of linear."""
    return [case for group in (_sums, _random, _ties, _biases, _specials, _units) for case in group()]
