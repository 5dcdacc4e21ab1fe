# SPDX-License-Identifier: Apache-2.0
"""mmaemu, an emulation of cuBLASLt on an H100, gives the accumulators of scaled_mm: chains, promotion and split-K."""

from __future__ import annotations

import numpy as np
import pytest

from bits import E4M3, assert_same_bits
from fp8ref import scaled_mm
from inputs.mma import E5M2, finite, random_bits

torch = pytest.importorskip("torch")
mmaemu = pytest.importorskip("mmaemu")

pytestmark = [pytest.mark.outside, pytest.mark.filterwarnings("ignore::UserWarning")]

FAST = {True: "sm90_wgmma", False: "sm90_wgmma_promoted"}
SHAPES = ((1, 1, 1), (3, 5, 31), (7, 9, 33), (16, 16, 128), (5, 7, 257), (33, 17, 1000), (64, 64, 4096))
LARGEST = (512, 512, 4096)


def _emulated(a: np.ndarray, b: np.ndarray, fast: bool, splits: int) -> np.ndarray:
    types = {E4M3: torch.float8_e4m3fn, E5M2: torch.float8_e5m2}
    tensors = [torch.from_numpy(x.view(np.uint8)).view(types[x.dtype]) for x in (a, b)]
    splitk = 1 if splits == 1 else (splits, "contiguous")
    return mmaemu.accumulate(*tensors, use_fast_accum=fast, splitk=splitk).numpy()


def _ours(a: np.ndarray, b: np.ndarray, fast: bool, splits: int) -> np.ndarray:
    return scaled_mm(a, b, 1.0, 1.0, out_dtype="float32", accumulate=FAST[fast], split_k=splits)


def _codes(rng: np.random.Generator, rows: int, k: int, kind: str, dtype: np.dtype = E4M3) -> np.ndarray:
    if kind == "normal":
        return rng.standard_normal((rows, k)).astype(np.float32).astype(dtype)
    codes = random_bits(rng, (rows, k), dtype)
    if kind == "any bits":  # a few NaNs and infinities, so that most outputs are numbers
        places = rng.random((rows, k)) < 0.5 / k
        return np.where(places, codes, finite(codes))
    return finite(codes)


@pytest.mark.parametrize("kind", ["normal", "finite", "any bits"])
@pytest.mark.parametrize("fast", [True, False], ids=FAST.get)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_accumulators(shape, fast, kind):
    m, n, k = shape
    rng = np.random.default_rng(k)
    a, b = _codes(rng, m, k, kind), _codes(rng, n, k, kind)
    assert_same_bits(_ours(a, b, fast, 1), _emulated(a, b, fast, 1))


@pytest.mark.parametrize("kind", ["finite", "any bits"])
@pytest.mark.parametrize("fast", [True, False], ids=FAST.get)
@pytest.mark.parametrize("types", [(E4M3, E5M2), (E5M2, E4M3), (E5M2, E5M2)], ids=str)
def test_e5m2(types, fast, kind):
    rng = np.random.default_rng(74)
    for k in (33, 300, 1000):
        a, b = (_codes(rng, rows, k, kind, dtype) for rows, dtype in zip((33, 40), types, strict=True))
        assert_same_bits(_ours(a, b, fast, 1), _emulated(a, b, fast, 1), f"K={k}")


@pytest.mark.parametrize("fast", [True, False], ids=FAST.get)
@pytest.mark.parametrize("splits", [2, 3, 4, 8])
def test_split_k(splits, fast):
    rng = np.random.default_rng(splits)
    for k in (1024, 4096, 4000):
        a, b = _codes(rng, 16, k, "normal"), _codes(rng, 16, k, "finite")
        assert_same_bits(_ours(a, b, fast, splits), _emulated(a, b, fast, splits), f"K={k}")


@pytest.mark.parametrize("fast", [True, False], ids=FAST.get)
def test_the_largest_product(fast):
    m, n, k = LARGEST
    rng = np.random.default_rng(72)
    a, b = _codes(rng, m, k, "normal"), _codes(rng, n, k, "normal")
    assert_same_bits(_ours(a, b, fast, 1), _emulated(a, b, fast, 1))


def test_the_other_accumulator_is_noticed():
    rng = np.random.default_rng(73)
    a, b = _codes(rng, 32, 1024, "normal"), _codes(rng, 32, 1024, "normal")
    assert (_ours(a, b, True, 1) != _emulated(a, b, False, 1)).any()
    assert (_ours(a, b, True, 2) != _emulated(a, b, True, 1)).any()
