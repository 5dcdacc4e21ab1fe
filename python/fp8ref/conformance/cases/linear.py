# SPDX-License-Identifier: Apache-2.0
"""Cases of the bf16 linear: K tails, exponents far apart, sums at midpoints, cancellation, overflow, underflow, NaN."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...golden._units import MODES, units_of
from ._case import BF16_SPECIAL, Case
from ._stream import BFLOAT16, FLOAT16, FLOAT32, Array, Stream

SHAPES = ((1, 1, 1), (5, 32, 32), (2, 3, 0), (0, 4, 8), (3, 0, 8), (5, 7, 31), (3, 9, 257), (9, 33, 64), (4, 5, 576))


def _bf16(rows: Any) -> Array:
    """bf16 of values that it holds exactly."""
    values = np.array(rows, dtype=np.float32)
    narrow = values.astype(BFLOAT16)
    assert np.array_equal(narrow.astype(np.float32), values)
    return narrow


def _plain(level: str) -> Iterator[tuple[str, Array, Array, Array | None]]:
    for m, n, k in SHAPES:
        s = Stream(f"linear/{m}x{n}x{k}")
        yield f"{m}x{n}x{k}", s.normal((m, k)), s.normal((n, k), exponent=-5), None
    for label, dtype in (("bf16", BFLOAT16), ("fp16", FLOAT16), ("fp32", FLOAT32)):
        s = Stream(f"linear/bias/{label}")
        yield f"bias_{label}", s.normal((6, 40)), s.normal((11, 40)), s.normal((11,), dtype, exponent=3)
    # float64 sums of these are inexact in most orders: the certificate, then the exact fallback, must decide.
    for low, high in ((-4, 4), (-20, 20), (-60, 60), (-126, 127)):
        s = Stream(f"linear/spread/{low}/{high}")
        yield f"spread_{high}", s.spread((8, 48), low, high), s.spread((12, 48), low, high), None
    if level == "full":
        for m, n, k in ((64, 576, 576), (16, 1536, 576), (16, 576, 1536), (4, 4096, 576)):
            s = Stream(f"linear/full/{m}x{n}x{k}")
            yield f"full_{m}x{n}x{k}", s.normal((m, k)), s.normal((n, k), exponent=-5), None
        for high in (2, 8, 14, 20, 30, 45, 60, 90):
            s = Stream(f"linear/full/spread/{high}")
            yield f"full_spread_{high}", s.spread((64, 96), -high, high), s.spread((64, 96), -high, high), None


def _midpoints() -> Iterator[tuple[str, Array, Array, Array | None]]:
    """1 + 2**-8 is a midpoint of bf16, 1 + 2**-24 one of float32; a last term far below decides or does not."""
    x = _bf16([[1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, 1.0]])
    below = (0.0, 2.0**-24, 2.0**-60, -(2.0**-60), 2.0**-100, -(2.0**-100))
    yield "bf16_midpoint", x, _bf16([[1.0, h, 0.0, t] for h in (2.0**-8, 3 * 2.0**-8) for t in below]), None
    # RN32 first: a term below 2**-25 is lost before RNbf sees the bf16 midpoint. [LINEAR-ROUND]
    yield "both_midpoints", x, _bf16([[1.0, 2.0**-8, h, t] for h in (2.0**-24, -(2.0**-24)) for t in below]), None
    yield "float32_midpoint", x, _bf16([[2.0**-8, 2.0**-32, 1.0, t] for t in below]), None


def _cancellation() -> Iterator[tuple[str, Array, Array, Array | None]]:
    s = Stream("linear/cancel")
    half, other = s.spread((5, 32), -40, 40), s.spread((6, 32), -40, 40)
    x, w = np.concatenate([half, half], axis=1), np.concatenate([other, -other], axis=1)
    yield "cancel_to_zero", x, w, None
    yield "cancel_to_bias", x, w, s.normal((6,), FLOAT32, exponent=-90)
    x, w = x.copy(), w.copy()
    x[:, 40], w[:, 40] = np.float32(2.0**-60), np.float32(2.0**-61)
    yield "cancel_to_small", x, w, None


def _extremes() -> Iterator[tuple[str, Array, Array, Array | None]]:
    largest = float(2**128 - 2**120)
    x = _bf16([[largest, largest, 1.0], [largest, -largest, 1.0], [2.0**64, 2.0**64, 2.0**-100]])
    yield "overflow", x, _bf16([[largest, largest, 1.0], [2.0**63, 2.0**63, 1.0], [1.0, 0.0, largest]]), None
    s = Stream("linear/underflow")
    x, w = s.spread((5, 8), -80, -60), s.spread((6, 8), -80, -60)
    yield "underflow", x, w, np.array([0.0, -0.0, 1e-45, -1e-45, 2.0**-133, -(2.0**-133)], dtype=np.float32)
    yield "subnormal", s.spread((5, 8), -70, -60), s.spread((6, 8), -70, -60), None
    yield "special_outer", BF16_SPECIAL[:, None], BF16_SPECIAL[:, None], None
    pairs = s.pick(BF16_SPECIAL, (24, 3)), s.pick(BF16_SPECIAL, (24, 3))
    yield "special_sums", *pairs, None
    yield "special_bias", s.normal((4, 5)), s.normal((28, 5)), BF16_SPECIAL
    yield "random_bits", s.bits((16, 5)), s.bits((16, 5)), None


def _dead() -> Iterator[tuple[str, Array, Array, Array | None]]:
    """Rows of zeros of both signs; their sums are +0, whatever the products' signs are. [LINEAR-ZERO]"""
    s = Stream("linear/dead")
    x, w = s.normal((4, 40)), s.normal((5, 40))
    x[1], x[2], w[3], w[4] = 0, -x[2] * 0, 0, -0.0
    yield "dead_rows", x, w, None
    yield "dead_rows_bias", x, w, np.array([-0.0, 0.0, 1.0, -0.0, 2.0**-140], np.float32)


def _units() -> Iterator[Case]:
    """Products that each tensor core cuts elsewhere, with and without bias, and special values on the way."""
    s = Stream("linear/units")
    x, weight, bias = s.normal((6, 100)), s.spread((7, 100), -9, 3), s.normal((7,), FLOAT32, exponent=2)
    special = s.pick(BF16_SPECIAL, (6, 100))
    small, ones = s.normal((6, 100), exponent=-22), np.ones((7, 100), BFLOAT16)
    small[:, :2] = _bf16([[1.0, -1.0]])
    for accumulate in (*units_of("bf16", "float32"), *MODES):
        more = {"weight": weight, "accumulate": accumulate}
        yield Case(f"unit/{accumulate}", "linear", {"x": x, "bias": None, **more})
        yield Case(f"unit/{accumulate}/bias", "linear", {"x": x, "bias": bias, **more})
        yield Case(f"unit/{accumulate}/special", "linear", {"x": special, "bias": bias, **more})
        # Ones that cancel, in the sum or against the bias: what is left are products of which each unit cut more.
        yield Case(f"unit/{accumulate}/cancel", "linear", {"x": small, "weight": ones, "accumulate": accumulate})
        against = {"x": small[:, 1:], "weight": ones[:, 1:], "bias": ones[:, 0], "accumulate": accumulate}
        yield Case(f"unit/{accumulate}/cancel_bias", "linear", against)
    # +M, -M and ones elsewhere: how many ones are left says which were added between the two. E18 of the probes
    places = np.array([*((0, j) for j in range(1, 72)), *((j, j + 1) for j in range(1, 71))])
    rows = np.ones((len(places), 72))
    np.put_along_axis(rows, places, np.array([[2.0**30, -(2.0**30)]]), axis=1)
    probe = {"x": _bf16(rows), "weight": np.ones((1, 72), BFLOAT16)}
    for accumulate in (*MODES, *units_of("bf16", "float32")):
        yield Case(f"probe/E18/{accumulate}", "linear", {**probe, "accumulate": accumulate})
    yield Case("error/accumulate", "linear", {"x": x, "weight": weight, "accumulate": "sm90_wgmma_promoted"})


def cases(level: str) -> Iterator[Case]:
    """One call for each input; with bias where there is one."""
    for group in (_plain(level), _midpoints(), _cancellation(), _extremes(), _dead()):
        for name, x, weight, bias in group:
            yield Case(name, "linear", {"x": x, "weight": weight, "bias": bias})
    yield from _units()
    s = Stream("linear/error")
    yield Case("error/k_differs", "linear", {"x": s.normal((2, 3)), "weight": s.normal((2, 4))})
    yield Case("error/dtype", "linear", {"x": s.normal((2, 3), FLOAT32), "weight": s.normal((2, 3))})
