# SPDX-License-Identifier: Apache-2.0
"""The error bounds: never exceeded, reached within a small factor, and able to fail. spec/compare.md"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits import assert_same_bits, from_bits
from compare.epilogues import block_epilogue, epilogue, output, rn
from compare.search import climb, ratios
from compare.units import BF16, E4M3, E5M2, FP8, FP16, WIDE, accumulate
from fp8ref import compare
from fp8ref.compare import _chain, _units
from fp8ref.errors import OpError
from fp8ref.golden import _tensor_core
from fp8ref.golden.scaled_mm import ACCUMULATORS, scaled_mm

EXAMPLES = [(dtype, name) for dtype, names in ((E4M3, FP8), (E5M2, FP8), (BF16, WIDE), (FP16, WIDE)) for name in names]
WITHIN = 4  # the contract: an a-priori bound is reached within this factor [BOUND-TIGHT]


def fractions(x: np.ndarray) -> list[Fraction]:
    return [Fraction(value) for value in np.asarray(x, np.float64).ravel().tolist()]


def dot(a: np.ndarray, b: np.ndarray) -> Fraction:
    return sum((x * y for x, y in zip(fractions(a), fractions(b), strict=True)), Fraction(0))


def machine(name: str, a: np.ndarray, b: np.ndarray, split_k: int = 1) -> Fraction:
    """The accumulator of one pair of rows."""
    if name == "exact":
        return rn(dot(a, b))
    return Fraction(float(accumulate(name, a[None], b[None], split_k)[0]))


@pytest.mark.parametrize("dtype, name", EXAMPLES, ids=str)
def test_reached_by_inputs_found_by_search(dtype, name):
    found = [climb(name, dtype, k, seed=1).ratio for k in (24, 300)]
    assert min(found) * WITHIN >= 1, found


@pytest.mark.slow
@pytest.mark.parametrize("dtype, name", EXAMPLES, ids=str)
def test_reached_at_every_length(dtype, name):
    for k in (8, 16, 33, 128, 1024, 4096):
        found = climb(name, dtype, k, seed=k, generations=60 if k <= 128 else 6)
        assert found.ratio * WITHIN >= 1 or k < 16, (k, found.ratio)


@pytest.mark.parametrize("split_k", [2, 3, 7])
def test_reached_with_splits(split_k):
    assert climb("sm90_wgmma", E4M3, 600, 1, split_k=split_k).ratio * WITHIN >= 1
    assert climb("sm90_mma_sync", E4M3, 600, 1, split_k=split_k).ratio * WITHIN >= 1


def _signed(dtype: np.dtype, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Bits of all finite numbers of a format; of bfloat16 those whose sums stay far from overflow."""
    x = from_bits(rng.integers(0, 1 << 8 * dtype.itemsize, shape), dtype)
    with np.errstate(invalid="ignore"):
        values = x.astype(np.float64)
    usual = np.isfinite(values) & ((values == 0) | (np.abs(np.frexp(values)[1]) < 40))
    return np.where(usual, x, np.zeros((), dtype))


@pytest.mark.parametrize("dtype, name", EXAMPLES, ids=str)
@pytest.mark.parametrize("k", [5, 160])
def test_never_exceeded_by_random_bits(dtype, name, k):
    """Also where an operand meets its own negative, so that a sum cancels."""
    rng = np.random.default_rng(k)
    a, b = (_signed(dtype, rng, (12, k)) for _ in range(2))
    a[6:, k // 2 :], b[6:, k // 2 :] = -a[6:, : k - k // 2], b[6:, : k - k // 2]
    limits = compare.bound(a, b, accumulate=name).diagonal()
    for x, y, limit in zip(a, b, limits.tolist(), strict=True):
        assert abs(machine(name, x, y) - dot(x, y)) <= Fraction(limit)


@pytest.mark.parametrize("name", WIDE)
def test_never_exceeded_near_underflow(name):
    """Products of bfloat16 numbers below what a unit aligns to, and sums that are subnormal."""
    rng = np.random.default_rng(4)
    for low, high in ((-90, -60), (-80, -70), (-66, -62)):
        a, b = (np.ldexp(1 + rng.random((8, 40)), rng.integers(low, high, (8, 40))) for _ in range(2))
        a, b = (np.float32(x * rng.choice([-1, 1], x.shape)).astype(BF16) for x in (a, b))
        for x, y, limit in zip(a, b, compare.bound(a, b, accumulate=name).diagonal().tolist(), strict=True):
            assert abs(machine(name, x, y) - dot(x, y)) <= Fraction(limit)


SCALES = st.just(1.0) | st.sampled_from([0.0, 2.0**-149, 2.0**5, 2.0**-30]) | st.floats(2.0**-20, 2.0**4, width=32)


def _row(data: st.DataObject, dtype: np.dtype, k: int) -> np.ndarray:
    bits = data.draw(st.lists(st.integers(0, 255), min_size=k, max_size=k))
    x = from_bits(bits, dtype)
    return np.where(np.isfinite(x), x, np.ones((), dtype))


@given(st.data())
def test_never_exceeded_through_the_epilogue(data):
    dtype, k = data.draw(st.sampled_from([E4M3, E5M2])), data.draw(st.integers(0, 300))
    a, b = _row(data, dtype, k), _row(data, dtype, k)
    scales = data.draw(SCALES), data.draw(SCALES)
    bias = data.draw(st.none() | st.floats(-(2.0**20), 2.0**20, width=32))
    out_dtype = data.draw(st.sampled_from(["float32", "bfloat16", "float16", "float8_e4m3fn"]))
    name, order = data.draw(st.sampled_from(sorted(FP8))), data.draw(st.sampled_from(["a_b", "b_a", "ab"]))
    split_k = data.draw(st.integers(1, 4))
    out_scale = data.draw(st.sampled_from([1.0, 0.25])) if out_dtype == "float8_e4m3fn" else None
    options = {"out_scale": out_scale, "overflow": None if out_scale is None else "saturate"}
    vector = None if bias is None else np.float32([bias])
    limit = compare.bound(a[None], b[None], *scales, vector, out_dtype, name, order, split_k, **options)[0, 0]
    if np.isfinite(limit):
        factors = [Fraction(x) for x in scales]
        offset = None if bias is None else Fraction(bias)
        y = epilogue(order, machine(name, a, b, split_k), *factors, offset)
        exact = factors[0] * factors[1] * dot(a, b) + (offset or 0)
        if out_scale is not None:
            exact = min(max(exact * Fraction(out_scale), Fraction(-448)), Fraction(448))
        wide = None if out_scale is None else Fraction(out_scale)
        assert abs(output(y, out_dtype, wide) - exact) <= Fraction(float(limit))
    else:
        assert out_dtype == "float16"


@given(st.data())
def test_never_exceeded_with_block_scales(data):
    k = data.draw(st.sampled_from([1, 128, 129, 300]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    a, b = (_signed(E4M3, rng, (k,)) for _ in range(2))
    spans = [slice(i, i + 128) for i in range(0, k, 128)]
    a_scale, b_scale = ([data.draw(SCALES) for _ in spans] for _ in range(2))
    bias = data.draw(st.none() | st.floats(-(2.0**20), 2.0**20, width=32))
    name, order = (
        data.draw(st.sampled_from(sorted(FP8))),
        data.draw(st.sampled_from(["deepgemm", "triton", "triton_ba"])),
    )
    if name == "exact":
        order = data.draw(st.sampled_from([order, "a_b"]))
    arguments = {"bias": None if bias is None else np.float32([bias]), "accumulate": name, "epilogue": order}
    limit = compare.bound(a[None], b[None], np.array([a_scale]), np.array([b_scale]), **arguments)[0, 0]
    dots = [dot(a[span], b[span]) for span in spans]
    factors, offset = [[Fraction(x) for x in s] for s in (a_scale, b_scale)], None if bias is None else Fraction(bias)
    exact = sum((x * y * d for x, y, d in zip(*factors, dots, strict=True)), offset or Fraction(0))
    if order == "a_b":
        result = rn(exact)
    else:
        result = block_epilogue(order, [machine(name, a[span], b[span]) for span in spans], *factors, offset)
    assert abs(result - exact) <= Fraction(float(limit))


PAGE = [  # the examples of the page: operands, result, bound
    ([64, 64, 1.5], [64, 64, 1], 8193, 0.5),
    ([64, -64, 0.25], [64, 64, 1], 0, 0.25),
    ([1] * 40, [1] * 40, 40, 0),
    ([2.0**-4] * 32768, [2.0**-4] * 32768, 64, 69.29),
]


@pytest.mark.parametrize("left, right, result, limit", PAGE, ids=range(4))
def test_examples_of_the_page(left, right, result, limit):
    a, b = np.float32([left]).astype(E4M3), np.float32([right]).astype(E4M3)
    assert scaled_mm(a, b, 1.0, 1.0, out_dtype="float32", accumulate="sm90_wgmma")[0, 0] == result
    assert round(float(compare.bound(a, b, accumulate="sm90_wgmma")[0, 0]), 2) == limit
    assert abs(compare.exact_values(a, b)[0, 0] - result) in (limit, 64)


@pytest.mark.parametrize("name", ["sm89_mma", "sm90_wgmma", "sm100_tcgen05"])
def test_below_the_closed_form(name):
    """[BOUND-CLOSED]"""
    rng, unit = np.random.default_rng(9), _units.UNITS["fp8"][name]
    a, b = (_signed(E4M3, rng, (6, 700)) for _ in range(2))
    absolute = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64)).T
    largest = np.maximum(absolute, 2.0**16)  # of E4M3 products
    steps = -(-700 // unit.block)
    closed = steps * largest * ((unit.block + 1) * 2.0**-unit.fraction_bits + 2.0 ** (1 - unit.result_bits))
    assert (compare.bound(a, b, accumulate=name) <= closed).all()


@pytest.mark.parametrize("name", ACCUMULATORS)
@pytest.mark.parametrize("signs", ["positive", "mixed"])
def test_never_exceeded_by_golden(name, signs):
    """The golden model itself at K = 4096: where errors have one sign, sums of one sign come close to the bound."""
    rng = np.random.default_rng(7)
    a, b = (rng.integers(0, 127, (rows, 4096)).astype(np.uint8) for rows in (8, 40))
    if signs == "mixed":
        a |= rng.integers(0, 2, a.shape, np.uint8) << 7
    result = scaled_mm(a, b, 1.0, 1.0, out_dtype="float32", accumulate=name).astype(np.float64)
    error, limit = np.abs(result - compare.exact_values(a, b)), compare.bound(a, b, accumulate=name)
    assert (error <= limit).all()
    if signs == "positive" and name != "sm90_mma_sync":  # which adds its parts to nearest
        assert (error * 2 >= limit).any()


@pytest.mark.parametrize("epilogue", ["deepgemm", "triton", "triton_ba", "a_b"])
@pytest.mark.parametrize("out_dtype", ["float32", "bfloat16", "float16", "float8_e4m3fn"])
def test_never_exceeded_by_golden_with_block_scales(epilogue, out_dtype):
    """Scales are powers of two, so that the exact values are exact in float64."""
    rng = np.random.default_rng(8)
    a, b = (_signed(E4M3, rng, (rows, 300)) for rows in (5, 130))
    scales = [np.ldexp(np.float32(1), rng.integers(-9, -4, shape)) for shape in ((5, 3), (2, 3))]
    bias = rng.integers(-64, 64, 130).astype(np.float32)
    name = "exact" if epilogue == "a_b" else "sm90_wgmma"
    output = {"out_scale": np.float32(0.25), "overflow": "saturate"} if out_dtype == "float8_e4m3fn" else {}
    arguments = (a, b, *scales, bias, out_dtype, name, epilogue)
    error = scaled_mm(*arguments, **output).astype(np.float64) - compare.exact_values(*arguments[:5], **output)
    limit = compare.bound(*arguments, **output)
    assert (np.abs(error) <= limit).all() and (np.abs(error) * WITHIN >= limit).any()


@pytest.mark.parametrize("name", compare.ACCUMULATORS)
def test_special_values(name):
    """No bound is claimed where something is not finite or may overflow. [BOUND-SPECIAL]"""
    dtype = BF16 if name == "sm80_mma" else E4M3
    a, b = np.ones((3, 40), dtype), np.ones((2, 40), dtype)
    a[1, 3], scale = np.nan, np.float32([[1], [np.inf]])
    inf = np.inf
    assert (compare.bound(a, b, accumulate=name) == [[0, 0], [inf, inf], [0, 0]]).all()
    assert (compare.bound(a, b, 1.0, scale, accumulate=name)[0] == inf).tolist() == [False, True]
    assert np.isinf(compare.bound(a, b, bias=np.float32([np.nan, 1]), accumulate=name)[0]).tolist() == [True, False]
    assert np.isinf(compare.bound(a, b, 2.0**100, 2.0**27, accumulate=name)).all()
    if name != "float32":  # whose scales may be anywhere, so that it claims nothing of extreme ones
        assert not np.isinf(compare.bound(a[:1], b, 2.0**100, 2.0**20, accumulate=name)).any()
    assert np.isinf(compare.bound(a[:1], b, 2.0**14, out_dtype="float16", accumulate=name)).all()
    e4m3 = [
        compare.bound(a[:1], b, 12.0, 1.0, None, "float8_e4m3fn", name, out_scale=1.0, overflow=o)[0, 0]
        for o in ("nan", "saturate")
    ]
    assert np.isinf(e4m3[0]) and e4m3[1] <= 16 + 1
    assert (compare.bound(a[:1, :0], b[:, :0], accumulate=name) == 0).all()


REFUSED = [
    {"accumulate": "sm80_mma"},
    {"accumulate": "exakt"},
    {"epilogue": "ba"},
    {"out_dtype": "float64"},
    {"out_dtype": "float8_e4m3fn"},
    {"out_scale": 1.0},
    {"split_k": 0},
    {"split_k": 2, "epilogue": "triton"},
    {"a_scale": -1.0},
    {"a_scale": np.ones((2, 2), np.float32)},
    {"a_scale": np.ones((3, 2), np.float32), "accumulate": "sm90_wgmma"},
    {"bias": np.zeros(3, np.float32)},
    {"b": np.zeros((2, 7), np.uint8)},
    {"b": np.zeros((2, 200), BF16)},
    {"a": np.zeros((3, 200), np.float32)},
]


@pytest.mark.parametrize("changed", REFUSED, ids=str)
def test_arguments_without_meaning(changed):
    arguments = {"a": np.zeros((3, 200), np.uint8), "b": np.zeros((2, 200), np.uint8), **changed}
    with pytest.raises(OpError, match="compare: "):
        compare.bound(**arguments)


def test_sums_beyond_float64():
    """E5M2 sums that float64 cannot hold: the bound allows for its own sums. [BOUND-FLOAT64]"""
    a = np.array([[2.0**15, 2.0**-16, -(2.0**15)]]).astype(E5M2)
    b = np.array([[2.0**15, 2.0**-16, 2.0**15]]).astype(E5M2)
    assert dot(a[0], b[0]) == Fraction(2) ** -32
    assert abs(rn(dot(a[0], b[0])) - dot(a[0], b[0])) <= compare.bound(a, b)[0, 0] < 2.0**-20
    assert compare.bound(a, b, accumulate="sm90_wgmma")[0, 0] >= 2.0**-32


@pytest.mark.parametrize("name", [name for name in FP8 if name != "exact"])
@pytest.mark.parametrize("split_k", [1, 3])
def test_the_units_of_these_tests_are_those_of_golden(name, split_k):
    """So what is shown for one is shown for the other, though neither code nor parameters are shared."""
    rng = np.random.default_rng(6)
    for dtype in (E4M3, E5M2):
        a, b = (_signed(dtype, rng, (4, 500)) for _ in range(2))
        own = accumulate(name, np.repeat(a, 4, axis=0), np.tile(b, (4, 1)), split_k).reshape(4, 4)
        assert_same_bits(_tensor_core.accumulate(name, a, b, split_k), own.astype(np.float32) + np.float32(0))


ONE_MORE = [(name, "result_bits") for name in FP8 if name != "exact"]
ONE_MORE += [(name, "fraction_bits") for name in ("sm89_mma", "sm90_wgmma", "sm90_wgmma_promoted", "sm100_tcgen05")]


@pytest.mark.parametrize("name, field", ONE_MORE)
def test_a_bound_too_small_is_noticed(name, field, monkeypatch):
    """Of a unit with one more bit: about half as large where that bit decides."""
    unit = _units.UNITS["fp8"][name]
    monkeypatch.setitem(_units.UNITS["fp8"], name, replace(unit, **{field: getattr(unit, field) + 1}))
    with pytest.raises(AssertionError, match=name):
        for k in (3, 24, 300):
            climb(name, E4M3, k, seed=1)


def test_a_rounding_forgotten_is_noticed(monkeypatch):
    for name in ("exact", "sm90_mma_sync", "sm90_wgmma_promoted"):
        climb(name, E4M3, 300, seed=1)
    monkeypatch.setattr(_chain, "half_unit", lambda x, *_: np.zeros(np.shape(x)))
    with pytest.raises(AssertionError, match="exact"):
        climb("exact", E4M3, 300, seed=1)


def _without_tail(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return accumulate("sm90_wgmma", a[:, :-32], b[:, :-32])


def _one_scale_off(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return accumulate("sm90_wgmma", a, b) * 1.03


def _bfloat16(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return accumulate("sm90_wgmma", a, b).astype(np.float32).astype(BF16).astype(np.float64) * (1 + 2.0**-8)


@pytest.mark.parametrize("wrong", [_without_tail, _one_scale_off, _bfloat16])
def test_a_wrong_result_lies_outside(wrong):
    """At K = 128 the bound is 0.1 % of a sum of one sign; at K = 4096 see test_contract.py."""
    rng = np.random.default_rng(3)
    a, b = (from_bits(rng.integers(0x20, 0x60, (16, 128)), E4M3) for _ in range(2))
    exact = (a.astype(np.float64) * b.astype(np.float64)).sum(axis=1)
    assert ratios("sm90_wgmma", a, b).max() <= 1
    limit = compare.bound(a, b, accumulate="sm90_wgmma").diagonal()
    assert (np.abs(wrong(a, b) - exact) > limit).any()
