# SPDX-License-Identifier: Apache-2.0
"""Inputs of RMSNorm."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from bits import BF16, bf16, from_bits, pattern

from .case import Case

EPS = 1e-5

# Rows found by search: an element whose bf16 rounding turns when a step before it is slightly off.
_TURNING = {
    "RN32(x * r) is a tie of bf16, x * r is not": [[-0.33203125, -0.004486083984375], [-1.75, 0.255859375]],
    "r is not one over the rounded root": [[1.15625, -0.26171875, -0.734375], [-2.8125, 0.3671875, -0.005584716796875]],
    "the mean is a division": [[1.6171875, -1.0859375, -1.0], [-2.0625, -1.3828125, 0.267578125]],
    "the sum is exact": [[-0.7578125, -0.0159912109375, 1.7109375], [-0.005645751953125, 0.8046875, 1.1484375]],
    "the last bit of r": [[0.3671875, -0.06982421875, 0.05419921875], [-0.1669921875, 2.046875, 0.2490234375]],
}


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32).astype(BF16)


def _random() -> Iterator[Case]:
    rng = np.random.default_rng(31)
    for rows, columns in ((40, 1), (40, 2), (20, 7), (10, 64), (4, 576), (2, 4096)):
        x, weight = _normal(rng, rows, columns), _normal(rng, columns)
        yield Case(f"normal {columns}", "rmsnorm", x=x, weight=weight, eps=EPS)
        yield Case(f"normal {columns}, no weight", "rmsnorm", x=x, weight=None, eps=1e-6)
    x = _normal(rng, 2, 3, 8)
    yield Case("three dimensions", "rmsnorm", x=x, weight=_normal(rng, 8), eps=EPS)
    yield Case("one dimension", "rmsnorm", x=x[0, 0], weight=_normal(rng, 8), eps=EPS)
    for exponent in range(-140, 128, 12):
        x = from_bits(pattern(_normal(rng, 3, 5)) & 0x807F | max(exponent + 127, 0) << 7, BF16)
        yield Case(f"magnitude 2**{exponent}", "rmsnorm", x=x, weight=_normal(rng, 5), eps=EPS)
        yield Case(f"magnitude 2**{exponent}, small eps", "rmsnorm", x=x, weight=_normal(rng, 5), eps=1e-30)


def _listed() -> Iterator[Case]:
    every = from_bits(np.arange(0, 1 << 15, 13), BF16).reshape(-1, 1)
    yield Case("single numbers", "rmsnorm", x=every, weight=None, eps=EPS)
    one = bf16([1 + 2.0**-7])
    yield Case("single numbers, weight", "rmsnorm", x=every, weight=one, eps=EPS)
    for eps in (1e-5, 1e-6, 1e-12, 0.3, 1.0, 2.5e5, 1e-45, 1e-38, 3e38, 1 + 2.0**-24 + 2.0**-40):
        x = bf16([[1, 2.0**-8, 3], [0, -0.0, 0], [2.0**-133, 0, -(2.0**-133)], [2.0**-60, 2.0**-61, 1]])
        yield Case(f"eps {eps}", "rmsnorm", x=x, weight=bf16([1, -1.5, 0.75]), eps=eps)
    for name, turning in _TURNING.items():
        yield Case(name, "rmsnorm", x=bf16(turning), weight=None, eps=EPS)
    # Squares that add up to a tie of fp32, and a last one of 2**-80 that decides it.
    terms = [1, 2.0**-12, 2.0**-40]
    yield Case("sum at a tie", "rmsnorm", x=bf16([terms, [terms[0], terms[1], 0]]), weight=None, eps=EPS)
    many = np.full((1, 3000), 2.0**-12)
    many[0, 0] = 1
    yield Case("many small squares", "rmsnorm", x=bf16(many), weight=None, eps=2.0**-100)


def _specials() -> Iterator[Case]:
    big = 2.0**127
    rows = [
        [0, 0, 0, 0],
        [0, -0.0, 1, -1],
        [np.inf, 1, -1, 0],
        [-np.inf, np.inf, 2, -0.0],
        [np.nan, 1, 2, 0],
        [big, -big, 1, 0],
        [2.0**63, 2.0**63, -(2.0**63), 0],
        [2.0**63, 0, 2.0**-133, 1],
        [2.0**64, 1, -0.0, 2.0**-133],
        [2.0**-133, 0, 0, 0],
    ]
    weights = [None, [1, -1, 0, -0.0], [np.inf, -np.inf, np.nan, 1], [big, 2.0**-133, 1, 1.5], [2.0**-126] * 4]
    for i, weight in enumerate(weights):
        for eps in (EPS, 1e-38):
            w = None if weight is None else bf16(weight)
            yield Case(f"specials, weight {i}, eps {eps}", "rmsnorm", x=bf16(rows), weight=w, eps=eps)
    # Products in the subnormal range.
    x = bf16([[1, 1.0078125, 1.9921875, 0.50390625]])
    for least in (1, 3, 77, 131, 255):
        w = from_bits([least, least + 1, 0x8000 | least, 2 * least], BF16)
        yield Case(f"subnormal weights {least}", "rmsnorm", x=x, weight=w, eps=EPS)
    yield Case("no rows", "rmsnorm", x=np.zeros((0, 4), BF16), weight=bf16([1, 1, 1, 1]), eps=EPS)


@cache
def cases() -> list[Case]:
    """All calls of rmsnorm."""
    return [case for group in (_random, _listed, _specials) for case in group()]
