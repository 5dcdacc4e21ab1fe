# SPDX-License-Identifier: Apache-2.0
"""Inputs of attention: ordinary heads, thresholds of the weights, ties of the quotient, and what must not leak."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np

from bits import BF16, bf16, from_bits, pattern
from witness import formats
from witness.attention import scale_constant

from .case import Case

# With this scale c = RN32(log2(e) * scale) is 1, so that t_j is the score itself.
UNIT = math.log(2)


def _normal(rng: np.random.Generator, *shape: int, factor: float = 1.0) -> np.ndarray:
    return (rng.standard_normal(shape) * factor).astype(np.float32).astype(BF16)


def _random() -> Iterator[Case]:
    rng = np.random.default_rng(61)
    # tokens, keys, query heads, key heads, head dimension
    shapes = [(3, 3, 2, 1, 8), (5, 5, 4, 2, 16), (1, 9, 3, 1, 4), (4, 10, 6, 3, 8), (2, 40, 1, 1, 64), (1, 1, 1, 1, 2)]
    for shape in shapes:
        tokens, keys, heads, key_heads, dim = shape
        for factor in (1.0, 6.0):
            q = _normal(rng, tokens, heads, dim, factor=factor)
            k, v = (_normal(rng, keys, key_heads, dim) for _ in range(2))
            for mask in ("causal", "full"):
                yield Case(f"{shape} times {factor}, {mask}", "attention", q=q, k=k, v=v, mask=mask)
    for scale in (0.125, 0.3, 1.0, 0.0, 1e-3, 1e-45):
        yield Case(f"scale {scale}", "attention", q=q, k=k, v=v, scale=scale)
    q, k, v = (_normal(rng, n, 1, 4, factor=f) for n, f in ((6, 30.0), (4, 30.0), (4, 1.0)))
    yield Case("fewer keys than queries", "attention", q=q, k=k, v=v, mask="full")
    q, k, v = _normal(rng, 2, 1, 16), _normal(rng, 300, 1, 16), _normal(rng, 300, 1, 16)
    yield Case("300 keys", "attention", q=q, k=k, v=v)
    for exponent in (20, 40, 60, 63):
        q, k = (_normal(rng, n, 1, 4, factor=2.0**exponent) for n in (4, 7))
        yield Case(f"scores of 2**{2 * exponent}", "attention", q=q, k=k, v=_normal(rng, 7, 1, 4))
    yield Case("no tokens", "attention", q=np.zeros((0, 2, 4), BF16), k=k, v=k)
    yield Case("no heads", "attention", q=np.zeros((2, 0, 4), BF16), k=k, v=k)
    none = np.zeros((0, 1, 4), BF16)
    yield Case("no tokens and no keys", "attention", q=none, k=none, v=none)
    yield Case("no keys", "attention", q=q, k=none, v=none, mask="full")


def _pieces(x: float) -> list[float]:
    """Three bf16 numbers whose sum is an fp32 number."""
    parts = []
    for _ in range(3):
        part = float(from_bits(int(pattern(np.float32(x))) & 0xFFFF0000, np.float32)[()])
        parts.append(part)
        x -= part
    assert x == 0
    return parts


def _threshold_logits() -> list[Fraction]:
    """Where 2**t is halfway between two weights, to 200 bits."""
    with mpmath.workprec(200):
        exact = [formats.exact(mpmath.log(mpmath.mpf(2 * m + 1) / 256, 2)) for m in range(128, 256)]
    return [x + shift for x in exact for shift in (0, -1, 3)]


def _neighbours(x: Fraction) -> tuple[float, float]:
    """The fp32 numbers around a real number."""
    near = np.float32(float(x))
    below = near if Fraction(float(near)) < x else np.nextafter(near, np.float32(-np.inf))
    return float(below), float(np.nextafter(below, np.float32(np.inf)))


def _thresholds() -> Iterator[Case]:
    """Scores on both sides of the thresholds: two keys, and values that show the last bit of the weights' quotient."""
    k = bf16([[0, 0, 0], [1, 1, 1]])[:, None, :]
    v = bf16([[1, 1, 3], [-1, 0, -0.25]])[:, None, :]
    for name, scale in {"": UNIT, ", default scale": None, ", scale 0.3": 0.3}.items():
        c = Fraction(scale_constant(3, scale))
        scores = [s for t in _threshold_logits() for s in _neighbours(t / c)]
        q = bf16([_pieces(s) for s in scores])[:, None, :]
        yield Case(f"thresholds of the weights{name}", "attention", q=q, k=k, v=v, scale=scale, mask="full")


def _one_row(name: str, logits: Sequence[float], values: Sequence[float]) -> Case:
    """One query; key j has t_j = logits[j] and the value values[j], in the second column its opposite."""
    q = bf16([[[1, 0]]])
    k = bf16([[[t, 0]] for t in logits])
    v = bf16([[[x, -x]] for x in values])
    return Case(name, "attention", q=q, k=k, v=v, scale=UNIT, mask="full")


def _quotients() -> Iterator[Case]:
    tie, up = [1, 1 + 2.0**-7], [1 + 2.0**-7, 1 + 2.0**-6]
    inf, nan, big = np.inf, np.nan, 2.0**126
    yield _one_row("tie to even", [0, 0], tie)
    yield _one_row("tie to even, upward", [0, 0], up)
    for t in (-30, -200, -3072, -(2.0**100)):
        for x in (2.0, 0.5, -1.0):
            yield _one_row(f"tie decided by {x} at {t}", [0, 0, t], [*tie, x])
            yield _one_row(f"upper tie decided by {x} at {t}", [t, 0, 0], [x, *up])
    yield _one_row("two far terms, the nearer decides", [0, -500, 0, -900], [tie[0], 0, tie[1], big])
    yield _one_row("far terms cancel, a farther decides", [0, 0, -500, -500, -(2.0**80)], [*tie, 4, -2.0, 3])
    yield _one_row("small terms add up", [0, 0, *[-9] * 40], [*tie, *[1.25] * 40])
    yield _one_row("cancels to zero", [0, 0, -1, -1], [1, -1, 3, -3])
    yield _one_row("cancels to a far negative", [0, 0, -100], [1, -1, -(2.0**-133)])
    yield _one_row("cancels to an infinitely far rest", [0, 0, -(2.0**120)], [1, -1, 5])
    yield _one_row("cancels to a small rest", [7, 7, -60], [3, -3, 1.5])
    yield _one_row("minus zeros", [0, 1, 2], [-0.0, -0.0, -0.0])
    yield _one_row("largest values", [0, 0, -3], [255 * 2.0**120] * 3)
    yield _one_row("smallest values", [0, 0, 1], [2.0**-133, 0, -(2.0**-133)])
    yield _one_row("half of the smallest", [0, 0], [2.0**-133, 0])
    yield _one_row("above half of the smallest", [0, 0, -400], [2.0**-133, 0, 2.0**-133])
    yield _one_row("logit NaN", [0, nan, 1], [1, 2, 3])
    yield _one_row("logit +Inf", [0, inf, 1], [1, 2, 3])
    yield _one_row("logit -Inf hides its value", [0, -inf, 1], [1, nan, 3])
    yield _one_row("all logits -Inf", [-inf, -inf], [nan, inf])
    yield _one_row("value Inf", [0, -(2.0**99), 1], [1, inf, 3])
    yield _one_row("values of both infinities", [0, -4, 1], [-inf, inf, 3])
    yield _one_row("value NaN", [0, -4, 1], [-inf, nan, 3])


def _leaks() -> Iterator[Case]:
    rng = np.random.default_rng(62)
    for special in (np.nan, np.inf, -np.inf):
        for where in ("k", "v"):
            q, k, v = (_normal(rng, n, heads, 4) for n, heads in ((4, 4), (7, 2), (7, 2)))
            {"k": k, "v": v}[where][5, 1, 2] = special
            for mask in ("causal", "full"):
                yield Case(f"{special} in {where}, {mask}", "attention", q=q, k=k, v=v, mask=mask)
        q[1, 2, 0] = special
        yield Case(f"{special} in q", "attention", q=q, k=k, v=_normal(rng, 7, 2, 4))
    # Scores that overflow fp32, and scores that c takes beyond it.
    q, k = bf16([[[2.0**100, 1]], [[-(2.0**100), 1]]]), bf16([[[2.0**60, 0]], [[0, 1]], [[2.0**-99, 1]]])
    v = bf16([[[1, 2]], [[3, np.nan]], [[5, 6]]])
    for scale in (None, 0.0, 1e-30, 1e30):
        yield Case(f"overflowing scores, scale {scale}", "attention", q=q, k=k, v=v, scale=scale, mask="full")


def _chunks() -> Iterator[Case]:
    """Queries at the beginning, in the middle and at the end of chunks, the first of which may begin before them."""
    rng = np.random.default_rng(63)
    # tokens, keys, query heads, key heads, head dimension; chunks
    shapes = {
        (9, 9, 2, 1, 4): (1, 2, 3, 4, 8, 9, 10, 1 << 62),
        (4, 13, 4, 2, 8): (1, 5, 6, 12, 13, 14),
        (1, 12, 3, 1, 4): (1, 4, 6, 11, 12),
    }
    for shape, chunks in shapes.items():
        tokens, keys, heads, key_heads, dim = shape
        q = _normal(rng, tokens, heads, dim, factor=3.0)
        k, v = (_normal(rng, keys, key_heads, dim) for _ in range(2))
        for chunk in chunks:
            yield Case(f"{shape} by {chunk}", "attention", q=q, k=k, v=v, mask="chunked", chunk=chunk)
    for special in (np.nan, np.inf, -np.inf):
        for where in ("k", "v"):
            q, k, v = (_normal(rng, n, heads, 4) for n, heads in ((8, 2), (10, 1), (10, 1)))
            {"k": k, "v": v}[where][[3, 8], 0, 2] = special
            for chunk in (4, 5):
                yield Case(f"{special} in {where}, by {chunk}", "attention", q=q, k=k, v=v, mask="chunked", chunk=chunk)
    none = np.zeros((0, 1, 4), BF16)
    yield Case("no tokens, by 3", "attention", q=none, k=k, v=v, mask="chunked", chunk=3)
    yield Case("no tokens and no keys, by 3", "attention", q=none, k=none, v=none, mask="chunked", chunk=3)


@cache
def cases() -> list[Case]:
    """All calls of attention."""
    return [case for group in (_random, _thresholds, _quotients, _leaks, _chunks) for case in group()]
