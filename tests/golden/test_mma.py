# SPDX-License-Identifier: Apache-2.0
"""Tensor cores against the witness and against the published probes; matrix products that are made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import assert_same_bits, from_bits, pattern
from fp8ref.golden import mma as golden
from fp8ref.golden._units import ACCUMULATORS
from fp8ref.golden.scaled_mm import scaled_mm
from inputs import mma as inputs
from oracle import expected, mma
from oracle import scaled_mm as witness_mm


@pytest.mark.parametrize("name, arguments, bits", inputs.probes(), ids=lambda x: x if isinstance(x, str) else "")
def test_probes(name, arguments, bits):
    assert f"{int(pattern(golden.mma(**arguments))[0, 0]):#x}" == f"{bits:#x}"
    assert f"{int(pattern(mma(**arguments))[0, 0]):#x}" == f"{bits:#x}"


@pytest.mark.parametrize("case", inputs.cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(golden.mma(**case.arguments), expected(case), case.name)


@given(st.data())
def test_any_bits(data):
    (a_type, b_type), units, outs = data.draw(st.sampled_from(inputs.CLASSES))
    m, n, k = (data.draw(st.integers(0, top)) for top in (2, 2, 70))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    a, b = (inputs.random_bits(rng, (rows, k), dtype) for rows, dtype in ((m, a_type), (n, b_type)))
    if data.draw(st.booleans()):
        a, b = inputs.finite(a), inputs.finite(b)
    unit, out = data.draw(st.sampled_from(units)), data.draw(st.sampled_from(outs))
    c = inputs.random_bits(rng, (m, n), out) if data.draw(st.booleans()) else None
    assert_same_bits(golden.mma(a, b, c, unit, out), mma(a, b, c, unit, out))


@pytest.mark.parametrize("accumulate", ACCUMULATORS)
@pytest.mark.parametrize("k", [1, 127, 128, 129, 300, 640])
@pytest.mark.parametrize("split_k", [1, 2, 3, 7])
def test_split_k(accumulate, k, split_k):
    rng = np.random.default_rng(63)
    a, b = (inputs.finite(inputs.random_bits(rng, (2, k), inputs.E4M3)) for _ in range(2))
    arguments = {"out_dtype": "float32", "accumulate": accumulate, "split_k": split_k}
    assert_same_bits(scaled_mm(a, b, 1.0, 1.0, **arguments), witness_mm(a, b, 1.0, 1.0, **arguments))


@pytest.mark.parametrize("j", [2, 31, 32, 127, 128, 129, 300, 511])
def test_promotion_keeps_what_fast_accumulation_loses(j):
    """E17: 64*64 twice and 0.5 at k = j over K = 512."""
    a, b = inputs.operands({0: (64.0, 64.0), 1: (64.0, 64.0), j: (0.5, 1.0)}, 512)
    found = {}
    for name, split in (("sm90_wgmma", 1), ("sm90_wgmma_promoted", 1), ("sm90_wgmma", 4), ("sm90_wgmma", 2)):
        y = scaled_mm(a, b, 1.0, 1.0, out_dtype="float32", accumulate=name, split_k=split)
        found[name, split] = int(pattern(y)[0, 0])
    assert found["sm90_wgmma", 1] == 0x46000000
    assert found["sm90_wgmma_promoted", 1] == (0x46000200 if j >= 128 else 0x46000000)
    assert found["sm90_wgmma", 4] == found["sm90_wgmma_promoted", 1]
    assert found["sm90_wgmma", 2] == (0x46000200 if j >= 256 else 0x46000000)


@pytest.mark.parametrize("types, units, outs", inputs.CLASSES, ids=str)
def test_no_accumulator_is_plus_zero(types, units, outs):
    """E12: what the registers held before does not matter."""
    rng = np.random.default_rng(64)
    a, b = (inputs.random_bits(rng, (5, 40), dtype) for dtype in types)
    for unit in units:
        for out in outs:
            assert_same_bits(golden.mma(a, b, None, unit, out), golden.mma(a, b, np.zeros((5, 5), out), unit, out))


def test_chain_sticks_at_64():
    """E3c: 2**-4 * 2**-4 over a long K, in every unit with 13 fraction bits; those with 25 go on."""
    row = from_bits(np.full((1, 32 * 520), 0x18), inputs.E4M3)
    for unit, value in (("sm90_wgmma", 64.0), ("sm89_mma", 64.0), ("sm100_tcgen05", 65.0), ("sm120_mma", 65.0)):
        assert golden.mma(row, row, accumulate=unit).tolist() == [[value]]
