# SPDX-License-Identifier: Apache-2.0
"""Cases of attention: GQA, cached prefixes, both masks, flat and peaked scores, NaN and infinity seen and unseen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import _attention_unit
from ._case import BF16_SPECIAL, Case
from ._stream import Array, Stream

# (T, S, query heads, key heads, head_dim)
SHAPES = (
    (1, 1, 1, 1, 1), (5, 5, 9, 3, 64), (1, 17, 4, 1, 8), (7, 20, 2, 2, 16), (3, 3, 6, 2, 5), (0, 4, 2, 1, 8),
    (2, 70, 3, 3, 32), (33, 33, 1, 1, 4),
)  # fmt: skip


def _qkv(s: Stream, shape: tuple[int, int, int, int, int], exponent: int = 0) -> dict[str, Array]:
    t, length, heads, kv_heads, width = shape
    return {
        "q": s.normal((t, heads, width), exponent=exponent),
        "k": s.normal((length, kv_heads, width)),
        "v": s.normal((length, kv_heads, width)),
    }


def _plain(level: str) -> Iterator[tuple[str, dict[str, Any]]]:
    shapes = SHAPES + (((64, 64, 9, 3, 64), (16, 500, 4, 2, 64), (1, 1500, 8, 2, 64)) if level == "full" else ())
    for shape in shapes:
        name = "x".join(map(str, shape))
        for mask in ("causal", "full"):
            yield f"{name}/{mask}", {**_qkv(Stream(f"attention/{name}"), shape), "mask": mask}
    for scale in (0.125, 0.3, 1.0, 1e-30, 100.0, 0.0):
        yield f"scale/{scale}", {**_qkv(Stream("attention/scale"), (6, 11, 4, 2, 16)), "scale": scale}
    # The later query must see the whole prefix; a fresh prompt only itself.
    whole = _qkv(Stream("attention/prefix"), (12, 12, 4, 2, 16))
    yield "prefix/rest", {**whole, "q": whole["q"][7:]}
    yield "prefix/last", {**whole, "q": whole["q"][11:]}


def _scores(level: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Scores all equal, a few bits apart, and so far apart that one weight swallows the rest."""
    shape = (6, 24, 3, 1, 8)
    for exponent in (-130, -8, 4, 8, 20, 60):
        yield f"scores/{exponent}", _qkv(Stream(f"attention/scores/{exponent}"), shape, exponent)
    s = Stream("attention/flat")
    flat = _qkv(s, shape)
    flat["q"] = np.zeros_like(flat["q"])
    yield "flat", flat
    # Equal weights and few values: quotients on midpoints of bf16.
    yield "flat/midpoints", {**flat, "v": s.spread((24, 1, 8), 0, 2)}
    alternating = np.where(np.arange(24)[:, None, None] % 2 == 0, 1, -1).astype(flat["v"].dtype)
    yield "flat/cancel", {**flat, "v": flat["v"][:1] * alternating, "mask": "full"}
    yield "flat/subnormal", {**flat, "v": s.spread((24, 1, 8), -133, -126)}
    yield "flat/largest", {**flat, "v": s.spread((24, 1, 8), 126, 128)}
    yield "values/spread", {**_qkv(s, shape), "v": s.spread((24, 1, 8), -126, 127)}
    for part in range(64 if level == "full" else 2):
        pair = _qkv(Stream(f"attention/pairs/{part}"), (64, 2, 2, 1, 4))
        yield f"pairs/{part}", {**pair, "q": pair["q"], "mask": "full"}


def _specials() -> Iterator[tuple[str, dict[str, Any]]]:
    shape = (5, 9, 4, 2, 8)
    for name, value in (("nan", np.nan), ("inf", np.inf), ("minus_inf", -np.inf)):
        for which in ("q", "k", "v"):
            inputs = _qkv(Stream(f"attention/special/{name}/{which}"), shape)
            spot = {"q": (2, 1, 3), "k": (7, 0, 3), "v": (7, 0, 3)}[which]
            inputs[which][spot] = np.float32(value)
            yield f"special/{name}/{which}", inputs
    # The last key is invisible to all queries but the last: nothing of it may leak.
    inputs = _qkv(Stream("attention/invisible"), shape)
    inputs["k"][8], inputs["v"][8] = np.float32(np.nan), np.float32(np.inf)
    yield "special/invisible", inputs
    # All scores -Inf: no term at all, +0.
    inputs = _qkv(Stream("attention/no_term"), shape)
    inputs["q"][:, :, 0], inputs["k"][:, :, 0] = np.float32(-np.inf), np.float32(1)
    yield "special/no_term", inputs
    s = Stream("attention/special/mixed")
    yield "special/mixed", {key: s.pick(BF16_SPECIAL, (4, 2, 3)) for key in "qkv"}
    both = _qkv(s, shape)
    both["v"][1, :, 2], both["v"][2, :, 2] = np.float32(np.inf), np.float32(-np.inf)
    yield "special/opposite_infinities", both
    yield "no_keys", {**_qkv(s, (3, 0, 4, 2, 8)), "mask": "full"}


# (T, S, query heads, key heads, head_dim), and chunks: of one key, at and beside the last query, beyond all keys
CHUNKS = (
    ((9, 9, 4, 2, 8), (1, 2, 3, 4, 8, 9, 100)), ((3, 20, 2, 1, 5), (1, 6, 17, 18, 19, 20)),
    ((1, 33, 3, 1, 4), (16, 32)),
)  # fmt: skip


def _chunks(level: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The keys of a query's own chunk of positions only, whichever queries are asked for."""
    more = (((64, 300, 4, 2, 16), (100, 128)), ((2, 2100, 2, 1, 8), (2048,))) if level == "full" else ()
    for shape, chunks in (*CHUNKS, *more):
        name = "x".join(map(str, shape))
        for chunk in chunks:
            inputs = _qkv(Stream(f"attention/chunked/{name}"), shape)
            yield f"chunked/{name}/{chunk}", {**inputs, "mask": "chunked", "chunk": chunk}
    for label, value in (("nan", np.nan), ("inf", np.inf)):
        inputs = _qkv(Stream(f"attention/chunked/{label}"), (7, 11, 2, 1, 8))
        inputs["k"][4, 0, 2], inputs["v"][5, 0, 3] = np.float32(value), np.float32(value)
        for chunk in (4, 6):
            yield f"chunked/special/{label}/{chunk}", {**inputs, "mask": "chunked", "chunk": chunk}


def cases(level: str) -> Iterator[Case]:
    """One call for each input; causal where no mask is named."""
    for group in (_plain(level), _scores(level), _specials(), _chunks(level)):
        for name, arguments in group:
            yield Case(name, "attention", arguments)
    yield from _attention_unit.cases()
    s = Stream("attention/error")
    yield Case("error/heads", "attention", _qkv(s, (2, 2, 3, 2, 4)))
    yield Case("error/more_queries_than_keys", "attention", _qkv(s, (3, 2, 2, 2, 4)))
    for scale in (-1.0, float("nan"), float("inf"), 2.0**127):
        yield Case(f"error/scale_{scale}", "attention", {**_qkv(s, (2, 2, 2, 2, 4)), "scale": scale})
    yield Case("error/mask", "attention", {**_qkv(s, (2, 2, 2, 2, 4)), "mask": "diagonal"})
    two = _qkv(Stream("attention/chunked/error"), (2, 2, 2, 2, 4))
    for name, wrong in (("none", {}), ("zero", {"chunk": 0}), ("causal", {"mask": "causal", "chunk": 2})):
        yield Case(f"error/chunk_{name}", "attention", {**two, "mask": "chunked", **wrong})
