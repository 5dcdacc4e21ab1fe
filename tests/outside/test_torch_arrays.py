# SPDX-License-Identifier: Apache-2.0
"""torch tensors go in wherever arrays do, in every type and layout, with the bits of the same numpy arrays."""

from __future__ import annotations

import numpy as np
import pytest

import fp8ref
from bits import BF16, E4M3, assert_same_bits, from_bits
from fp8ref import compare
from inputs.mma import E5M2

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.outside

TYPES = {"float8_e4m3fn": E4M3, "float8_e5m2": E5M2, "bfloat16": BF16, "float16": np.float16, "float32": np.float32}
BACKENDS = [fp8ref.backend(name) for name in ("golden", "cpu")]


def _tensor(x):
    """The same bits as a torch tensor; not contiguous where there are two dimensions."""
    words = torch.from_numpy(np.ascontiguousarray(x).view(f"i{x.dtype.itemsize}").reshape(x.shape).copy())
    if x.ndim == 2:
        words = words.T.contiguous().T
    return words.view(getattr(torch, x.dtype.name))


def _finite(rng, dtype, *shape):
    with np.errstate(over="ignore"):
        return rng.standard_normal(shape).astype(np.float32).astype(dtype)


@pytest.mark.parametrize("name", TYPES)
def test_every_bit_pattern_arrives(name):
    dtype = np.dtype(TYPES[name])
    bits = np.arange(1 << min(8 * dtype.itemsize, 16), dtype=np.uint32) << (16 if dtype.itemsize == 4 else 0)
    x = from_bits(bits, dtype)
    arrived = fp8ref.golden._foreign.as_array(_tensor(x))
    assert arrived.dtype == dtype
    assert np.array_equal(arrived.view(f"u{dtype.itemsize}"), x.view(f"u{dtype.itemsize}"))


def test_scales_in_e8m0():
    codes = torch.arange(255, dtype=torch.uint8)
    scales = fp8ref.golden._args.scale_values("scaled_mm", "a_scale", codes.view(torch.float8_e8m0fnu))
    assert scales[1:].tolist() == [2.0 ** (e - 127) for e in range(1, 255)]


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_functions_take_tensors(backend):
    rng = np.random.default_rng(81)
    x, w = _finite(rng, BF16, 5, 160), _finite(rng, BF16, 7, 160)
    a, a_scale = fp8ref.quantize(x, "vllm.per_token")
    b, b_scale = fp8ref.quantize(w, "compressed_tensors.channel")
    bias = _finite(rng, BF16, 7)
    calls = (
        ("quantize", (x, "vllm.group_128")),
        ("dequantize", (a, a_scale)),
        ("mma", (a, b)),
        ("scaled_mm", (a, b, a_scale, b_scale, bias)),
        ("linear", (x, w, bias)),
        ("linear", (x, w, bias, "sm90_wgmma")),
        ("residual", (x, x)),
        ("silu_mul", (x, x)),
        ("encode", (x,)),
    )
    for name, arguments in calls:
        function = getattr(backend, name)
        tensors = [_tensor(y) if isinstance(y, np.ndarray) else y for y in arguments]
        assert_same_bits(function(*tensors), function(*arguments), name)


def test_comparisons_take_tensors():
    rng = np.random.default_rng(82)
    a, b = _finite(rng, E4M3, 32, 64), _finite(rng, E4M3, 32, 64)
    y = fp8ref.scaled_mm(a, b, 1.0, 1.0, accumulate="sm90_wgmma")
    tensors = [_tensor(x) for x in (y, a, b)]
    assert compare.contract(*tensors, accumulate="sm90_wgmma").held
    assert not compare.ulp(tensors[0], y).any()
    assert_same_bits(compare.bound(*tensors[1:]), compare.bound(a, b))
