# SPDX-License-Identifier: Apache-2.0
"""The scaled product against the witness, and both against the published bits of the tensor core."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import BF16, assert_same_bits, from_bits, pattern
from fp8ref.golden import scaled_mm as golden
from inputs.probes import GENERATED_STEPS, ZERO_STEPS, generated, grouping, probes
from inputs.scaled_mm import ACCUMULATORS, OUT_DTYPES, cases, codes
from oracle import expected, scaled_mm
from witness import formats
from witness.scaled_mm import step

RAW = {"a_scale": np.float32(1), "b_scale": np.float32(1), "out_dtype": "float32"}


@pytest.mark.parametrize("case", cases(), ids=repr)
def test_equals_witness(case):
    assert_same_bits(golden.scaled_mm(**case.arguments), expected(case), case.name)


@pytest.mark.parametrize("name", probes())
def test_probes_of_the_tensor_core(name):
    a, b, bits = probes()[name]
    assert pattern(golden.scaled_mm(codes([a]), codes([b]), **RAW, accumulate="sm90_wgmma"))[0, 0] == bits


def _ungrouped(every: bool) -> None:
    a, b = grouping(every)
    for i in range(0, len(a), 31):
        sums = golden.scaled_mm(a[i : i + 31], b[i : i + 31], **RAW, accumulate="sm90_wgmma")
        assert not pattern(sums.diagonal()).any(), f"rows {i} to {i + 30}"


def test_products_of_a_step_are_one_group():
    _ungrouped(every=False)


@pytest.mark.slow
def test_products_of_a_step_are_one_group_wherever_they_are():
    _ungrouped(every=True)


@pytest.mark.parametrize("test", range(len(GENERATED_STEPS)))
def test_witness_steps_with_an_accumulator(test):
    before, after = GENERATED_STEPS[test]
    assert step(*generated(test), before) == after


@pytest.mark.parametrize("before", ZERO_STEPS, ids=hex)
def test_witness_steps_without_products(before):
    assert step([0] * 32, [0x38] * 32, before) == ZERO_STEPS[before]


def _scales(data, rows):
    shape = data.draw(st.sampled_from([(), (1,), (1, 1), (rows, 1)]))
    size = int(np.prod(shape))
    ordinary = st.floats(2.0**-20, 2.0**4, width=32).map(lambda x: int(pattern(np.float32(x))))
    bits = data.draw(st.lists(ordinary | st.integers(0, 0x7FFFFFFF), min_size=size, max_size=size))
    return from_bits(bits, np.float32).reshape(shape)


def _bias(data, columns):
    dtype = data.draw(st.sampled_from([None, np.dtype(np.float32), np.dtype(np.float16), BF16]))
    if dtype is None:
        return None
    largest = (1 << 8 * dtype.itemsize) - 1
    return from_bits(data.draw(st.lists(st.integers(0, largest), min_size=columns, max_size=columns)), dtype)


@given(st.data())
def test_any_bits(data):
    m, n, k = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3)), data.draw(st.integers(0, 70))
    code = st.integers(0, 255) if data.draw(st.booleans()) else st.integers(0, 255).filter(lambda c: c & 0x7F != 0x7F)
    a, b = (codes(data.draw(st.lists(code, min_size=rows * k, max_size=rows * k))).reshape(rows, k) for rows in (m, n))
    arguments = {
        "a_scale": _scales(data, m),
        "b_scale": _scales(data, n),
        "bias": _bias(data, n),
        "out_dtype": data.draw(st.sampled_from(OUT_DTYPES)),
        "accumulate": data.draw(st.sampled_from(ACCUMULATORS)),
    }
    assert_same_bits(golden.scaled_mm(a, b, **arguments), scaled_mm(a, b, **arguments))


# ---- [MM-EXACT] against Python integers ------------------------------------------------------------------------------
INTEGERS = [0 if u & 0x7F == 0x7F else int(formats.decode(formats.E4M3, u) * 512) for u in range(256)]  # times 2**-9


def _integer_dot(a, b):
    """The exact dot product of two rows of codes, rounded to fp32 once, by Python integers only."""
    total = sum(INTEGERS[x] * INTEGERS[y] for x, y in zip(a.tolist(), b.tolist(), strict=True))
    return formats.encode(formats.FP32, formats.dyadic(total, -18))


def _adversaries(k):
    """Rows of codes: extremes, alternating signs, cancellation down to the smallest product, and any codes."""
    rng = np.random.default_rng(k)
    largest, smallest = np.full(k, 0x7E, np.uint8), np.full(k, 0x01, np.uint8)
    alternating = np.where(np.arange(k) % 2, np.uint8(0xFE), np.uint8(0x7E))
    mixed = rng.choice(np.array([0x7E, 0xFE, 0x01, 0x81, 0x07, 0x78], np.uint8), k)
    halves = np.concatenate([largest[: k // 2], largest[k // 2 :] | 0x80])
    halves[-1] = 0x01
    return np.stack([largest, largest | 0x80, smallest, alternating, mixed, halves])


@pytest.mark.parametrize("k", (1, 127, 4096, 171_195, 171_196, 171_197, 342_393), ids=lambda k: f"K={k}")
def test_exact_equals_python_integers(k):
    a = _adversaries(k)
    b = a[[0, 2, 3, 4]] if k > 4096 else a
    expected = np.array([[_integer_dot(x, y) for y in b] for x in a], np.uint32)
    assert np.array_equal(pattern(golden.scaled_mm(a, b, **RAW)), expected)


@pytest.mark.parametrize("k", (500, 171_196, 171_197), ids=lambda k: f"K={k}")
def test_exact_does_not_see_the_order_of_k(k):
    a = _adversaries(k)
    order = np.random.default_rng(5).permutation(k)
    assert_same_bits(golden.scaled_mm(a[:, order], a[:, order], **RAW), golden.scaled_mm(a, a, **RAW))


# ---- kept weights ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("epilogue", ["a_b", "deepgemm"])
def test_kept_weights_and_pieces_of_n_give_the_same_bits(epilogue, monkeypatch):
    rng = np.random.default_rng(8)
    a, b = rng.integers(0, 0x7F, (3, 300), np.uint8), rng.integers(0, 0x7F, (50, 300), np.uint8)
    scales = np.exp2(rng.uniform(-9, 9, (3, 3))).astype(np.float32), rng.uniform(1, 2, (50, 3)).astype(np.float32)
    arguments = {"bias": rng.standard_normal(50).astype(np.float32), "epilogue": epilogue}
    whole = golden.scaled_mm(a, b, *scales, **arguments)
    assert_same_bits(golden.scaled_mm(a, golden.operand(b), *scales, **arguments), whole)
    monkeypatch.setattr(golden, "OUTPUTS", 21)
    assert_same_bits(golden.scaled_mm(a, b, *scales, **arguments), whole)
