# SPDX-License-Identifier: Apache-2.0
"""Inputs of the rotary positions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from bits import BF16, bf16, from_bits

from .case import Case
from .elementwise import EDGES


def _llama3(factor: float, low: float = 1.0, high: float = 4.0, original: int = 8192) -> dict[str, float]:
    return {
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


FREQUENCIES = {
    "SmolLM2": (64, 1e5, None),
    "Llama 3": (128, 5e5, None),
    "Llama 3.1": (128, 5e5, _llama3(8.0)),
    "Llama 3.2": (64, 5e5, _llama3(32.0)),
    "low equals high": (128, 5e5, _llama3(16.0, 1.0, 1.0)),
    "odd numbers": (64, 1e6, _llama3(7.3, 1.1, 3.7, 5000)),
    "Llama 2": (128, 1e4, None),
    "head of 80": (80, 1e4, None),
    "head of 96": (96, 5e5, _llama3(8.0)),
    "head of 2": (2, 1e4, None),
    # base ** (1/2) is 2**24 + 1, a tie of fp32; base ** (1/4) is a tie of no format but close to one.
    "tie": (4, (2.0**24 + 1) ** 2, None),
    "tie, to the other side": (4, (2.0**24 + 3) ** 2, None),
    "beside a tie": (4, (2.0**24 + 1) ** 2 + 1, None),
    "below a tie": (4, (2.0**24 + 1) ** 2 - 1, None),
    "exact powers": (16, 2.0**16, None),
    "base one": (8, 1.0, None),
    "base below one": (8, 0.37, None),
    "many digits": (32, 12345.678901234567, _llama3(3.3, 0.9, 5.1, 2048)),
}
POSITIONS = [0, 1, 2, 3, 7, 100, 1000, 4095, 8191, 65535, 131071, 1000003, 2**23 + 1, 2**24 - 1]


def _tables() -> Iterator[Case]:
    rng = np.random.default_rng(51)
    for name in ("SmolLM2", "Llama 3.1"):
        head_dim, base, scaling = FREQUENCIES[name]
        exponents = -2 * np.arange(head_dim // 2) / head_dim
        frequencies = (base**exponents / (1 if scaling is None else 3)).astype(np.float32)
        yield Case(f"table {name}", "rope_table", positions=np.array(POSITIONS), frequencies=frequencies)
    edges = [0, 1, 0x00800000, 0x3F800000, 0x3F000000, 0x33000000, 0x39800000, 0x3F7FFFFF, 0x2B000000]
    yield Case("table edges", "rope_table", positions=POSITIONS, frequencies=from_bits(edges, np.float32))
    frequencies = rng.uniform(0, 1, 16).astype(np.float32)
    yield Case("table random", "rope_table", positions=rng.integers(0, 2**24, 60), frequencies=frequencies)
    yield Case("table without rows", "rope_table", positions=np.arange(0), frequencies=frequencies)


def _rotations() -> Iterator[Case]:
    rng = np.random.default_rng(52)
    for heads, head_dim in ((1, 2), (3, 8), (2, 64)):
        x = rng.standard_normal((6, heads, head_dim)).astype(np.float32).astype(BF16)
        angle = rng.uniform(0, 7, (6, head_dim // 2))
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        yield Case(f"rotate {heads} heads of {head_dim}", "rope", x=x, cos=cos, sin=sin)
    any_bits = from_bits(rng.integers(0, 1 << 16, (40, 1, 16)), BF16)
    angle = rng.uniform(0, 7, (40, 8)).astype(np.float32)
    yield Case("rotate any bits", "rope", x=any_bits, cos=np.cos(angle), sin=np.sin(angle))
    pairs = np.stack(np.meshgrid(EDGES, EDGES)).reshape(2, -1)
    x = from_bits(pairs.T.reshape(-1, 1, 2), BF16)
    for cos, sin in ((1.0, 0.0), (0.6, -0.8), (-0.70703125, 0.70703125), (1e-40, 1.0)):
        table = (np.full((len(x), 1), t, dtype=np.float32) for t in (cos, sin))
        yield Case(f"rotate edges by {cos} {sin}", "rope", x=x, **dict(zip(("cos", "sin"), table, strict=True)))
    # Tables are rounded to bf16 first: ties and their fp32 neighbours.
    tie = from_bits([[0x3F008000, 0x3F018000, 0x3F008001, 0x3F017FFF]], np.float32)
    x = bf16([[[1, 1.5, 1.25, 1, 1, 1, 1.75, 1.9921875]]])
    yield Case("rotate with tables at ties", "rope", x=x, cos=tie, sin=tie[:, ::-1])


def _interleaved() -> Iterator[Case]:
    """The same heads with the other layout, and what it alone shows: tables and products that bfloat16 would round."""
    for case in _rotations():
        yield Case(f"interleaved, {case.name}", "rope", **case.arguments, layout="interleaved")
    rng = np.random.default_rng(54)
    # Products that cancel: what float32 has rounded away is the result.
    a = from_bits(rng.integers(0x3F80, 0x4000, (300, 1, 1)), BF16)
    x = np.concatenate([a, a], axis=2)
    cos = rng.uniform(0.7, 0.71, (300, 1)).astype(np.float32)
    near = np.nextafter(cos, np.float32(1)) + rng.integers(0, 3, (300, 1)).astype(np.float32) * np.float32(2.0**-24)
    for sin in (cos, near, -near):
        yield Case("interleaved, products that cancel", "rope", x=x, cos=cos, sin=sin, layout="interleaved")
    # y is 2**-6 of x and less, so sums lie near midpoints of bfloat16: both roundings count.
    b = from_bits(rng.integers(0x3B80, 0x3C80, (300, 1, 1)), BF16)
    one = np.ones((300, 1), np.float32)
    for sin in (one, -one, one * np.float32(1 + 2.0**-23), one * np.float32(1 - 2.0**-24)):
        pairs = np.concatenate([a, b], axis=2)
        yield Case("interleaved, sums near midpoints", "rope", x=pairs, cos=one, sin=sin, layout="interleaved")


@cache
def cases() -> list[Case]:
    """All calls of rope_frequencies, rope_table and rope."""
    frequencies = [
        Case(f"frequencies {name}", "rope_frequencies", head_dim=head_dim, base=base, scaling=scaling)
        for name, (head_dim, base, scaling) in FREQUENCIES.items()
    ]
    return [*frequencies, *_tables(), *_rotations(), *_interleaved()]
