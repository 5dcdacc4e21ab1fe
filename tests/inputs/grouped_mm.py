# SPDX-License-Identifier: Apache-2.0
"""Inputs of the grouped product: empty groups, rows of no group, every shape of the scales, every epilogue."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from bits import BF16, E4M3, from_bits

from .case import Case
from .mma import E5M2

ROWS, EXPERTS, COLUMNS, DEPTH = 7, 4, 3, 130
EXACT_ORDERS, BLOCK_ORDERS = ("a_b", "b_a", "ab"), ("deepgemm", "triton", "triton_ba")
OFFSETS = {
    "all rows": (0, 2, 3, 6, 7),
    "empty groups": (0, 0, 4, 4, 7),
    "empty at the end": (0, 3, 7, 7, 7),
    "rows of no group": (1, 3, 3, 4, 5),
    "one expert has all": (0, 0, 7, 7, 7),
    "no rows at all": (3, 3, 3, 3, 3),
}


def _codes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    bits = rng.integers(0, 256, shape)
    return from_bits(np.where(bits & 0x7F == 0x7F, bits ^ 1, bits), E4M3)


def _scales(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.exp2(rng.uniform(-6, 0, shape)).astype(np.float32)


def _call(rng: np.random.Generator, offsets: Any, **more: Any) -> dict[str, Any]:
    arguments = {"a": _codes(rng, ROWS, DEPTH), "b": _codes(rng, EXPERTS, COLUMNS, DEPTH)}
    arguments |= {"a_scale": _scales(rng, ROWS, 1), "b_scale": _scales(rng, EXPERTS, COLUMNS, 1)}
    return arguments | {"offsets": np.array(offsets, dtype=np.int32)} | more


def _groups() -> Iterator[Case]:
    rng = np.random.default_rng(31)
    for name, offsets in OFFSETS.items():
        for dtype in (np.int32, np.int64):
            yield Case(f"{name}, {dtype.__name__}", "grouped_mm", **_call(rng, np.array(offsets, dtype=dtype)))
        for out in ("float32", "float8_e4m3fn"):
            kept = from_bits(rng.integers(0, 120, (ROWS, COLUMNS)), np.float32 if out == "float32" else E4M3)
            more: dict[str, Any] = {"out_dtype": out, "out": kept}
            more |= {} if out == "float32" else {"out_scale": np.float32(0.25), "overflow": "nan"}
            yield Case(f"{name}, out {out}", "grouped_mm", **_call(rng, offsets, **more))
    none = {"b": _codes(rng, 0, COLUMNS, DEPTH), "b_scale": _scales(rng, 0), "a_scale": np.float32(1)}
    yield Case("no experts", "grouped_mm", **_call(rng, [2]) | none)


def _scale_shapes() -> Iterator[Case]:
    rng = np.random.default_rng(32)
    offsets = OFFSETS["rows of no group"]
    for b_shape in ((), (EXPERTS,), (EXPERTS, COLUMNS, 1)):
        for a_shape in ((), (ROWS, 1)):
            scales = {"a_scale": _scales(rng, *a_shape), "b_scale": _scales(rng, *b_shape)}
            yield Case(f"scales {a_shape} {b_shape}", "grouped_mm", **_call(rng, offsets) | scales)
    wide = {"b": _codes(rng, EXPERTS, 140, DEPTH)}
    for epilogue in (*EXACT_ORDERS, *BLOCK_ORDERS):
        for columns in (2, 140):
            scales = {"a_scale": _scales(rng, ROWS, 2), "b_scale": _scales(rng, EXPERTS, columns, 2)}
            arguments = _call(rng, offsets) | wide | scales
            yield Case(f"blocks {epilogue} {columns}", "grouped_mm", **arguments, epilogue=epilogue)


def _policies() -> Iterator[Case]:
    rng = np.random.default_rng(33)
    for epilogue in EXACT_ORDERS:
        for accumulate in ("exact", "sm90_wgmma"):
            bias = (rng.standard_normal((EXPERTS, COLUMNS)) * 8).astype(np.float32).astype(BF16)
            policy = {"epilogue": epilogue, "accumulate": accumulate, "bias": bias, "out_dtype": "float32"}
            yield Case(f"{epilogue} {accumulate}", "grouped_mm", **_call(rng, (0, 1, 1, 5, 6), **policy))


def _e5m2() -> Iterator[Case]:
    rng = np.random.default_rng(34)
    for accumulate in ("exact", "sm89_mma"):
        arguments = _call(rng, (0, 1, 1, 5, 6), accumulate=accumulate)
        a = from_bits(rng.integers(0, 256, arguments["a"].shape), E5M2)
        a[0] = arguments["a"][0].astype(E5M2)
        yield Case(f"e5m2 x e4m3, {accumulate}", "grouped_mm", **arguments | {"a": a})
        b = from_bits(rng.integers(0, 0x7C, arguments["b"].shape), E5M2)
        yield Case(f"e4m3 x e5m2, {accumulate}", "grouped_mm", **arguments | {"b": b})


@cache
def cases() -> list[Case]:
    """All calls of grouped_mm."""
    return [case for group in (_groups, _scale_shapes, _policies, _e5m2) for case in group()]
