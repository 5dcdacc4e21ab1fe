# SPDX-License-Identifier: Apache-2.0
"""Operands that bring an accumulator close to its error bound, found by hill climbing over their bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compare.units import E4M3, accumulate
from fp8ref import compare

POPULATION, KEPT = 48, 12


@dataclass
class Found:
    """The best pair of rows, and its error as a part of the bound."""

    a: np.ndarray
    b: np.ndarray
    ratio: float


def ratios(name: str, a: np.ndarray, b: np.ndarray, split_k: int = 1) -> np.ndarray:
    """|error| / bound of pairs of rows; where the bound is 0 the error must be."""
    exact = (a.astype(np.float64) * b.astype(np.float64)).sum(axis=1)
    error = np.abs(accumulate(name, a, b, split_k) - exact)
    limit = compare.bound(a, b, accumulate=name, split_k=split_k).diagonal()
    assert (error <= limit).all(), name
    return np.where(limit > 0, error / np.where(limit > 0, limit, 1), 0.0)


def finite(rng: np.random.Generator, dtype: np.dtype, shape: tuple[int, ...], spread: int) -> np.ndarray:
    """Random operands: ``spread`` exponents below and above 1, so that sums of products stay exact in float64."""
    exponents = rng.integers(-spread, spread + 1, shape)
    significands = 1 + rng.integers(0, 1 << 12, shape) / (1 << 12)
    return np.ldexp(significands, exponents).astype(np.float32).astype(dtype)


def climb(name: str, dtype: np.dtype, k: int, seed: int, generations: int = 12, split_k: int = 1) -> Found:
    """Keep the best rows, replace the others by copies of them with some operands drawn anew.

    Half of the first rows repeat every 32 of K: then all steps and roundings have much the same error.
    """
    rng = np.random.default_rng(seed)
    spread = 6 if dtype == E4M3 else 7
    a, b = (finite(rng, dtype, (POPULATION, k), spread) for _ in range(2))
    for rows in (a, b):
        rows[::2] = np.tile(rows[::2, :32], -(-k // 32))[:, :k]
    for _ in range(generations):
        order = np.argsort(-ratios(name, a, b, split_k), kind="stable")[:KEPT]
        copies = np.tile(order, POPULATION // KEPT)
        a, b = a[copies], b[copies]
        for rows in (a, b):
            drawn = rng.random((POPULATION, k)) < rng.choice([1 / k, 0.05, 0.3], (POPULATION, 1))
            drawn[:KEPT] = False
            rows[drawn] = finite(rng, dtype, rows.shape, spread)[drawn]
    ratio = ratios(name, a, b, split_k)
    best = int(ratio.argmax())
    return Found(a[best : best + 1], b[best : best + 1], float(ratio[best]))
