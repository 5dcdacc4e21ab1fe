# SPDX-License-Identifier: Apache-2.0
"""torchao on a CPU: the scale and the cast of float8 training, and those of float8 inference."""

from __future__ import annotations

import numpy as np
import pytest

import fp8ref
from bits import assert_same_bits
from outside.tensors import INPUTS, NAMES, array, tensor, torch

pytest.importorskip("torchao")
from torchao.float8.float8_utils import amax_to_scale, to_fp8_saturated
from torchao.quantization.quant_primitives import _choose_scale_float8, _quantize_affine_float8

pytestmark = pytest.mark.outside

E8M0 = getattr(torch, "float8_e8m0fnu", None)


def _train(x: np.ndarray, amax: object, rounding: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes, and the reciprocal of the multiplier: what dequantizes."""
    multiplier = amax_to_scale(amax, torch.float8_e4m3fn, rounding == "pow2")
    codes = to_fp8_saturated(tensor(x).to(torch.float32) * multiplier, torch.float8_e4m3fn)
    return array(codes), array(1.0 / multiplier)


@pytest.mark.parametrize("rule, rounding", [("torchao.train_row", "none"), ("torchao.train_row_pow2", "pow2")])
@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_train_row(make, dtype, rule, rounding):
    x = make(dtype, 24, 300)
    theirs = _train(x, tensor(x).abs().amax(-1, keepdim=True), rounding)
    assert_same_bits(fp8ref.quantize(x, rule), theirs)


@pytest.mark.parametrize("rule, rounding", [("torchao.train_tensor", "none"), ("torchao.train_tensor_pow2", "pow2")])
@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_train_tensor(make, dtype, rule, rounding):
    for x in make(dtype, 24, 300)[:, None]:
        theirs = _train(x, torch.max(torch.abs(tensor(x))), rounding)
        assert_same_bits(fp8ref.quantize(x, rule), theirs)


def _infer(x: np.ndarray, block: list[int], scale_dtype: object) -> tuple[np.ndarray, np.ndarray]:
    scale = _choose_scale_float8(tensor(x), block, scale_dtype=scale_dtype)
    return array(_quantize_affine_float8(tensor(x), scale)), array(scale)


@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_infer_row(make, dtype):
    x = make(dtype, 24, 300)
    assert_same_bits(fp8ref.quantize(x, "torchao.infer_row"), _infer(x, [1, 300], torch.float32))


@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_infer_tensor(make, dtype):
    for x in make(dtype, 24, 300)[:, None]:
        codes, scale = _infer(x, [1, 300], torch.float32)
        assert_same_bits(fp8ref.quantize(x, "torchao.infer_tensor"), (codes, scale.reshape(())))


@pytest.mark.skipif(E8M0 is None, reason="this torch has no float8_e8m0fnu")
@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_infer_row_e8m0(make, dtype):
    x = make(dtype, 24, 300)
    assert_same_bits(fp8ref.quantize(x, "torchao.infer_row_e8m0"), _infer(x, [1, 300], E8M0))


@pytest.mark.skipif(E8M0 is None, reason="this torch has no float8_e8m0fnu")
@pytest.mark.parametrize("dtype", sorted({dtype for _, dtype in INPUTS}, key=str), ids=str)
def test_the_rounded_logarithm_of_every_bf16_amax(dtype):
    """Each bf16 mantissa at sixteen exponents: where the logarithm, rounded to the type of x, is a tie of round()."""
    exponents = 2.0 ** np.arange(-8, 8)[:, None]
    amax = ((1 + np.arange(128) / 128) * exponents).reshape(-1, 1)
    x = (amax * [1, 0.3]).astype(np.float32).astype(dtype)
    assert_same_bits(fp8ref.quantize(x, "torchao.infer_row_e8m0"), _infer(x, [1, 2], E8M0))


@pytest.mark.parametrize("dtype", sorted({dtype for _, dtype in INPUTS}, key=str), ids=str)
def test_floor_of_the_logarithm_of_every_bf16_amax(dtype):
    exponents = 2.0 ** np.arange(-8, 8)[:, None]
    x = ((1 + np.arange(128) / 128) * exponents).astype(np.float32).astype(dtype).reshape(-1, 1)
    assert_same_bits(fp8ref.quantize(x, "torchao.train_row_pow2"), _train(x, tensor(x).abs(), "pow2"))
