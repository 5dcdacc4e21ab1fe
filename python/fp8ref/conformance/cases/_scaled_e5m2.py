# SPDX-License-Identifier: Apache-2.0
"""Cases of scaled_mm and grouped_mm with E5M2 codes: infinities, sums of 64 bits, every accumulator and order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from ...golden._operand import ACCUMULATORS
from ._case import Case
from ._stream import FLOAT8, FLOAT32, Array, Stream

E5M2 = np.dtype(ml_dtypes.float8_e5m2)
TYPES = {"e4m3_e5m2": (FLOAT8, E5M2), "e5m2_e4m3": (E5M2, FLOAT8), "e5m2_e5m2": (E5M2, E5M2)}
ONE = np.float32(1)
INFINITE = (0x7C, 0xFC)
Arguments = Iterator[tuple[str, dict[str, Any]]]


def _mm(a: Array, b: Array, **more: Any) -> dict[str, Any]:
    return {"a": a, "b": b, "a_scale": ONE, "b_scale": ONE, "out_dtype": "float32", **more}


def codes_of(s: Stream, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Finite codes of either type, uniform over them."""
    if dtype == FLOAT8:
        return s.codes(shape)
    finite = np.array([code for code in range(256) if code & 0x7F < 0x7C], dtype=np.uint8)
    return s.pick(finite, shape).view(E5M2)


def _accumulators() -> Arguments:
    for label, types in TYPES.items():
        for m, n, k in ((2, 3, 0), (5, 7, 31), (9, 5, 300)):
            s = Stream(f"scaled_mm/{label}/{k}")
            a, b = codes_of(s, (m, k), types[0]), codes_of(s, (n, k), types[1])
            for accumulate in ACCUMULATORS:
                name = f"{label}/{m}x{n}x{k}/{accumulate}"
                yield name, _mm(a, b, accumulate=accumulate)
                scales = {"a_scale": s.scales((m, 1)), "b_scale": s.scales((n, 1)), "out_dtype": "bfloat16"}
                yield f"{name}/scaled", _mm(a, b, accumulate=accumulate, **scales, bias=s.normal((n,), FLOAT32))
                if k > 128:
                    yield f"{name}/split", _mm(a, b, accumulate=accumulate, split_k=2)


def _specials() -> Arguments:
    """Any codes at all, and single infinities that meet numbers, zeros and one another."""
    for label, types in TYPES.items():
        s = Stream(f"scaled_mm/{label}/specials")
        a, b = (codes_of(s, (8, 40), dtype) for dtype in types)
        some = a.copy(), b.copy()
        for x, dtype, places in zip(some, types, ((0, 1, 2, 2), (2, 5, 6, 7)), strict=True):
            if dtype == E5M2:
                for row, column, code in zip(places, (3, 5, 7, 11), (*INFINITE, *INFINITE), strict=True):
                    x.view(np.uint8)[row, column] = code
        some[1].view(np.uint8)[1, 3] = 0  # infinity meets zero
        for accumulate in ACCUMULATORS:
            yield f"{label}/infinite/{accumulate}", _mm(*some, accumulate=accumulate)
            any_a, any_b = s.bits((6, 33), types[0]), s.bits((6, 33), types[1])
            yield f"{label}/any_bits/{accumulate}", _mm(any_a, any_b, accumulate=accumulate)


def _wide_sums() -> Arguments:
    """2**32 + 2**8, a midpoint of float32, and the smallest product beside it: 64 bits, more than float64 holds."""
    a = np.array([[2.0**15] * 4 + [2.0**7, 2.0**-16], [2.0**15, -(2.0**15), 2.0**15, -(2.0**15), 1.0, 2.0**-16]])
    b = np.array([[2.0**15] * 4 + [2.0, tiny] for tiny in (0.0, 2.0**-16, -(2.0**-16))])
    for accumulate in ("exact", "sm100_tcgen05"):
        yield f"midpoint/{accumulate}", _mm(_codes(a), _codes(b), accumulate=accumulate)
    blocks = {"a_scale": np.ones((2, 1), np.float32), "b_scale": np.ones((3, 1), np.float32)}
    yield "midpoint/blocks", _mm(_codes(a), _codes(b), epilogue="deepgemm") | blocks


def _codes(values: Array) -> Array:
    codes = values.astype(np.float32).astype(E5M2)
    assert np.array_equal(codes.astype(np.float64), values)
    return codes


def _blocks() -> Arguments:
    for label, types in TYPES.items():
        s = Stream(f"scaled_mm/{label}/blocks")
        a, b = codes_of(s, (6, 260), types[0]), codes_of(s, (5, 260), types[1])
        scales = {"a_scale": s.scales((6, 3)), "b_scale": s.scales((5, 3))}
        for epilogue in ("a_b", "deepgemm", "triton", "triton_ba"):
            yield f"{label}/{epilogue}", _mm(a, b, epilogue=epilogue) | scales
        yield f"{label}/triton/unit", _mm(a, b, epilogue="triton", accumulate="sm90_wgmma") | scales
        if types[0] == E5M2:
            a = a.copy()
            a.view(np.uint8)[1, 130], a.view(np.uint8)[4, 259] = INFINITE
            yield f"{label}/infinite", _mm(a, b) | scales


def e5m2_cases() -> Iterator[Case]:
    """Of scaled_mm, at every level."""
    for group in (_accumulators(), _specials(), _wide_sums(), _blocks()):
        for name, arguments in group:
            yield Case(f"e5m2/{name}", "scaled_mm", arguments)


def grouped_e5m2_cases() -> Iterator[Case]:
    """Of grouped_mm, at every level."""
    for label, types in TYPES.items():
        s = Stream(f"grouped_mm/{label}")
        a, b = codes_of(s, (9, 70), types[0]), codes_of(s, (3, 5, 70), types[1])
        a.view(np.uint8)[4, 9] = 0x7C
        for accumulate in ("exact", "sm90_wgmma"):
            more = {"offsets": np.array([0, 4, 4, 8], dtype=np.int32), "accumulate": accumulate}
            yield Case(f"e5m2/{label}/{accumulate}", "grouped_mm", _mm(a, b, **more))
