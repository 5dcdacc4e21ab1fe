# SPDX-License-Identifier: Apache-2.0
"""scaled_mm of every accumulator beside numpy's float64 matrix product, which takes turns with it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backends import backend as open_backend
from ..golden import scaled_mm as golden
from .measure import GIGA, Figure, Work, matmul, seconds

# (M, N, K): a cube, and projections of a model 4096 wide: attention and the gate of the MLP (Llama 3 8B).
SHAPES = ((1024, 1024, 1024), (256, 4096, 4096), (256, 14336, 4096))
CUBE = SHAPES[0]
FEW_ROWS = (64, 1024, 1024)  # for what is slow: golden's tensor cores, and emulators in Python
LIMIT = "numpy, in turns"
MAIN = ("exact", "sm90_wgmma")  # measured at every shape; the other accumulators at one

Codes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def codes(rows: int, columns: int) -> Codes:
    """Finite codes in a fixed pattern."""
    return ((np.arange(rows * columns) * 37) % 127).astype(np.uint8).reshape(rows, columns)


def _product(name: str, accumulate: str, shape: tuple[int, int, int]) -> Work:
    """One call of a backend's scaled_mm. Golden keeps its weights decoded, as a golden model does."""
    m, n, k = shape
    a, b = codes(m, k), codes(n, k)
    weights: Any = golden.operand(b) if name == "golden" else b
    a_scale, b_scale = np.full((m, 1), 0.01, np.float32), np.full((n, 1), 0.02, np.float32)
    function = open_backend(name).scaled_mm
    return lambda: function(a, weights, a_scale, b_scale, accumulate=accumulate)


def _figures(label: str, shape: tuple[int, int, int], works: dict[str, Work]) -> Iterator[Figure]:
    """numpy's rate at a shape, and the works' rates beside it."""
    if not works:
        return
    m, n, k = shape
    size = "x".join(map(str, shape))
    first, *others = seconds(matmul(*shape), *works.values())
    base = m * n * k / first / GIGA
    yield Figure(f"numpy float64 {size}", base, "GMAC/s")
    for work, taken in zip(works, others, strict=True):
        yield Figure(f"{label} {work} {size}".lstrip(), m * n * k / taken / GIGA, "GMAC/s", base, LIMIT)


def _mmaemu() -> dict[str, Work]:
    """The same accumulators by mmaemu, where it is installed: FP8 tensor cores emulated with torch."""
    try:
        mmaemu, torch = importlib.import_module("mmaemu"), importlib.import_module("torch")
    except ImportError:
        return {}
    m, n, k = FEW_ROWS
    a, b = (torch.from_numpy(codes(rows, k)).view(torch.float8_e4m3fn) for rows in (m, n))
    return {"mmaemu hopper": lambda: mmaemu.accumulate(a, b, use_fast_accum=True, splitk=1)}


def op_figures(name: str) -> list[Figure]:
    """The rates of a backend, ``cpu`` or ``golden``, in multiply-adds per second.

    Golden's tensor cores are measured on few rows. The bound of all figures is numpy's float64 product: the exact
    accumulator has to do as many multiply-adds, a tensor core's has to do more.
    """
    main = MAIN if name == "cpu" else MAIN[:1]
    rest = [accumulate for accumulate in golden.ACCUMULATORS if accumulate not in main]
    found: list[Figure] = []
    for shape in SHAPES:
        found += _figures("scaled_mm", shape, {x: _product(name, x, shape) for x in main})
    shape = CUBE if name == "cpu" else FEW_ROWS
    found += _figures("scaled_mm", shape, {x: _product(name, x, shape) for x in rest})
    peers = _mmaemu()
    if peers:
        ours = {"scaled_mm sm90_wgmma": _product(name, "sm90_wgmma", FEW_ROWS)}
        found += _figures("", FEW_ROWS, ours | peers)
    return found
