# SPDX-License-Identifier: Apache-2.0
"""The casts of ml_dtypes and torch to E4M3, against ``encode``; and what torch's division by a number is."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import fp8ref
from bits import assert_same_bits, from_bits, is_nan
from outside.tensors import BF16, E4M3, array, tensor, torch

pytestmark = pytest.mark.outside

EVERY = {"every bf16": (BF16, np.arange(1 << 16)), "every fp16": (np.dtype(np.float16), np.arange(1 << 16))}
MANY = {f"fp32 {n}": (np.dtype(np.float32), n) for n in range(4)}
SATURATES = tuple(int(n) for n in torch.__version__.split(".")[:2]) >= (2, 12)


def _values(name: str) -> np.ndarray:
    """Every number of 16 bits, or two million random patterns of 32 and all that lie near the codes."""
    if name in EVERY:
        dtype, bits = EVERY[name]
        return from_bits(bits, dtype)
    dtype, seed = MANY[name]
    rng = np.random.default_rng(seed)
    near = 2.0 ** rng.uniform(-12, 10, 1 << 20) * rng.choice([-1, 1], 1 << 20)
    return np.concatenate([from_bits(rng.integers(0, 1 << 32, 1 << 20), dtype), near.astype(dtype)])


@pytest.mark.parametrize("name", [*EVERY, *MANY])
def test_ml_dtypes(name):
    """ml_dtypes has NaN where it should saturate, so it is given clipped numbers; NaN itself stays."""
    x = _values(name)
    wide = x.astype(np.float32)
    with np.errstate(invalid="ignore"):
        clipped = np.clip(wide, np.float32(-448), np.float32(448)).astype(E4M3)
        unclipped = wide.astype(E4M3)
    assert_same_bits(fp8ref.encode(x, "saturate"), clipped)
    assert_same_bits(fp8ref.encode(x, "nan"), unclipped)


@pytest.mark.parametrize("name", [*EVERY, *MANY])
def test_torch(name):
    x = _values(name)
    assert_same_bits(fp8ref.encode(x, "saturate"), array(tensor(x).clamp(-448, 448).to(torch.float8_e4m3fn)))


@pytest.mark.parametrize("name", EVERY)
def test_torch_by_itself(name):
    """Since version 2.12 the cast saturates, before it had NaN."""
    x = _values(name)
    policy = "saturate" if SATURATES else "nan"
    assert_same_bits(fp8ref.encode(x, policy), array(tensor(x).to(torch.float8_e4m3fn)))


def test_decode():
    codes = from_bits(np.arange(256), E4M3)
    assert_same_bits(fp8ref.decode(codes), codes.astype(np.float32))
    assert_same_bits(fp8ref.decode(codes), array(tensor(codes.view(np.int8)).view(torch.float8_e4m3fn).float()))


def test_a_double_is_rounded_twice_by_both():
    """Why ``encode`` does not lean on their casts from float64: 17/16 + 2**-40 is above the tie, and both go down."""
    x = np.array([1.0625 + 2.0**-40])
    assert fp8ref.encode(x).view(np.uint8).tolist() == [0x39]
    assert x.astype(E4M3).view(np.uint8).tolist() == [0x38]
    assert array(torch.from_numpy(x).to(torch.float8_e4m3fn)).view(np.uint8).tolist() == [0x38]
    assert ml_dtypes.finfo(E4M3).max == 448


@pytest.mark.parametrize("dtype", [BF16, np.dtype(np.float32)], ids=str)
def test_a_number_over_a_tensor_is_two_roundings(dtype):
    """The trap behind [QUANT-RDIV] and the rules with 1/((1/amax)*448)."""
    rng = np.random.default_rng(2)
    t = tensor((2.0 ** rng.uniform(-20, 20, 1 << 16)).astype(np.float32).astype(dtype))
    two = t.reciprocal() * 448.0
    assert bool(torch.equal(448.0 / t, two))
    once = torch.full_like(t, 448.0) / t
    assert not torch.equal(once, two)


def test_a_tensor_over_a_number_is_one_rounding_on_a_cpu():
    amax = np.arange(0x3F800000, 0x40000000, 997, dtype=np.uint32).view(np.float32)
    assert_same_bits(array(tensor(amax) / 448.0), amax / np.float32(448))
    assert np.count_nonzero(amax / np.float32(448) != amax * np.float32(1 / 448)) > len(amax) // 4


def test_nan_keeps_its_place():
    x = np.array([np.nan, -np.nan, 1.0], np.float32)
    assert is_nan(fp8ref.encode(x)).tolist() == [True, True, False]
    assert is_nan(array(tensor(x).clamp(-448, 448).to(torch.float8_e4m3fn))).tolist() == [True, True, False]
