# SPDX-License-Identifier: Apache-2.0
"""Inputs of attention by a tensor core: sums that cancel, faint weights, blocks far apart, and what must not leak."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from bits import BF16, bf16

from .attention import UNIT, _normal
from .case import Case
from .mma import MODES

BLOCK, SUPERBLOCK = 128, 2048


def _case(name: str, q: Any, k: Any, v: Any, accumulate: str = "sm90", **more: Any) -> Case:
    return Case(f"{accumulate} {name}", "attention", q=q, k=k, v=v, accumulate=accumulate, **more)


def _keys(logits: Any) -> np.ndarray:
    """Keys of which the query (1, 1) makes these t, to the sixteen bits that two bf16 numbers have."""
    t = np.asarray(logits, np.float64)
    high = t.astype(np.float32).astype(BF16)
    wide = high.astype(np.float64)
    low = np.where(np.isfinite(wide), t - np.where(np.isfinite(wide), wide, 0), 0)
    return np.stack([high, low.astype(np.float32).astype(BF16)], axis=1)[:, None]


def _scored(name: str, logits: Sequence[float], values: Any, accumulate: str = "sm90") -> Case:
    """One query; key j has t_j = logits[j] and the values values[j], as they are and negated."""
    one = np.asarray(values, np.float64).reshape(len(logits), -1)
    pairs = np.concatenate([one, -one], axis=1)[:, None, :2]
    return _case(name, bf16([[[1, 1]]]), _keys(logits), bf16(pairs), accumulate, scale=UNIT, mask="full")


def _random() -> Iterator[Case]:
    rng = np.random.default_rng(64)
    # tokens, keys, query heads, key heads, head dimension: K tails, grouped heads, rows on both sides of a block's edge
    shapes = [(3, 3, 2, 1, 8), (2, 9, 4, 2, 17), (4, 130, 1, 1, 5), (3, 257, 2, 1, 3), (1, 1, 1, 1, 1)]
    for shape in shapes:
        tokens, keys, heads, key_heads, dim = shape
        for mode in MODES if shape is shapes[1] else ("sm90",):
            for factor in (1.0, 9.0):
                q = _normal(rng, tokens, heads, dim, factor=factor)
                k, v = (_normal(rng, keys, key_heads, dim) for _ in range(2))
                for mask in ("causal", "full"):
                    yield _case(f"{shape} times {factor}, {mask}", q, k, v, mode, mask=mask)
    for scale in (0.3, 0.0, 1e-30, 1e30):
        yield _case(f"scale {scale}", q, k, v, scale=scale)
    q, none = _normal(rng, 2, 1, 4), np.zeros((0, 1, 4), BF16)
    yield _case("no keys", q, none, none, mask="full")
    yield _case("no tokens", none, q, q)


def _cancelling(rng: np.random.Generator, keys: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys and values in opposite pairs: the exact sum is zero, and what a chain has cut away is the result."""
    shape = (keys // 2, 1, columns)
    half = np.ldexp(rng.integers(128, 256, shape), rng.integers(-40, 0, shape)).astype(np.float32).astype(BF16)
    k = _normal(rng, *shape)
    order = rng.permutation(2 * len(k))
    return np.concatenate([k, k])[order], np.concatenate([half, -half])[order]


def _cancellations() -> Iterator[Case]:
    """Equal weights, and weights that are not, over values that cancel: every cut and every order shows."""
    rng = np.random.default_rng(65)
    for keys in (128, 300, 64, 32):
        for mode in MODES:
            k, v = _cancelling(rng, keys, 4)
            yield _case(f"{keys} values cancel", np.zeros((1, 1, 4), BF16), k, v, mode, mask="full")
            yield _case(f"{keys} weighted values cancel", _normal(rng, 1, 1, 4, factor=3.0), k, v, mode, mask="full")
    # Scores that cancel: s is one chain over the head, and what it has cut away decides the weights.
    half, keys = _normal(rng, 3, 1, 20, factor=2.0**10), _normal(rng, 40, 1, 20, factor=2.0**10)
    q = np.concatenate([half, half, bf16([[[1]]] * 3)], axis=2)
    k = np.concatenate([keys, -keys, _normal(rng, 40, 1, 1)], axis=2)
    for mode in MODES:
        yield _case("scores cancel", q, k, _normal(rng, 40, 1, 41), mode, scale=UNIT, mask="full")
        # 127 weights of 255 * 2**-32 beside 1, of which the denominator keeps 2**-25 or nothing: the quotient lies
        # above the midpoint 1 + 2**-8, and with the exact denominator below.
        t = math.log2(255 / 128) - 25
        yield _scored("a denominator of small weights", [0, *[t] * 127], [1, 2.0**16, 354, *[0] * 125], mode)


def _faint_weights() -> Iterator[Case]:
    """Weights around the end of bf16, under a key of weight 1 and value 0: their sum alone is seen."""
    rng = np.random.default_rng(66)
    big = 2.0**120
    for t in (-125.5, -126, -127, -128.5, -132, -133, -134, -135, -150, -1000, -(2.0**120)):
        yield _scored(f"weight 2**{t}", [0, t], [0, big])
    for top in (1, 200, 2.0**23, 2.0**100):
        yield _scored(f"weight 2**-130 of 2**{top}", [top, top - 130], [0, big])
    # Every significand of a weight, at each number of bits that are left of it: eight keys and a column for each.
    for exponent in (-126, -127, -129, -132, -133, -134):
        for few in np.log2(np.arange(128, 256) / 128).reshape(16, 8):
            v = np.concatenate([np.zeros((1, 8)), 2.0**127 * np.eye(8)])[:, None]
            k = np.pad(_keys([0, *(few + exponent)]), ((0, 0), (0, 0), (0, 6)))
            q = bf16([[[1, 1, *[0] * 6]]])
            yield _case(f"faint weights 2**{exponent + few[0]:.3f}", q, k, bf16(v), scale=UNIT, mask="full")
    for top in (-0.1, -7.3, 5.5):
        _, v = _cancelling(rng, 64, 2)
        yield _case(f"a largest t of {top}", bf16([[[1, 1]]]), _keys(top - np.linspace(0, 7, 64)), v, scale=UNIT)


def _merging(rng: np.random.Generator, blocks: int, columns: int) -> np.ndarray:
    """One value a block, its first key's, most with its opposite elsewhere: float32 sums that depend on the order."""
    v = np.zeros((blocks * BLOCK, 1, columns))
    shape = (blocks // 2, columns)
    half = np.ldexp(rng.integers(128, 256, shape), rng.choice([0, 9, 18, 27], shape))
    for column in range(columns):
        values = np.concatenate([half[:, column], -half[:, column], np.zeros(blocks % 2)])
        v[::BLOCK, 0, column] = rng.permutation(values)
    return v.astype(np.float32).astype(BF16)


def _merges() -> Iterator[Case]:
    rng = np.random.default_rng(67)
    for blocks in (2, 3, 5):
        v = _merging(rng, blocks, 6)
        q, k = _normal(rng, 2, 1, 6, factor=4.0), _normal(rng, len(v), 1, 6)
        yield _case(f"{blocks} blocks of equal weights", 0 * q, k, v, mask="full")
        yield _case(f"{blocks} blocks", q, k, v, mask="full")
        yield _case(f"{blocks} blocks, causal", np.concatenate([q, q]), k, v)
    for blocks in (16, 17, 33):
        v = _merging(rng, blocks, 4)
        q, k = np.zeros((1, 1, 4), BF16), np.zeros(v.shape, BF16)
        yield _case(f"superblocks of {blocks} blocks", q, k, v, mask="full")
    k, v = _cancelling(rng, SUPERBLOCK + BLOCK + 6, 2)
    yield _case("superblocks of weighted values", bf16([[[2, 1]]]), k, v)


def _apart(name: str, gap: float, values: tuple[float, float], order: int = 1) -> Case:
    """Two blocks whose M differ by `gap`: the lower one's value, then the higher one's."""
    logits = [-gap, *[-math.inf] * (BLOCK - 1), 0]
    column = [values[0], *[0.0] * (BLOCK - 1), values[1]]
    if order < 0:
        logits, column = [0, *[-math.inf] * (BLOCK - 1), -gap], [values[1], *[0.0] * (BLOCK - 1), values[0]]
    q, k = bf16([[[1, 0]]]), bf16([[[t, 0]] for t in logits])
    v = bf16([[[x, 2 * x if abs(x) < 1e30 else x]] for x in column])
    return _case(name, q, k, v, scale=UNIT, mask="full")


def _far_blocks() -> Iterator[Case]:
    for order, place in ((1, "after"), (-1, "before")):
        for gap in (1, 100, 125, 126, 127, 128, 149, 150, 300, 2.0**30, 2.0**100):
            yield _apart(f"2**127 of a block 2**{gap} below, {place}", gap, (2.0**127, 0), order)
        for exponent in (3, -1, -4, -7, -8):
            yield _apart(f"2**{exponent} of a block 2**126 below, {place}", 126, (129 * 2.0**exponent, 0), order)
        for infinity in (math.inf, -math.inf, math.nan):
            for gap in (126, 127):
                yield _apart(f"{infinity} of a block 2**{gap} below, {place}", gap, (infinity, 1), order)
    yield _apart("infinities of both signs", 3, (math.inf, -math.inf))
    # A block without terms between two, and superblocks of which the first has none.
    inf = math.inf
    yield _scored("an empty block", [0, *[-inf] * 300, 1], [1, *[math.nan] * 300, 3])
    yield _scored("an empty superblock", [*[-inf] * (SUPERBLOCK + 1), 1, 0], [*[math.nan] * (SUPERBLOCK + 1), 1, 3])
    yield _scored("no terms", [-inf] * 130, [math.nan] * 130)


def _specials() -> Iterator[Case]:
    """[ATTN-UNIT-SPECIAL]"""
    inf, nan, big = math.inf, math.nan, 255 * 2.0**120
    yield _scored("value Inf", [0, -4, 1], [1, inf, 3])
    yield _scored("value Inf of a faint weight", [0, -133, 1], [1, inf, 3])
    yield _scored("value Inf of a weight that is zero", [0, -140, 1], [1, inf, 3])
    yield _scored("value Inf of no term", [0, -inf, 1], [1, inf, 3])
    yield _scored("value NaN of no term", [0, -inf, 1], [1, nan, 3])
    yield _scored("value NaN of a weight that is zero", [0, -1000, 1], [1, nan, 3])
    yield _scored("values of both infinities", [0, -4, 1], [-inf, inf, 3])
    yield _scored("t NaN", [0, nan, 1], [1, 2, 3])
    yield _scored("t +Inf", [0, inf, 1], [1, 2, 3])
    yield _scored("t NaN in the second block", [*[0] * 130, nan], [1] * 131)
    yield _scored("largest values", [0] * 3, [big] * 3)
    yield _scored("largest values cancel too late", [0] * 4, [big, big, -big, -big])
    yield _scored("largest values of two blocks", [0, *[-inf] * 127, 0], [big, *[0] * 127, big])
    yield _scored("smallest values", [0, 0, 1], [2.0**-133, 0, -(2.0**-133)])
    yield _scored("a negative number that underflows", [0, 0, 0], [-(2.0**-133), 0, 0])
    yield _scored("minus zeros", [0, 1], [-0.0, -0.0])
    yield _scored("cancels to zero", [0, 0], [1, -1])
    rng = np.random.default_rng(68)
    for special in (nan, inf, -inf):
        for where in ("k", "v"):
            q, k, v = (_normal(rng, n, heads, 4) for n, heads in ((6, 4), (131, 2), (131, 2)))
            for j in (127, 129):
                {"k": k, "v": v}[where][j, 1, 2] = special
            for mask in ("causal", "full"):
                yield _case(f"{special} in {where}, {mask}", q, k, v, mask=mask)


def _chunks() -> Iterator[Case]:
    """Blocks are those of absolute keys: chunks that begin inside of them, at their edges, and beyond a superblock."""
    rng = np.random.default_rng(70)
    for tokens, keys, chunks in ((5, 5, (1, 2, 5, 9)), (3, 300, (100, 128, 150, 256, 299, 300)), (4, 260, (129, 258))):
        q = _normal(rng, tokens, 2, 5, factor=6.0)
        k, v = _cancelling(rng, keys + keys % 2, 5)
        for chunk in chunks:
            yield _case(f"{keys} keys by {chunk}", q, k[:keys], v[:keys], mask="chunked", chunk=chunk)
    q, k, v = _normal(rng, 6, 2, 9, factor=4.0), *_cancelling(rng, 140, 9)
    for mode in MODES:
        yield _case("by 66", q, k, v, mode, mask="chunked", chunk=66)
    # The values of one chunk cancel, and it begins within a block: what is left shows where that block ends.
    for before, chunk in ((200, 100), (64, 64), (300, 150)):
        k, v = _cancelling(rng, chunk, 4)
        k, v = np.concatenate([_normal(rng, before, 1, 4), k]), np.concatenate([_normal(rng, before, 1, 4), v])
        for mode in MODES:
            yield _case(f"a chunk of {chunk} that cancels", q[:1, :, :4], k, v, mode, mask="chunked", chunk=chunk)
    # The chunk begins at key 64 or at a superblock: a state of its own before that would be another one's.
    for name, length, chunk in (("a superblock", SUPERBLOCK + 3, SUPERBLOCK), ("half a block", 3 * BLOCK - 1, 64 * 3)):
        q, (k, v) = _normal(rng, 5, 1, 2, factor=3.0), _cancelling(rng, length + length % 2, 2)
        yield _case(f"chunks of {name}", q, k[:length], v[:length], mask="chunked", chunk=chunk)
    for special in (math.nan, math.inf):
        for where in ("k", "v"):
            q, k, v = (_normal(rng, n, heads, 4) for n, heads in ((6, 2), (132, 1), (132, 1)))
            {"k": k, "v": v}[where][[127, 130], 0, 2] = special
            for chunk in (43, 128, 129):
                yield _case(f"{special} in {where}, by {chunk}", q, k, v, mask="chunked", chunk=chunk)


@cache
def cases() -> list[Case]:
    """All calls of attention by a mode."""
    groups = (_random, _cancellations, _faint_weights, _merges, _far_blocks, _specials, _chunks)
    return [case for group in groups for case in group()]
