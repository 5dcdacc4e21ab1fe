# SPDX-License-Identifier: Apache-2.0
"""MMA-Sim, a published model of tensor cores, gives the bits of mma on every instruction that both have.

Its authors compared it with the hardware on a million random inputs for each instruction. It has no mma.sync of FP8 on
Hopper.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bits import BF16, E4M3, assert_same_bits
from fp8ref import mma
from inputs.mma import E5M2, FP16, finite, random_bits

torch = pytest.importorskip("torch")
sim = pytest.importorskip("mmasim.nv_ptx.sim")

pytestmark = pytest.mark.outside

OUTPUTS = 100_000  # of each instruction
SIDE = 130  # a matrix of outputs
OPERANDS = {
    "e4m3": (E4M3, torch.float8_e4m3fn),
    "e5m2": (E5M2, torch.float8_e5m2),
    "bf16": (BF16, torch.bfloat16),
    "f16": (FP16, torch.float16),
}
RESULTS = {"f32": (np.dtype(np.float32), torch.float32), "f16": (FP16, torch.float16)}
KINDS = ("any bits", "finite", "finite from zero", "normal", "cancelling", "tiny", "products of zeros")


def _instructions() -> Iterator[tuple[str, type, str, str]]:
    """(unit, MMA-Sim's class, architecture, instruction)."""
    for a in ("e4m3", "e5m2"):
        for b in ("e4m3", "e5m2"):
            for d in ("f32", "f16"):
                yield "sm89_mma", sim.MMA, "Ada Lovelace", f"m16n8k32.{d}.{a}.{b}.{d}"
                yield "sm90_wgmma", sim.WGMMA, "Hopper", f"m64n128k32.{d}.{a}.{b}"
                yield "sm100_tcgen05", sim.TCGen05MMA, "Blackwell", f"m128n128k32.kind::f8f6f4.{d}.{a}.{b}"
                yield "sm120_mma", sim.MMA, "RTX Blackwell", f"m16n8k32.kind::f8f6f4.{d}.{a}.{b}.{d}"
    for x, d in (("bf16", "f32"), ("f16", "f32"), ("f16", "f16")):
        yield "sm80_mma", sim.MMA, "Ampere", f"m16n8k16.{d}.{x}.{x}.{d}"
        yield "sm89_mma", sim.MMA, "Ada Lovelace", f"m16n8k16.{d}.{x}.{x}.{d}"
        yield "sm90_mma_sync", sim.MMA, "Hopper", f"m16n8k16.{d}.{x}.{x}.{d}"
        yield "sm90_wgmma", sim.WGMMA, "Hopper", f"m64n128k16.{d}.{x}.{x}"
        yield "sm100_tcgen05", sim.TCGen05MMA, "Blackwell", f"m128n128k16.kind::f16.{d}.{x}.{x}"
        yield "sm120_mma", sim.MMA, "RTX Blackwell", f"m16n8k16.{d}.{x}.{x}.{d}"


def _name(x: Any) -> str:
    return x if isinstance(x, str) else x.__name__


def _torch(x: np.ndarray, dtype: Any) -> Any:
    """The same bits as a torch tensor."""
    return torch.from_numpy(np.ascontiguousarray(x).view(f"i{x.dtype.itemsize}")).view(dtype)


def _inputs(rng: np.random.Generator, kind: str, types: tuple[Any, Any, Any], k: int) -> tuple[np.ndarray, ...]:
    """a (SIDE, K), b (SIDE, K) and c (SIDE, SIDE): random patterns, then whatever the kind makes of them."""
    a, b = (random_bits(rng, (SIDE, k), dtype) for dtype in types[:2])
    c = random_bits(rng, (SIDE, SIDE), types[2])
    if kind == "any bits":
        return a, b, c
    a, b, c = finite(a), finite(b), finite(c)
    if kind == "finite from zero":
        c = np.zeros_like(c)
    if kind == "normal":
        a, b = (rng.standard_normal((SIDE, k)).astype(np.float32).astype(dtype) for dtype in types[:2])
        c = rng.standard_normal((SIDE, SIDE)).astype(types[2])
    if kind == "cancelling":
        words, sign = a.view(f"u{a.dtype.itemsize}"), 1 << (8 * a.dtype.itemsize - 1)
        words[:, 1::2] = words[:, 0::2] ^ np.array(sign, words.dtype)
        b[:, 1::2] = b[:, 0::2]
        words[:, 3] ^= np.array(1, words.dtype)
    if kind == "tiny":  # operands with the smallest exponents, accumulators among them
        a, b = (np.ldexp(rng.standard_normal((SIDE, k)), -low).astype(np.float32) for low in ((6, 6)))
        scale = {E4M3: -3, E5M2: -9, BF16: -60, FP16: -9}
        a, b = (np.ldexp(x, scale[t]).astype(np.float32).astype(t) for x, t in zip((a, b), types[:2], strict=True))
        c = np.ldexp(rng.standard_normal((SIDE, SIDE)), -24).astype(types[2])
    if kind == "products of zeros":
        a = np.zeros_like(a)
    return a, b, c


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("unit, model, architecture, instruction", list(_instructions()), ids=_name)
def test_every_output_is_equal(unit, model, architecture, instruction):
    operation = model(architecture, instruction)
    (a_type, a_torch), (b_type, b_torch) = OPERANDS[operation.a_type_ptx], OPERANDS[operation.b_type_ptx]
    out, out_torch = RESULTS["f16" if operation.d_type == torch.float16 else "f32"]
    rng = np.random.default_rng(sum(map(ord, unit + instruction)))
    compared = 0
    for kind in KINDS:
        a, b, c = _inputs(rng, kind, (a_type, b_type, out), operation.k)
        theirs = operation(_torch(a, a_torch), _torch(b, b_torch).T, _torch(c, out_torch)).numpy()
        assert_same_bits(mma(a, b, c, unit, out.name), theirs, kind)
        compared += theirs.size
    assert compared >= OUTPUTS


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_wrong_unit_is_noticed():
    """The inputs tell each unit from every other one that takes the same operands."""
    rng = np.random.default_rng(71)
    operation = sim.WGMMA("Hopper", "m64n128k32.f32.e4m3.e4m3")
    a, b, c = _inputs(rng, "normal", (E4M3, E4M3, RESULTS["f32"][0]), 32)
    codes = [_torch(x, torch.float8_e4m3fn) for x in (a, b)]
    theirs = operation(codes[0], codes[1].T, _torch(c, torch.float32)).numpy()
    for unit in ("sm89_mma", "sm90_mma_sync", "sm100_tcgen05"):
        assert (mma(a, b, c, unit) != theirs).any()
