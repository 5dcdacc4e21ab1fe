# SPDX-License-Identifier: Apache-2.0
"""Inputs of silu_mul, residual and sample."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from bits import BF16, bf16, from_bits

from .case import Case

# Zeros, ones, the largest, the smallest normal and subnormal numbers, infinities, NaNs, and numbers in between.
EDGES = [0x0000, 0x0001, 0x0002, 0x0040, 0x007F, 0x0080, 0x0081, 0x3F00, 0x3F80, 0x3F81, 0x4049, 0x42B0, 0x42D0]
EDGES += [0x7E80, 0x7F00, 0x7F7F, 0x7F80, 0x7F81, 0x7FC0]
EDGES += [bits | 0x8000 for bits in EDGES]


def _pairs(bits: list[int]) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.meshgrid(bits, bits)
    return from_bits(first, BF16), from_bits(second, BF16)


def _random(seed: int, low: int = 0, high: int = 256) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sign, field, mantissa = (rng.integers(*limits, (2, 4000)) for limits in ((0, 2), (low, high), (0, 128)))
    bits = sign << 15 | field << 7 | mantissa
    return from_bits(bits[0], BF16), from_bits(bits[1], BF16)


@cache
def silu_cases() -> list[Case]:
    """All calls of silu_mul; the gates are every bf16 number."""
    gates = np.arange(1 << 16)
    cases = []
    for part in range(16):
        gate = from_bits(gates[part::16], BF16)
        cases.append(Case(f"every gate, part {part}", "silu_mul", gate=gate, up=bf16(np.ones(len(gate)))))
    inputs = {
        "edges": _pairs(EDGES),
        "any": _random(41),
        "ordinary": _random(42, 110, 132),
        "small": _random(43, 0, 90),
    }
    inputs["no elements"] = (np.zeros((0, 3), BF16), np.zeros((0, 3), BF16))
    return [*cases, *(Case(name, "silu_mul", gate=g, up=u) for name, (g, u) in inputs.items())]


@cache
def residual_cases() -> list[Case]:
    """All calls of residual and gated_residual."""
    inputs = {"edges": _pairs(EDGES), "any": _random(44), "near": _random(45, 120, 134), "small": _random(46, 0, 12)}
    x = bf16([1 + k * 2.0**-7 for k in range(8)])
    for name, y in {"ties": 2.0**-8, "above ties": 2.0**-8 + 2.0**-15, "below ties": 2.0**-8 - 2.0**-16}.items():
        inputs[name] = (x, bf16([y] * 8))
        inputs[f"{name}, subtracted"] = (x, bf16([-y] * 8))
    inputs["far below a tie"] = (bf16([1 + 2.0**-7, 1]), bf16([2.0**-8, 2.0**-8]))
    inputs["beyond fp32"] = (bf16([1, 1 + 2.0**-7, 2.0**60]), bf16([2.0**-30, -(2.0**-40), 2.0**-100]))
    inputs["no elements"] = (np.zeros((2, 0), BF16), np.zeros((2, 0), BF16))
    return [*(Case(name, "residual", x=x, y=y) for name, (x, y) in inputs.items()), *_gated()]


# Where tanh is a bf16 number, tiny, steep, near a midpoint, near 1, and 1; and what is no number.
GATES = [0x0000, 0x0001, 0x0080, 0x3C00, 0x3DB9, 0x3E80, 0x3F00, 0x3F80, 0x3FEC, 0x3FFE, 0x405E, 0x4080, 0x7F7F, 0x7F80]
GATES += [0x3D00, 0x3E2E, 0x3F49, 0x4010, 0x4050, 0x4070]


def _gated() -> Iterator[Case]:
    rng = np.random.default_rng(48)
    for bits in [*GATES, *(gate | 0x8000 for gate in GATES), 0x7FC0, 0xFF81]:
        gate = from_bits([bits], BF16)
        x, y = (from_bits(rng.integers(0x3000, 0x4400, 40) | rng.integers(0, 2, 40) << 15, BF16) for _ in range(2))
        yield Case(f"gate {bits:#06x}", "gated_residual", x=x, y=y, gate=gate)
        one = bf16(np.ones(1))
        yield Case(f"tanh of {bits:#06x}", "gated_residual", x=one * 0, y=one, gate=gate)
    x, y = _pairs(EDGES)
    for bits in (0x3F80, 0xBF00, 0x0000, 0x8000, 0x7F80):
        yield Case(f"edges, gate {bits:#06x}", "gated_residual", x=x, y=y, gate=from_bits([bits], BF16))
    yield Case("any bits", "gated_residual", x=_random(49)[0], y=_random(49)[1], gate=bf16([0.5]))
    none = np.zeros((0, 3), BF16)
    yield Case("no elements", "gated_residual", x=none, y=none, gate=bf16([1.0]))


@cache
def sample_cases() -> list[Case]:
    """All calls of sample."""
    rng = np.random.default_rng(47)
    inf, nan = np.inf, np.nan
    rows = [
        [1.0, 3.0, 3.0, 2.0],
        [-0.0, 0.0, -0.0, -1.0],
        [0.0, -0.0, -1.0, -inf],
        [1.0, nan, inf, nan],
        [inf, 1.0, inf, -inf],
        [-inf, -inf, -inf, -inf],
        [-nan, inf, nan, 0.0],
        [-3.0, -2.0, -2.0, -5.0],
        [1e-45, 0.0, 1e-45, -1e-45],
    ]
    inputs = {"listed": np.array(rows, dtype=np.float32), "one token": np.array([[5.0]], dtype=np.float32)}
    inputs["few values"] = rng.integers(-3, 3, (50, 12)).astype(np.float32)
    inputs["normal"] = rng.standard_normal((4, 5, 300)).astype(np.float32)
    inputs["any bits"] = from_bits(rng.integers(0, 1 << 32, (60, 9)), np.float32)
    inputs["vector"] = np.array([0.0, 7.0, 7.0], dtype=np.float32)
    inputs["no rows"] = np.zeros((0, 3), dtype=np.float32)
    wide = [Case(name, "sample", logits=x) for name, x in inputs.items()]
    narrow = {name: inputs[name].astype(BF16) for name in ("listed", "few values", "normal")}
    narrow["any bits"] = from_bits(rng.integers(0, 1 << 16, (60, 9)), BF16)
    return wide + [Case(f"bf16 {name}", "sample", logits=x) for name, x in narrow.items()]
