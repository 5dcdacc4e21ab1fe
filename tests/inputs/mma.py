# SPDX-License-Identifier: Apache-2.0
"""Inputs of the tensor cores: the bit probes with what they must give, and random operands of every class and unit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from bits import BF16, E4M3, from_bits

from .case import Case
from .probes import GENERATED_STEPS, ZERO_STEPS, generated

E5M2 = np.dtype(ml_dtypes.float8_e5m2)
FP16 = np.dtype(np.float16)
FP8_UNITS = ("sm89_mma", "sm90_wgmma", "sm90_mma_sync", "sm100_tcgen05", "sm120_mma")
WIDE_UNITS = ("sm80_mma", *FP8_UNITS)
MODES = ("sm90", "sm89", "sm80")
# (types of a and b, units, accumulators): everything that exists.
CLASSES = (
    *(((a, b), FP8_UNITS, ("float32", "float16")) for a in (E4M3, E5M2) for b in (E4M3, E5M2)),
    ((BF16, BF16), WIDE_UNITS, ("float32",)),
    ((FP16, FP16), WIDE_UNITS, ("float32", "float16")),
)
# The self-test values of units that differ from Hopper's: generated rows and accumulators as for GENERATED_STEPS.
GENERATED = {
    "sm90_wgmma": [after for _, after in GENERATED_STEPS],
    "sm89_mma": [0xC79F9000, 0x4581C400, 0xC7F46000, 0xC7C53000, 0x47A61400, 0xC5CA3000],
    "sm100_tcgen05": [0xC79F90D1, 0x4581C443, 0xC7F462F3, 0xC7C52AD6, 0x47A60ED2, 0xC5CA2344],
}
GENERATED["sm120_mma"] = GENERATED["sm100_tcgen05"]

Pairs = list[tuple[float, float]]


def operands(products: dict[int, tuple[float, float]] | Pairs, k: int, dtype: Any = E4M3) -> tuple[Any, Any]:
    """Rows of length k with a*b at the given places, zeros elsewhere."""
    places = products if isinstance(products, dict) else dict(enumerate(products))
    rows = np.zeros((2, k), np.float64)
    for place, pair in places.items():
        rows[:, place] = pair
    with np.errstate(over="ignore"):
        a, b = (row.astype(np.float32).astype(dtype)[None, :] for row in rows)
    assert all((x.astype(np.float64) == row).all() for x, row in zip((a, b), rows, strict=True)), "not of this type"
    return a, b


def _c(bits: int | None, dtype: str = "float32") -> Any:
    return None if bits is None else from_bits([[bits]], dtype)


BIG = [(64.0, 64.0), (-64.0, 64.0)]
ONE = [(1.0, 1.0), (-1.0, 1.0)]


def _probe(name: str, unit: str, products: Any, c: int | None, expected: int, **more: Any) -> tuple[Any, ...]:
    k, dtype, out = more.get("k", 32), more.get("dtype", E4M3), more.get("out_dtype", "float32")
    a, b = operands(products, k, dtype)
    return name, {"a": a, "b": b, "c": _c(c, out), "accumulate": unit, "out_dtype": out}, expected


def _fp8_probes() -> Iterator[tuple[Any, ...]]:
    """E1 to E13 on Hopper's wgmma, one instruction each, with what other designs would give where it is told."""
    hopper = "sm90_wgmma"
    yield _probe("E1a", hopper, [*BIG, (0.5, 1.0)], None, 0x3F000000)
    yield _probe("E1b", hopper, [*BIG, (0.25, 1.0)], None, 0x00000000)
    yield _probe("E1b with F = 25", "sm100_tcgen05", [*BIG, (0.25, 1.0)], None, 0x3E800000)
    yield _probe("E2a", hopper, [], 0x40490FDB, 0x40490C00)
    yield _probe("E2b", hopper, BIG, 0x3E800000, 0x00000000)
    yield _probe("E2c", hopper, BIG, 0x3F000000, 0x3F000000)
    yield _probe("E3a", hopper, [(2.0**-4, 2.0**-4)] * 32, 0x42800000, 0x42800000)
    yield _probe("E3a with F = 25", "sm120_mma", [(2.0**-4, 2.0**-4)] * 32, 0x42800000, 0x42804000)
    yield _probe("E3b", hopper, [(2.0**-4, 2.0**-4)] * 32, 0x427F8000, 0x42800000)
    for j in range(2, 32):
        products = {0: BIG[0], 1: BIG[1], j: (0.5, 0.5)}
        yield _probe(f"E4a {j}", hopper, products, None, 0)
        yield _probe(f"E4a {j} on Ada", "sm89_mma", products, None, 0x3E800000 if j >= 16 else 0)
    for j in set(range(32)) - {16, 17}:
        yield _probe(f"E4b {j}", hopper, {16: BIG[0], 17: BIG[1], j: (0.5, 0.5)}, None, 0)
        yield _probe(f"E4b {j} on Ada", "sm89_mma", {16: BIG[0], 17: BIG[1], j: (0.5, 0.5)}, None, 0)
    yield _probe("E5a", hopper, [*BIG, (-0.375, 1.0)], None, 0)
    yield _probe("E5b", hopper, [*BIG, (0.375, 1.0)], None, 0)
    yield _probe("E5c", hopper, [*BIG, (-0.25, 1.0)], None, 0)
    yield _probe("E6a", hopper, [(64.0, 64.0), (64.0, 64.0), (1.5, 1.0)], None, 0x46000400)
    yield _probe("E6b", hopper, [(64.0, -64.0), (64.0, -64.0), (-1.5, 1.0)], None, 0xC6000400)
    yield _probe("E7a", hopper, [(96.0, 96.0), (0.5, 1.0), (0.5, 1.0)], None, 0x46100400)
    yield _probe("E7b", hopper, [(72.0, 128.0), (0.5, 1.0), (0.5, 1.0)], None, 0x46100000)
    yield _probe("E8", hopper, [(2.0**-9, 64.0), (-(2.0**-9), 64.0), (2.0**-7, 2.0**-7)], None, 0)
    yield _probe("E9 minus zeros", hopper, [(-0.0, 1.0)] * 32, 0x80000000, 0)
    yield _probe("E9 cancellation", hopper, ONE, 0x80000000, 0)
    yield _nan_probe()
    infinite = float("inf")
    yield _probe("E10 Inf * 0", hopper, [(infinite, 0.0)], None, 0x7FFFFFFF, dtype=E5M2)
    yield _probe("E10 Inf - Inf", hopper, [(infinite, 1.0), (-infinite, 1.0)], None, 0x7FFFFFFF, dtype=E5M2)
    yield _probe("E10 Inf", hopper, [(infinite, 1.0)], None, 0x7F800000, dtype=E5M2)
    for before, after in ZERO_STEPS.items():
        yield _probe(f"E11 {before:08X}", hopper, [], before, after)
    # The second instruction of E13 begins with the first one's result; as one K of 64 it is the same chain.
    chained = {0: (64.0, 64.0), 1: (64.0, 64.0), 2: (1.5, 1.0), 32: (0.5, 1.0)}
    yield _probe("E13", hopper, chained, None, 0x46000400, k=64)


def _nan_probe() -> tuple[Any, ...]:
    a, b = np.zeros((2, 1, 32), np.uint8)
    a[0, 5] = 0xFF
    return "E10 NaN", {"a": a, "b": b, "c": None, "accumulate": "sm90_wgmma", "out_dtype": "float32"}, 0x7FFFFFFF


def _wide_probes() -> Iterator[tuple[Any, ...]]:
    """E14 and E15: bf16 and fp16 operands of Hopper, wgmma and mma.sync alike."""
    for unit in ("sm90_wgmma", "sm90_mma_sync"):
        bf16 = {"k": 16, "dtype": BF16}
        yield _probe(f"E14a {unit}", unit, [*ONE, (2.0**-25, 1.0)], None, 0x33000000, **bf16)
        yield _probe(f"E14b {unit}", unit, [*ONE, (2.0**-26, 1.0)], None, 0, **bf16)
        yield _probe(f"E14c {unit}", unit, ONE, 0x32800000, 0, **bf16)
        yield _probe(f"E14d {unit}", unit, [(1.0, 1.0), (1.5, 2.0**-24)], None, 0x3F800000, **bf16)
        yield _probe(f"E14d negated {unit}", unit, [(-1.0, 1.0), (-1.5, 2.0**-24)], None, 0xBF800000, **bf16)
        e14e = [(1.75, 2.0**-23), (2.0**-25, 1.0)]
        yield _probe(f"E14e {unit}", unit, [(1.5, 1.5), *e14e], None, 0x40100001, **bf16)
        yield _probe(f"E14e normalised {unit}", unit, [(2.25, 1.0), *e14e], None, 0x40100000, **bf16)
        pair = (2.0**-23, 2.0**-126)
        yield _probe(f"E14f {unit}", unit, [pair, (-(2.0**-32), 2.0**-126)], None, 0, **bf16)
        yield _probe(f"E14f floor {unit}", unit, [pair, (-(2.0**-33), 2.0**-126)], None, 1, **bf16)
        for j in range(2, 16):
            yield _probe(f"E14g {j} {unit}", unit, {0: ONE[0], 1: ONE[1], j: (2.0**-26, 1.0)}, None, 0, **bf16)
        half = {"k": 16, "dtype": FP16, "out_dtype": "float16"}
        tie = [(2.0**-12, 2.0**-13), (2.0**-23, 2.0**-24)]
        yield _probe(f"E14h {unit}", unit, tie, None, 0x0000, **half)
        yield _probe(f"E14h above {unit}", unit, [*tie, (2.0**-22, 2.0**-24)], None, 0x0001, **half)
        yield _probe(f"E15a {unit}", unit, [(2.0**127, 1.0)] * 2, None, 0x7F800000, **bf16)
        far = [(2.0**127, 2.0**127), (-(2.0**127), 2.0**127)]
        yield _probe(f"E15b {unit}", unit, far, 0x3F800000, 0, **bf16)
        yield _probe(f"E15c {unit}", unit, [(2.0**103, 1.0)], 0x7F7FFFFF, 0x7F7FFFFF, **bf16)
        yield _probe(f"E15d {unit}", unit, [(2.0**104, 1.0)], 0x7F7FFFFF, 0x7F800000, **bf16)
    for j in range(8, 16):  # what E14g shows of steps of 8
        products = {0: ONE[0], 1: ONE[1], j: (2.0**-26, 1.0)}
        yield _probe(f"E14g {j} on Ampere", "sm80_mma", products, None, 0x32800000, k=16, dtype=BF16)
    for unit in ("sm80_mma", "sm89_mma"):  # their floor of -20 cuts both small products away, and the tie goes to 0
        for name, more in (("E14h", []), ("E14h above", [(2.0**-22, 2.0**-24)])):
            products = [(2.0**-12, 2.0**-13), (2.0**-23, 2.0**-24), *more]
            yield _probe(f"{name} {unit}", unit, products, None, 0, k=16, dtype=FP16, out_dtype="float16")


def _sync_probes() -> Iterator[tuple[Any, ...]]:
    """E16: mma.sync of FP8 on Hopper is no FP8 unit."""
    unit = "sm90_mma_sync"
    yield _probe("E16a", unit, [], 0x40490FDB, 0x40490FDB)
    yield _probe("E16a on Ada", "sm89_mma", [], 0x40490FDB, 0x40490C00)
    small = (2.0**-4, 2.0**-4)
    for j in range(2, 32):
        products = {0: (256.0, 256.0), 1: small, j: small}
        yield _probe(f"E16b {j}", unit, products, None, 0x47800001 if j % 4 < 2 else 0x47800000)
        yield _probe(f"E16b {j} on Blackwell", "sm120_mma", products, None, 0x47800001)
        yield _probe(f"E16b {j} by wgmma", "sm90_wgmma", products, None, 0x47800000)


def _generated() -> Iterator[tuple[Any, ...]]:
    for unit, results in GENERATED.items():
        for test, (result, (before, _)) in enumerate(zip(results, GENERATED_STEPS, strict=True)):
            a, b = (from_bits([row], E4M3) for row in generated(test))
            arguments = {"a": a, "b": b, "c": _c(before), "accumulate": unit, "out_dtype": "float32"}
            yield f"generated {test}, {unit}", arguments, result


@cache
def probes() -> list[tuple[str, dict[str, Any], int]]:
    """(name, arguments of mma, the bits that it must give)."""
    groups = (_fp8_probes, _wide_probes, _sync_probes, _generated)
    return [probe for group in groups for probe in group()]


def random_bits(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Any patterns, infinities and NaNs among them."""
    dtype = np.dtype(dtype)
    return from_bits(rng.integers(0, 1 << 8 * dtype.itemsize, shape), dtype)


def finite(x: np.ndarray) -> np.ndarray:
    """The array with ones in place of infinities and NaNs."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(x.astype(np.float32)), x, x.dtype.type(1))


def _cancelling(rng: np.random.Generator, a: np.ndarray, b: np.ndarray) -> None:
    """Every second product is the opposite of the one before it, except for some."""
    width = a.shape[1] // 2 * 2
    sign = 1 << (8 * a.dtype.itemsize - 1)
    words = a.view(f"u{a.dtype.itemsize}")
    words[:, 1:width:2] = words[:, 0:width:2] ^ np.array(sign, words.dtype)
    b[:, 1:width:2] = b[:, 0:width:2]
    words[:, rng.integers(0, a.shape[1], 2)] ^= np.array(1, words.dtype)


def _random() -> Iterator[Case]:
    rng = np.random.default_rng(61)
    for (a_type, b_type), units, outs in CLASSES:
        for out in outs:
            for unit in units:
                for kind, k in (("any bits", 33), ("finite", 32), ("cancelling", 48), ("numbers", 80)):
                    a, b = (random_bits(rng, (3, k), dtype) for dtype in (a_type, b_type))
                    c = random_bits(rng, (3, 3), out)
                    if kind != "any bits":
                        a, b, c = finite(a), finite(b), finite(c)
                    if kind == "cancelling":
                        _cancelling(rng, a, b)
                        c = (c * c.dtype.type(2.0**-9)).astype(out)
                    if kind == "numbers":
                        a, b = (rng.standard_normal((3, k)).astype(np.float32).astype(t) for t in (a_type, b_type))
                        c = None
                    name = f"{kind}, {unit}, {np.dtype(a_type).name} x {np.dtype(b_type).name} in {out}"
                    yield Case(name, "mma", a=a, b=b, c=c, accumulate=unit, out_dtype=out)


def _shapes() -> Iterator[Case]:
    rng = np.random.default_rng(62)
    for m, n, k in ((0, 2, 5), (2, 0, 5), (2, 2, 0), (1, 1, 1), (2, 3, 15), (2, 3, 17), (1, 2, 129)):
        a, b = finite(random_bits(rng, (m, k), E4M3)), finite(random_bits(rng, (n, k), E4M3))
        for unit in FP8_UNITS:
            c = from_bits(rng.integers(0, 2**31, (m, n)), np.float32)
            yield Case(f"{m}x{n}x{k}, {unit}", "mma", a=a.view(np.uint8), b=b, c=c, accumulate=unit)


@cache
def cases() -> list[Case]:
    """All calls of mma."""
    named = [Case(name, "mma", **arguments) for name, arguments, _ in probes()]
    return [*named, *_random(), *_shapes()]
