# SPDX-License-Identifier: Apache-2.0
"""Accumulators run for many rows at once, row i of a with row i of b: a second reading, apart from fp8ref. [MMA-STEP]

Written from the published parameters, with other means than ``compare``'s bounds: signed sums, no magnitudes. Float64
holds every step: at most 33 terms below 2**27.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np

E4M3, E5M2, BF16, FP16 = (
    np.dtype(t) for t in (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.bfloat16, np.float16)
)
SMALLEST = {E4M3: -6, E5M2: -14, BF16: -126, FP16: -14}


def _exponents(x: np.ndarray, smallest: int) -> np.ndarray:
    return np.where(x == 0, -5000, np.maximum(np.frexp(x)[1] - 1, smallest))


class Rows:
    """Products of pairs of rows, with their exponents, (rows, K)."""

    def __init__(self, a: np.ndarray, b: np.ndarray):
        left, right = a.astype(np.float64), b.astype(np.float64)
        self.products = left * right
        self.exponents = _exponents(left, SMALLEST[a.dtype]) + _exponents(right, SMALLEST[b.dtype])
        self.k = a.shape[1]

    def step(self, c: np.ndarray, k: np.ndarray, fraction: int, result: int, floor: int) -> np.ndarray:
        """One fused dot-product-add of the products k."""
        products, exponents = self.products[:, k], self.exponents[:, k]
        top = np.maximum(np.maximum(exponents.max(axis=1), _exponents(c, -126)), floor)
        shift = (fraction - top).astype(np.int32)
        total = np.trunc(np.ldexp(products, shift[:, None])).sum(axis=1) + np.trunc(np.ldexp(c, shift))
        total = np.ldexp(total, -shift)
        quantum = np.maximum(np.frexp(total)[1] - result, -126 - result + 1)
        return np.ldexp(np.trunc(np.ldexp(total, -quantum)), quantum)


def _chain(rows: Rows, k: np.ndarray, block: int, *parameters: int) -> np.ndarray:
    c = np.zeros(len(rows.products))
    for start in range(0, len(k), block):
        c = rows.step(c, k[start : start + block], *parameters)
    return c


def _add(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """RN32(x + y)."""
    return (x.astype(np.float32) + y.astype(np.float32)).astype(np.float64)


def _one_chain(*parameters: int) -> Callable[[Rows, np.ndarray], np.ndarray]:
    return lambda rows, k: _chain(rows, k, *parameters)


def _promoted(rows: Rows, k: np.ndarray) -> np.ndarray:
    main = np.zeros(len(rows.products))
    for start in range(0, len(k), 128):
        main = _add(main, _chain(rows, k[start : start + 128], 32, 13, 14, -133))
    return main


def _pairs(rows: Rows, k: np.ndarray) -> np.ndarray:
    """Two 16-bit instructions for 32 of K, on k % 4 in {0, 1} and in {2, 3}; the accumulator is added last."""
    acc = np.zeros(len(rows.products))
    for start in range(0, len(k), 32):
        piece = np.arange(start, min(start + 32, len(k)))
        h = np.zeros_like(acc)
        for half in (0, 2):
            chosen = k[piece[(piece % 4) // 2 * 2 == half]]
            h = rows.step(h, chosen, 25, 24, -133) if len(chosen) else h
        acc = _add(h, acc)
    return acc


def _exact(rows: Rows, k: np.ndarray) -> np.ndarray:
    return rows.products[:, k].sum(axis=1).astype(np.float32).astype(np.float64)  # for operands whose sums are exact


FP8 = {
    "exact": _exact,
    "sm89_mma": _one_chain(16, 13, 14, -132),
    "sm90_mma_sync": _pairs,
    "sm90_wgmma": _one_chain(32, 13, 14, -133),
    "sm90_wgmma_promoted": _promoted,
    "sm100_tcgen05": _one_chain(32, 25, 24, -133),
    "sm120_mma": _one_chain(32, 25, 24, -133),
}
WIDE = {
    "sm80_mma": _one_chain(8, 24, 24, -132),
    "sm89_mma": _one_chain(8, 24, 24, -132),
    "sm90_mma_sync": _one_chain(16, 25, 24, -133),
    "sm90_wgmma": _one_chain(16, 25, 24, -133),
    "sm100_tcgen05": _one_chain(16, 25, 24, -133),
    "sm120_mma": _one_chain(16, 25, 24, -133),
}


def accumulate(name: str, a: np.ndarray, b: np.ndarray, split_k: int = 1) -> np.ndarray:
    """The accumulators of pairs of rows, as float64."""
    rows, units = Rows(a, b), FP8 if a.dtype.itemsize == 1 else WIDE
    tiles = -(-rows.k // 128)
    each = -(-tiles // split_k) * 128 if name != "exact" else max(rows.k, 1)
    total = None
    for start in range(0, rows.k, max(each, 1)):
        part = units[name](rows, np.arange(start, min(start + each, rows.k)))
        total = part if total is None else _add(total, part)
    return np.zeros(len(a)) if total is None else total
