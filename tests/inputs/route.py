# SPDX-License-Identifier: Apache-2.0
"""Inputs of route, dispatch and combine: ties, NaN and zeros of both signs; empty experts; sums that cancel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from bits import BF16, bf16, from_bits

from .case import Case
from .elementwise import EDGES


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32).astype(BF16)


def _any(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return from_bits(rng.integers(0, 1 << 16, shape), BF16)


def _routes() -> Iterator[Case]:
    rng = np.random.default_rng(81)
    inf, nan = np.inf, np.nan
    rows = [
        [1, 3, 3, 2],
        [-0.0, 0.0, -0.0, -1],
        [0.0, -0.0, -1, -inf],
        [1, nan, inf, nan],
        [inf, 1, inf, -inf],
        [-inf] * 4,
        [-nan, inf, nan, 0],
        [-3, -2, -2, -5],
        [2.0**-133, 0, 2.0**-133, -(2.0**-133)],
        [6, 5, 5, 6],
    ]
    for k in (1, 2, 3, 4):
        yield Case(f"listed, {k} experts", "route", logits=bf16(rows), top_k=k)
    for experts, k in ((1, 1), (5, 5), (16, 1), (16, 2), (128, 1), (128, 9)):
        yield Case(f"{k} of {experts}", "route", logits=_normal(rng, 6, experts), top_k=k)
        few = rng.integers(-2, 2, (20, experts)).astype(np.float32).astype(BF16)
        yield Case(f"{k} of {experts}, few values", "route", logits=few, top_k=k)
    yield Case("any bits", "route", logits=_any(rng, 60, 7), top_k=3)
    yield Case("no tokens", "route", logits=np.zeros((0, 4), BF16), top_k=2)
    every = np.arange(1 << 16)
    for part in range(8):
        yield Case(f"every logit, part {part}", "route", logits=from_bits(every[part::8, None], BF16))


def _dispatches() -> Iterator[Case]:
    rng = np.random.default_rng(82)
    choices = {
        "one each": (5, [[3], [1], [4], [0], [2]]),
        "one expert takes all": (4, [[2]] * 9),
        "the last takes all": (3, [[2]] * 4),
        "empty ones between": (9, [[7], [1], [7], [4], [1]]),
        "two": (5, [[4, 0], [0, 4], [3, 0], [4, 3]]),
        "the same twice": (3, [[1, 1], [0, 2], [2, 2]]),
        "one expert alone": (1, [[0, 0, 0]] * 2),
        "many": (16, rng.integers(0, 16, (40, 3)).tolist()),
        "no tokens": (4, np.zeros((0, 2), np.int64).tolist()),
    }
    for name, (experts, ids) in choices.items():
        chosen = np.array(ids, np.int64).reshape(len(ids), -1 if ids else 2)
        for kind, make in (("", _normal), (", any bits", _any)):
            x, scores = make(rng, len(chosen), 6), make(rng, *chosen.shape)
            arguments = {"x": x, "experts": chosen, "scores": scores, "num_experts": experts}
            yield Case(f"{name}{kind}", "dispatch", **arguments)
    edges = from_bits(np.array(EDGES)[None].repeat(len(EDGES), 0), BF16)
    ids = np.arange(len(EDGES))[:, None] % 3
    scores = from_bits(np.array(EDGES)[:, None], BF16)
    yield Case("edges", "dispatch", x=edges, experts=ids.astype(np.int32), scores=scores, num_experts=3)
    yield Case("no columns", "dispatch", x=edges[:, :0], experts=ids, scores=scores, num_experts=3)


def _combined(rng: np.random.Generator, name: str, terms: np.ndarray, shared: np.ndarray | None = None) -> Case:
    """terms (T, k, H) in a random order of rows."""
    tokens, choices, columns = terms.shape
    order = rng.permutation(tokens * choices)
    shared = np.zeros((tokens, columns), BF16) if shared is None else shared
    routed = terms.reshape(tokens * choices, columns)[order]
    return Case(name, "combine", routed=routed, order=order, shared=shared)


def _combines() -> Iterator[Case]:
    rng = np.random.default_rng(83)
    for tokens, choices, columns in ((1, 1, 1), (5, 1, 9), (7, 2, 5), (4, 6, 3), (3, 40, 4)):
        shape = (tokens, choices, columns)
        yield _combined(rng, f"{shape}", _normal(rng, *shape), _normal(rng, tokens, columns))
        yield _combined(rng, f"{shape}, any bits", _any(rng, *shape), _any(rng, tokens, columns))
    # float32 and float64 sums that lose something: terms of wide range that cancel, and midpoints of both roundings.
    half = np.ldexp(rng.integers(128, 256, (6, 20, 8)), rng.integers(-90, 60, (6, 20, 8))).astype(np.float32)
    cancelling = np.concatenate([half, -half, half[:, :1] * 2.0**-60], axis=1)
    yield _combined(rng, "cancel to a small rest", rng.permuted(cancelling, axis=1).astype(BF16))
    one, tie, far = 1.0, 2.0**-8, 2.0**-100
    sums = [
        [one, tie, far],
        [one, tie, -far],
        [one, tie, 0.0],
        [one + 2.0**-7, tie, -far],
        [one, 2.0**-25, far],
        [one, 2.0**-30, 2.0**-90],
        [-one, one, -0.0],
        [-0.0, -0.0, -0.0],
        [3e38, 3e38, -3e38],
        [3e38, 3e38, 0.0],
        [-3e38, -3e38, 2.0**-133],
        [2.0**-133, 2.0**-133, -(2.0**-133)],
        [2.0**60, 2.0**-60, -(2.0**60)],
        [np.inf, -np.inf, one],
        [np.inf, one, one],
        [np.nan, np.inf, one],
    ]
    terms = np.array(sums, np.float32)[:, :, None].astype(BF16)
    for name, shared in {"zero": 0.0, "minus zero": -0.0, "one": 1.0, "infinity": np.inf}.items():
        yield _combined(rng, f"listed sums and {name}", terms, np.full((len(sums), 1), shared, BF16))
    # One rounding of the whole: the shared term is a tie that the sum's own rounding decides otherwise.
    terms = np.array([[[tie], [2.0**-17]], [[tie], [-(2.0**-18)]], [[tie * 1.5], [2.0**-17]]], np.float32).astype(BF16)
    yield _combined(rng, "rounded before the shared expert", terms, np.ones((3, 1), BF16))
    yield _combined(rng, "minus zero alone", np.full((2, 1, 1), -0.0, BF16), np.full((2, 1), -0.0, BF16))
    yield _combined(rng, "no tokens", np.zeros((0, 1, 3), BF16))
    yield _combined(rng, "no columns", np.zeros((3, 2, 0), BF16))


@cache
def cases() -> list[Case]:
    """All calls of route, dispatch and combine."""
    return [*_routes(), *_dispatches(), *_combines()]
