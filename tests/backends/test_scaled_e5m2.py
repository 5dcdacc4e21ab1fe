# SPDX-License-Identifier: Apache-2.0
"""scaled_mm and grouped_mm of the cpu backend with E5M2 codes: golden's bits, however it is run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import from_bits
from everywhere import assert_everywhere
from inputs import scaled_e5m2 as inputs
from inputs.mma import finite, random_bits

OUT_DTYPES = ("float32", "bfloat16", "float16")


@pytest.mark.parametrize("case", list(inputs.e5m2_cases()), ids=repr)
def test_cases(case):
    assert_everywhere("scaled_mm", **case.arguments)


@pytest.mark.parametrize("types", inputs.PAIRS, ids=str)
@pytest.mark.parametrize("shape", [(1, 9, 33), (3, 97, 300), (258, 5, 130)], ids=str)
def test_random(types, shape):
    """One row; more than one block of rows or columns; tails everywhere."""
    m, n, k = shape
    rng = np.random.default_rng(83)
    a, b = finite(random_bits(rng, (m, k), types[0])), finite(random_bits(rng, (n, k), types[1]))
    bias = rng.standard_normal(n).astype(np.float32)
    for accumulate in ("exact", "sm90_wgmma_promoted"):
        arguments = {"bias": bias, "out_dtype": "float32", "accumulate": accumulate}
        assert_everywhere("scaled_mm", a, b, np.float32(0.01), np.float32(0.3), **arguments)
    blocks = -(-k // 128)
    scales = [np.exp2(rng.uniform(-9, 3, (rows, blocks))).astype(np.float32) for rows in (m, n)]
    for epilogue in ("a_b", "triton"):
        assert_everywhere("scaled_mm", a, b, *scales, bias, "bfloat16", epilogue=epilogue)


@given(
    types=st.sampled_from(inputs.PAIRS),
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 300)),
    accumulate=st.sampled_from(inputs.ACCUMULATORS),
    out_dtype=st.sampled_from(OUT_DTYPES),
    block_epilogue=st.sampled_from([None, "a_b", "deepgemm", "triton", "triton_ba"]),
    specials=st.sampled_from(["nowhere", "in few places", "everywhere"]),
)
def test_anything(types, seed, shape, accumulate, out_dtype, block_epilogue, specials):
    """Any codes, any scales with a clear sign bit (Inf and NaN too), any bias."""
    m, n, k = shape
    rng = np.random.default_rng(seed)
    a, b = random_bits(rng, (m, k), types[0]), random_bits(rng, (n, k), types[1])
    if specials != "everywhere":
        last = a[-1:, -1:].copy()
        a, b = finite(a), finite(b)
        if specials == "in few places":
            a[-1:, -1:] = last
    bias = from_bits(rng.integers(0, 2**32, n), np.float32)
    columns = 1 if block_epilogue is None else -(-k // 128)
    a_s, b_s = (from_bits(rng.integers(0, 0x7F900000, (rows, columns)), np.float32) for rows in (m, n))
    if block_epilogue == "a_b":
        accumulate = "exact"
    epilogue = block_epilogue or "ab"
    assert_everywhere("scaled_mm", a, b, a_s, b_s, bias, out_dtype, accumulate, epilogue)


def test_groups():
    rng = np.random.default_rng(84)
    a, b = finite(random_bits(rng, (40, 150), inputs.E5M2)), finite(random_bits(rng, (3, 7, 150), inputs.E4M3))
    offsets = np.array([2, 20, 20, 39])
    for accumulate in ("exact", "sm89_mma"):
        arguments = {"out_dtype": "float32", "accumulate": accumulate}
        assert_everywhere("grouped_mm", a, b, np.float32(1), np.ones(3, np.float32), offsets, **arguments)
