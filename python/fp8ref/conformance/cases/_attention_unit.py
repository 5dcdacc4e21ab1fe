# SPDX-License-Identifier: Apache-2.0
"""Cases of attention by a tensor core: sums that cancel, faint weights, blocks and superblocks, what must not leak."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...golden._units import MODES
from ._case import Case
from ._stream import BFLOAT16, Array, Stream

UNIT = math.log(2)  # with this scale t is the score itself
BLOCK, SUPERBLOCK = 128, 2048
INF, NAN = math.inf, math.nan


def _bf16(values: Any) -> Array:
    return np.asarray(values, np.float64).astype(np.float32).astype(BFLOAT16)


def _case(name: str, mode: str, q: Array, k: Array, v: Array, **more: Any) -> Case:
    return Case(f"{mode}/{name}", "attention", {"q": q, "k": k, "v": v, **more, "accumulate": mode})


def _scored(name: str, logits: Sequence[float], values: Sequence[float]) -> Case:
    """One query; key j has t = logits[j], as a sum of two bf16 numbers, and the values values[j] and -values[j]."""
    t = np.asarray(logits, np.float64)
    high = t.astype(np.float32).astype(BFLOAT16)
    with np.errstate(invalid="ignore"):
        low = np.where(np.isfinite(t), t - high.astype(np.float64), 0)
    k = np.stack([high, _bf16(low)], axis=1)[:, None]
    v = _bf16(np.stack([values, np.negative(values)], axis=1))[:, None]
    return _case(name, "sm90", _bf16([[[1, 1]]]), k, v, scale=UNIT, mask="full")


def _opposite(s: Stream, pairs: int, columns: int) -> tuple[Array, Array]:
    """Keys and values of which each value has its opposite: what is left of their sum is what the chains cut away."""
    k, v = s.normal((pairs, 1, columns)), s.spread((pairs, 1, columns), -40, 0)
    return np.concatenate([k, k]), np.concatenate([v, -v])


def _plain(mode: str) -> Iterator[Case]:
    for shape in ((3, 3, 6, 2, 5), (2, 300, 2, 1, 17), (130, 130, 1, 1, 4)):
        t, length, heads, kv_heads, width = shape
        name, s = "x".join(map(str, shape)), Stream(f"attention/unit/{shape}")
        q, (k, v) = s.normal((t, heads, width)), (s.normal((length, kv_heads, width)) for _ in range(2))
        for mask in ("causal", "full"):
            yield _case(f"{name}/{mask}", mode, q, k, v, mask=mask)
    for pairs in (32, 64, 150):
        s = Stream(f"attention/unit/cancel/{pairs}")
        k, v = _opposite(s, pairs, 4)
        q = s.normal((1, 2, 4), exponent=1)
        yield _case(f"cancel_{pairs}", mode, q, k, v, mask="full")
        yield _case(f"cancel_{pairs}/flat", mode, np.zeros_like(q), k, v, mask="full")
    k, v = _opposite(s, 100, 3)
    yield _case("cancel/causal", mode, s.normal((150, 1, 3)), k, v)
    # Scores that cancel: what one chain over the head cuts away decides the weights.
    half, part = s.normal((3, 1, 20), exponent=10), s.normal((40, 1, 20), exponent=10)
    q = np.concatenate([half, half, np.ones((3, 1, 1), BFLOAT16)], axis=2)
    k = np.concatenate([part, -part, s.normal((40, 1, 1))], axis=2)
    yield _case("scores", mode, q, k, s.normal((40, 1, 41)), scale=UNIT, mask="full")


def _weights() -> Iterator[Case]:
    """Weights around the end of bf16, whose values alone are seen; and a largest t that is no integer."""
    significands = np.log2(np.arange(128, 256) / 128)
    for exponent in (-126, -127, -130, -133, -134):
        for few in (significands[1:9], significands[90:98]):
            for j, t in enumerate(few + exponent):
                yield _scored(f"weight/{exponent}/{few[0]:.3f}/{j}", [0, t], [0, 2.0**120])
    # A quotient at a midpoint, which the cut of 127 small weights of the denominator decides.
    yield _scored("weight/denominator", [0, *[math.log2(255 / 128) - 25] * 127], [1, 2.0**16, 354, *[0] * 125])
    for top in (1, 200, 2.0**100):
        yield _scored(f"weight/of_{top}", [top, top - 130], [0, 2.0**120])
    s = Stream("attention/unit/top")
    for top in (-0.1, -7.3, 5.5):
        v = _opposite(s, 64, 1)[1][:, 0, 0].astype(np.float64)
        yield _scored(f"top/{top}", (top - np.linspace(0, 7, 128)).tolist(), v.tolist())


def _merges() -> Iterator[Case]:
    for blocks in (2, 5, 17, 33):
        s = Stream(f"attention/unit/blocks/{blocks}")
        v = np.zeros((blocks * BLOCK, 1, 4), BFLOAT16)
        half = s.spread((blocks // 2, 4), 0, 28)
        v[: 2 * len(half) * BLOCK : BLOCK, 0] = np.concatenate([half, -half])
        q, k = s.normal((1, 1, 4)), s.normal(v.shape)
        yield _case(f"blocks_{blocks}/flat", "sm90", np.zeros_like(q), k, v, mask="full")
        yield _case(f"blocks_{blocks}", "sm90", q, k, v)
    s = Stream("attention/unit/superblocks")
    k, v = _opposite(s, SUPERBLOCK // 2 + 67, 3)
    yield _case("superblocks", "sm90", s.normal((1, 1, 3)), k, v)


def _apart(name: str, gap: float, low: float, high: float) -> Case:
    """Two blocks whose largest t differ by `gap`, with one key each."""
    return _scored(name, [-gap, *[-INF] * (BLOCK - 1), 0], [low, *[0] * (BLOCK - 1), high])


def _far() -> Iterator[Case]:
    for gap in (1, 100, 126, 127, 130, 149, 150, 2.0**30, 2.0**100):
        yield _apart(f"gap/{gap}", gap, 2.0**127, 0)
    for exponent in (3, -4, -7):
        yield _apart(f"gap/126/small_{exponent}", 126, 129 * 2.0**exponent, 0)
    for gap in (126, 127):
        for value in (INF, NAN):
            yield _apart(f"gap/{gap}/{value}", gap, value, 1)
    yield _apart("gap/opposite_infinities", 3, INF, -INF)
    yield _scored("empty_block", [0, *[-INF] * 300, 1], [1, *[NAN] * 300, 3])
    yield _scored("empty_superblock", [*[-INF] * (SUPERBLOCK + 1), 1, 0], [*[NAN] * (SUPERBLOCK + 1), 1, 3])
    yield _scored("no_term", [-INF] * 130, [NAN] * 130)


def _specials() -> Iterator[Case]:
    for weight, t in (("plain", -4), ("faint", -133), ("zero", -140)):
        for value in (INF, NAN):
            yield _scored(f"special/{value}/{weight}", [0, t, 1], [1, value, 3])
    yield _scored("special/no_term", [0, -INF, 1], [1, NAN, 3])
    yield _scored("special/t_nan", [*[0] * 130, NAN], [1] * 131)
    yield _scored("special/t_inf", [0, INF, 1], [1, 2, 3])
    largest = float(2**128 - 2**120)
    yield _scored("special/overflow", [0, 0, 0, 0], [largest, largest, -largest, -largest])
    yield _scored("special/overflow_of_blocks", [0, *[-INF] * 127, 0], [largest, *[0] * 127, largest])
    yield _scored("special/underflow", [0, 0, 0], [-(2.0**-133), 0, 0])
    for name, value in (("nan", NAN), ("inf", INF)):
        s = Stream(f"attention/unit/special/{name}")
        q, (k, v) = s.normal((6, 4, 8)), (s.normal((131, 2, 8)) for _ in range(2))
        v[127:130, 1, 3] = np.float32(value)
        yield _case(f"special/invisible_{name}", "sm90", q, k, v)


def _chunks(mode: str) -> Iterator[Case]:
    """Blocks are those of absolute keys, wherever a chunk begins. [ATTN-UNIT-BLOCKS]"""
    for tokens, length, chunk in ((3, 300, 100), (5, 260, 128), (4, 258, 129), (6, 6, 4), (9, 70, 1)):
        s = Stream(f"attention/unit/chunked/{length}")
        q, (k, v) = s.normal((tokens, 2, 5), exponent=2), _opposite(s, (length + 1) // 2, 5)
        order = np.argsort(s.words((len(k),)))[:length]
        arguments = {"mask": "chunked", "chunk": chunk}
        yield _case(f"chunked/{length}_by_{chunk}", mode, q, k[order], v[order], **arguments)
    for before, chunk in ((200, 100), (64, 64), (300, 150)):
        # The values of one chunk cancel, and it begins within a block: what is left shows where that block ends.
        s = Stream(f"attention/unit/chunked/within/{before}")
        parts = _opposite(s, chunk // 2, 4)
        order = np.argsort(s.words((chunk,)))
        k, v = (np.concatenate([s.normal((before, 1, 4)), part[order]]) for part in parts)
        q = s.normal((1, 2, 4), exponent=1)
        yield _case(f"chunked/within/{before}_by_{chunk}", mode, q, k, v, mask="chunked", chunk=chunk)
    s = Stream("attention/unit/chunked/superblock")
    k, v = _opposite(s, SUPERBLOCK // 2 + 3, 3)
    q = s.normal((4, 1, 3), exponent=1)
    if mode == "sm90":
        yield _case("chunked/superblock", mode, q, k, v, mask="chunked", chunk=SUPERBLOCK)


def cases() -> Iterator[Case]:
    """Each mode, and the blocks of one of them: the others have the same."""
    for mode in [name for name in MODES if name != "exact"]:
        yield from _plain(mode)
        yield from _chunks(mode)
    for group in (_weights, _merges, _far, _specials):
        yield from group()
    s = Stream("attention/unit/error")
    q = s.normal((2, 2, 4))
    for name in ("sm90_wgmma", "sm100"):
        yield _case("error", name, q, q, q)
