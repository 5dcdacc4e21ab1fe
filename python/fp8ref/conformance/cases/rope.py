# SPDX-License-Identifier: Apache-2.0
"""Cases of RoPE: frequencies of every Llama 3 config, positions up to the last one, special values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._case import BF16_SPECIAL, Case
from ._stream import FLOAT32, Stream

LAST = (1 << 24) - 1
LLAMA31 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
LLAMA32 = {**LLAMA31, "factor": 32.0}
NO_MIDDLE = {**LLAMA31, "low_freq_factor": 4.0}
ODD = {"factor": 3.7, "low_freq_factor": 1.3, "high_freq_factor": 5.1, "original_max_position_embeddings": 1000}


def _frequencies(level: str) -> Iterator[Case]:
    bases = (10000.0, 100000.0, 500000.0, 1000000.0, 2.0, 1.0e-3, 3.14159)
    for head_dim in (2, 8, 64, 128):
        for base in bases:
            yield Case(f"frequencies/{head_dim}/{base}", "rope_frequencies", {"head_dim": head_dim, "base": base})
    for label, scaling in (("3.1", LLAMA31), ("3.2", LLAMA32), ("no_middle", NO_MIDDLE), ("odd", ODD)):
        for head_dim in (64, 128) if level == "quick" else (16, 32, 64, 80, 96, 128, 256):
            arguments = {"head_dim": head_dim, "base": 500000.0, "scaling": scaling}
            yield Case(f"frequencies/llama{label}/{head_dim}", "rope_frequencies", arguments)
    yield Case("frequencies/error/odd_head", "rope_frequencies", {"head_dim": 7, "base": 10000.0})
    yield Case("frequencies/error/base", "rope_frequencies", {"head_dim": 8, "base": -1.0})


def _tables(level: str) -> Iterator[Case]:
    s = Stream("rope/tables")
    inverse = np.sort(s.spread((32,), -20, 0, FLOAT32))
    inverse = np.abs(inverse)
    inverse[0] = 1.0
    positions = np.array([0, 1, 2, 3, 5, 22, 355, 710, 104348, 2**20, LAST - 1, LAST], dtype=np.int64)
    yield Case("table/marked", "rope_table", {"positions": positions, "frequencies": inverse})
    yield Case("table/first", "rope_table", {"positions": np.arange(256), "frequencies": inverse})
    for count in (500, 100_000) if level == "full" else (500,):
        random, frequencies = s.integers((count,), 0, LAST + 1), s.scales((16,), -22, 0)
        yield Case(f"table/random_{count}", "rope_table", {"positions": random, "frequencies": frequencies})
    empty = np.zeros((0,), np.int64)
    yield Case("table/empty", "rope_table", {"positions": empty, "frequencies": inverse})
    for name, bad in (("negative", -1), ("too_large", LAST + 1)):
        yield Case(f"table/error/{name}", "rope_table", {"positions": np.array([bad]), "frequencies": inverse})


def _rotations(level: str) -> Iterator[Case]:
    shapes = [(1, 1, 2), (3, 9, 64), (5, 3, 64), (0, 4, 8), (4, 0, 8), (33, 5, 10)]
    if level == "full":
        shapes += [(512, 9, 64), (64, 32, 128)]
    for tokens, heads, width in shapes:
        name = f"rope/{tokens}x{heads}x{width}"
        s = Stream(name)
        # cos and sin as any float32 in [-1, 1]: rounding them to bf16 is part of the op.
        table = [np.ldexp(s.normal((tokens, width // 2), FLOAT32), -3) for _ in range(2)]
        yield Case(name, "rope", {"x": s.normal((tokens, heads, width)), "cos": table[0], "sin": table[1]})
    s = Stream("rope/special")
    ends = np.array([1.0, 0.0, -1.0, -0.0, 2.0**-130, 1 - 2.0**-9, 0.5 + 2.0**-10, 0.7071068], dtype=np.float32)
    cos, sin = np.meshgrid(ends, ends)
    x = s.pick(BF16_SPECIAL, (8, 64, 16))
    yield Case("rope/special", "rope", {"x": x, "cos": cos, "sin": sin})
    x = s.spread((8, 64, 16), -126, -110)
    yield Case("rope/subnormal", "rope", {"x": x, "cos": cos, "sin": sin})
    yield Case("rope/error/shape", "rope", {"x": x, "cos": cos[:, :4], "sin": sin[:, :4]})


def _interleaved(level: str) -> Iterator[Case]:
    """Neighbours as pairs, turned in float32: what bfloat16 would round away, and fused steps would keep, shows."""
    shapes = [(1, 1, 2), (3, 9, 64), (0, 4, 8), (33, 5, 10)] + ([(512, 9, 64)] if level == "full" else [])
    for tokens, heads, width in shapes:
        name = f"interleaved/{tokens}x{heads}x{width}"
        s = Stream(name)
        table = [np.ldexp(s.normal((tokens, width // 2), FLOAT32), -3) for _ in range(2)]
        arguments = {"x": s.normal((tokens, heads, width)), "cos": table[0], "sin": table[1], "layout": "interleaved"}
        yield Case(name, "rope", arguments)
    s = Stream("interleaved")
    ends = np.array([1.0, 0.0, -1.0, -0.0, 2.0**-130, 1 - 2.0**-24, 0.5 + 2.0**-10, 0.7071068], dtype=np.float32)
    cos, sin = np.meshgrid(ends, ends)
    for label, x in (("special", s.pick(BF16_SPECIAL, (8, 64, 16))), ("subnormal", s.spread((8, 64, 16), -126, -110))):
        arguments = {"x": x, "cos": cos, "sin": sin, "layout": "interleaved"}
        yield Case(f"interleaved/{label}", "rope", arguments)
    # x = y: what is left of a product that cancels is the rounding of another.
    same = np.repeat(s.spread((400, 1, 8), 0, 1), 2, axis=2)
    cos = np.ldexp((0xB00000 + s.integers((400, 8), 0, 1 << 16)).astype(np.float32), -24)
    sin = cos + np.ldexp(s.integers((400, 8), -2, 3).astype(np.float32), -24)
    yield Case("interleaved/cancel", "rope", {"x": same, "cos": cos, "sin": sin, "layout": "interleaved"})
    # y is far below x: sums beside midpoints, which float32 rounds to them.
    pairs = np.stack([s.spread((400, 1, 8), 0, 1), s.spread((400, 1, 8), -19, -7)], axis=3).reshape(400, 1, 16)
    one = np.ones((400, 8), np.float32)
    for label, sin in (("plain", one), ("more", one + np.float32(2.0**-23))):
        arguments = {"x": pairs, "cos": one, "sin": sin, "layout": "interleaved"}
        yield Case(f"interleaved/midpoints/{label}", "rope", arguments)
    arguments = {"x": pairs, "cos": one, "sin": one, "layout": "neox"}
    yield Case("interleaved/error/layout", "rope", arguments)


def exhaustive() -> Iterator[Case]:
    """The table of all angles from 2**-14, where the cosine leaves 1 at 2**-12, to the last position, 2**24."""
    first, last = (np.float32(x).view(np.uint32) for x in (2.0**-14, 2.0**24))
    for start in range(int(first), int(last), 1 << 21):
        angles = np.arange(start, start + (1 << 21), dtype=np.uint32).view(FLOAT32)
        arguments = {"positions": np.array([1]), "frequencies": angles}
        yield Case(f"table/every_angle_{start:08x}", "rope_table", arguments)


def cases(level: str) -> Iterator[Case]:
    """The three functions in the order in which a model calls them."""
    yield from _frequencies(level)
    yield from _tables(level)
    yield from _rotations(level)
    yield from _interleaved(level)
