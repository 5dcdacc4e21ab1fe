# SPDX-License-Identifier: Apache-2.0
"""torch._scaled_mm on a CPU against scaled_mm, where the definitions coincide, and where they do not.

torch multiplies the scales into the operands in float32 and adds in an order of its own (spec/scaled_mm.md, "torch on a
CPU"). With scales that are powers of two and sums that float32 holds exactly, nothing of that rounds.
"""

from __future__ import annotations

import numpy as np
import pytest

from bits import BF16, E4M3, assert_same_bits, from_bits
from fp8ref import scaled_mm

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.outside

TYPES = {
    "float32": (torch.float32, np.uint32, np.dtype(np.float32)),
    "bfloat16": (torch.bfloat16, np.uint16, BF16),
    "float16": (torch.float16, np.uint16, np.dtype(np.float16)),
    "float8_e4m3fn": (torch.float8_e4m3fn, np.uint8, E4M3),
}
SHAPES = ((1, 16, 16), (3, 32, 48), (33, 64, 256), (70, 16, 1024))


def _small_codes(rng, *shape):
    """Codes of integers from -8 to 8: sums of 1024 products are integers below 2**24, exact in float32 in any order."""
    return rng.integers(-8, 9, shape).astype(np.float32).astype(E4M3)


def _torch_codes(codes):
    return torch.from_numpy(codes.view(np.uint8).copy()).view(torch.float8_e4m3fn)


def _torch(a, b, a_scale, b_scale, out, bias=None, result_scale=None):
    """torch's answer as an array; b goes in as (K, N), column by column, as cuBLAS wants it."""
    kind, bits, dtype = TYPES[out]
    scales = [torch.from_numpy(np.array(s, dtype=np.float32)) for s in (a_scale, np.asarray(b_scale).T)]
    result = torch._scaled_mm(
        _torch_codes(a),
        _torch_codes(b).t(),
        *scales,
        bias=None if bias is None else torch.from_numpy(bias.astype(np.float32)).to(torch.bfloat16),
        scale_result=None if result_scale is None else torch.tensor(result_scale),
        out_dtype=kind,
    )
    view = {np.uint8: torch.uint8, np.uint16: torch.int16, np.uint32: torch.int32}[bits]
    return from_bits(result.contiguous().view(view).numpy().view(bits), dtype)


def _powers(rng, shape):
    return np.exp2(rng.integers(-6, 5, shape)).astype(np.float32)


@pytest.mark.parametrize("out", TYPES)
@pytest.mark.parametrize("scales", ["tensor", "rows"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_where_nothing_rounds_on_the_way(shape, scales, out):
    m, n, k = shape
    rng = np.random.default_rng(m)
    a, b = _small_codes(rng, m, k), _small_codes(rng, n, k)
    a_scale, b_scale = (_powers(rng, () if scales == "tensor" else (rows, 1)) for rows in (m, n))
    more = {"out_scale": np.float32(1), "overflow": "saturate"} if out == "float8_e4m3fn" else {}
    result = _torch(a, b, a_scale, b_scale, out, result_scale=1.0 if more else None)
    assert_same_bits(scaled_mm(a, b, a_scale, b_scale, out_dtype=out, **more), result)


def test_agrees_with_a_bias():
    rng = np.random.default_rng(9)
    a, b = _small_codes(rng, 20, 64), _small_codes(rng, 32, 64)
    bias = rng.integers(-64, 65, 32).astype(np.float32)
    result = _torch(a, b, np.float32(0.5), np.float32(2), "bfloat16", bias=bias)
    assert_same_bits(scaled_mm(a, b, 0.5, 2.0, bias=bias.astype(BF16)), result)


def test_differs_where_scaled_operands_round():
    """Scales with full fractions: torch rounds code * scale, so its rows are not those of any epilogue."""
    rng = np.random.default_rng(10)
    a, b = rng.integers(0x20, 0x60, (32, 64)).astype(np.uint8), rng.integers(0x20, 0x60, (32, 64)).astype(np.uint8)
    a_scale, b_scale = (rng.uniform(1, 2, (32, 1)).astype(np.float32) for _ in range(2))
    result = _torch(a.view(E4M3), b.view(E4M3), a_scale, b_scale, "float32")
    for epilogue in ("a_b", "b_a", "ab"):
        ours = scaled_mm(a, b, a_scale, b_scale, out_dtype="float32", epilogue=epilogue)
        assert (ours.view(np.uint32) != result.view(np.uint32)).mean() > 0.5
