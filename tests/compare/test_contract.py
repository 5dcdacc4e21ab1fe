# SPDX-License-Identifier: Apache-2.0
"""The statistical contract catches what lies inside the worst-case bound, and lets honest results pass."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import fp8ref
from bits import E4M3
from fp8ref import compare
from fp8ref.errors import OpError
from fp8ref.golden.scaled_mm import ACCUMULATORS, scaled_mm

M, N, K = 70, 1100, 4096


@pytest.fixture(scope="module")
def problem():
    """A product of normal data as an FP8 layer sees it: rows scaled to 448."""
    rng = np.random.default_rng(11)
    a, a_scale = fp8ref.quantize(rng.standard_normal((M, K), np.float32), rule="vllm.per_token")
    b, b_scale = fp8ref.quantize(rng.standard_normal((N, K), np.float32), rule="vllm.per_token")
    return a, b, a_scale, b_scale


@pytest.fixture(scope="module")
def results(problem):
    """What the named accumulators give, and the exact values."""
    made = {name: scaled_mm(*problem, out_dtype="float32", accumulate=name) for name in ACCUMULATORS}
    return {**made, "real": compare.exact_values(*problem)}


def judge(results, actual, name="sm90_wgmma"):
    return compare.statistics(actual, results[name].astype(actual.dtype), results["real"])


def _everywhere(y, problem):
    return y * np.float32(1.03)


def _one_tile(y, problem):
    y = y.copy()
    y[32:64, 512:544] *= np.float32(1.03)
    return y


def _one_row(y, problem):
    y = y.copy()
    y[41] *= np.float32(1.03)
    return y


def _one_column(y, problem):
    y = y.copy()
    y[:, 700] *= np.float32(1.2)
    return y


def _zeroed_tile(y, problem):
    y = y.copy()
    y[0:16, 64:80] = 0
    return y


def _without_tail(y, problem):
    a, b, *scales = problem
    return scaled_mm(a[:, :-32], b[:, :-32], *scales, out_dtype="float32", accumulate="sm90_wgmma")


def _one_bit(y, problem):
    y = y.copy()
    y[5, 5] *= 2
    y[6, 6] = np.nan
    return y


DEFECTS = [_everywhere, _one_tile, _one_row, _one_column, _zeroed_tile, _without_tail, _one_bit]


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_defects_are_caught(problem, results, defect):
    found = judge(results, defect(results["sm90_wgmma"], problem))
    assert not found.held
    assert found.report().startswith("broken in ")


@pytest.mark.parametrize("defect", [_everywhere, _one_tile, _one_row], ids=lambda defect: defect.__name__)
def test_the_bound_alone_would_not_do(problem, results, defect):
    """An error of 3 % is inside of the worst-case bound in most outputs."""
    wrong = defect(results["sm90_wgmma"], problem).astype(np.float64)
    changed = wrong != results["sm90_wgmma"]
    limit = compare.bound(*problem, accumulate="sm90_wgmma")
    inside = np.abs(wrong - results["real"]) <= limit
    assert inside[changed].mean() > 0.5
    assert not judge(results, wrong.astype(np.float32)).held


def test_where_a_defect_is(problem, results):
    broken = judge(results, _one_tile(results["sm90_wgmma"], problem)).broken
    assert ((32, 70), (512, 544)) in [(tile.rows, tile.columns) for tile in broken]
    assert all(tile.rows[1] > 32 and tile.columns[1] > 512 and tile.columns[0] < 544 for tile in broken)
    worst = judge(results, _one_row(results["sm90_wgmma"], problem)).broken[0]
    assert (worst.shape, worst.rows, worst.columns) == ("rows", (41, 42), (0, 1100))


@pytest.mark.parametrize("backend", ["golden", "cpu"])
@pytest.mark.parametrize("name", ACCUMULATORS)
def test_backends_hold(problem, backend, name):
    rows = slice(0, 33)
    a, b, a_scale, b_scale = problem
    inputs = a[rows], b[:40], a_scale[rows], b_scale[:40]
    for out_dtype in ("float32", "bfloat16"):
        y = fp8ref.backend(backend).scaled_mm(*inputs, out_dtype=out_dtype, accumulate=name)
        found = compare.contract(y, *inputs, accumulate=name)
        assert found.held, found.report()


def test_other_honest_results_hold(problem, results):
    """A better accumulator under this name; the same in another order of scales; float32 sums, rounded to bfloat16."""
    assert judge(results, results["exact"]).held
    a, b, a_scale, b_scale = problem
    turned = scaled_mm(b, a, b_scale, a_scale, out_dtype="float32", accumulate="sm90_wgmma").T
    assert (turned != results["sm90_wgmma"]).any() and judge(results, turned).held
    sums = (a.astype(np.float32) * a_scale) @ (b.astype(np.float32) * b_scale).T
    narrow = sums.astype(ml_dtypes.bfloat16)
    assert (narrow != results["exact"].astype(narrow.dtype)).any() and judge(results, narrow, "exact").held


def test_a_worse_accumulator_is_not_exact(results):
    assert not judge(results, results["sm90_wgmma"], "exact").held


def test_exact_inputs_leave_the_output_rounding():
    """Small integers: the accumulator makes no error, so half a unit of the output stays allowed and no more."""
    rng = np.random.default_rng(5)
    a, b = (rng.integers(1, 4, (32, 64)).astype(np.float32).astype(E4M3) for _ in range(2))
    y = scaled_mm(a, b, 1.0, 1.0, out_dtype="float32", accumulate="sm90_wgmma")
    found = compare.contract(y, a, b, accumulate="sm90_wgmma")
    assert found.held and found.tiles[0].reference_rms == 0
    near = np.nextafter(y, np.float32(np.inf))
    near[::2] = np.nextafter(y[::2], np.float32(0))
    assert compare.contract(near, a, b, accumulate="sm90_wgmma").held
    assert not compare.contract(y + np.float32(2.0**-10), a, b, accumulate="sm90_wgmma").held


def test_a_bias_smaller_than_the_noise_is_caught(results):
    """A shift of all outputs by one rms error: the rms allows it, the mean does not."""
    exact = results["exact"]
    own = judge(results, exact, "exact").tiles[0]
    found = judge(results, exact + np.float32(own.reference_rms), "exact")
    assert not found.held and all(tile.rms <= tile.rms_limit for tile in found.tiles if tile.shape == "squares")


def test_special_values():
    """NaN and infinities are errors unless the reference has the same. [BOUND-STATISTICS]"""
    exact = np.ones((32, 32))
    reference = exact.astype(np.float32)
    for value in (np.nan, np.inf, -np.inf):
        wrong = reference.copy()
        wrong[3, 3] = value
        assert not compare.statistics(wrong, reference, exact).held
        assert not compare.statistics(reference, wrong, exact).held
        assert compare.statistics(wrong, wrong, exact).held
    assert not compare.statistics(np.where(reference == 1, np.float32(np.inf), 0), -np.inf * reference, exact).held


@pytest.mark.parametrize("shape", [(1, 1024), (1024, 1), (2, 600), (31, 34), (32, 32), (100, 1500), (3000, 5)])
def test_tiles_cover_everything_and_are_large_enough(shape):
    x = np.ones(shape, np.float32)
    tiles = compare.statistics(x, x, np.ones(shape)).tiles
    for name in ("squares", "rows", "columns"):
        seen = np.zeros(shape, int)
        for tile in tiles:
            if tile.shape == name:
                seen[slice(*tile.rows), slice(*tile.columns)] += 1
                assert (tile.rows[1] - tile.rows[0]) * (tile.columns[1] - tile.columns[0]) >= 1024
        assert (seen == 1).all()


def test_arguments_without_meaning():
    x = np.ones((32, 32), np.float32)
    for wrong in (x[:31], x.astype(np.float64), x.astype(np.float16), x.reshape(-1)):
        with pytest.raises(OpError, match=r"compare\.contract: "):
            compare.statistics(wrong, x, x)
    with pytest.raises(OpError, match="1024"):
        compare.statistics(x[:31], x[:31], x[:31])
