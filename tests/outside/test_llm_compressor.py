# SPDX-License-Identifier: Apache-2.0
"""llm-compressor's observer "mse" on a CPU: the same scale for every channel, and the codes that follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fp8ref
from bits import assert_same_bits
from outside.tensors import BF16, array, ordinary, special, tensor, torch

pytest.importorskip("llmcompressor")
from compressed_tensors.quantization import QuantizationArgs, quantize
from compressed_tensors.quantization.utils import calculate_qparams
from llmcompressor.observers import mse_quant

pytestmark = pytest.mark.outside

FP16 = np.dtype(np.float16)
DEFAULTS = {"maxshrink": 0.20, "patience": 5, "grid": 100.0, "norm": 2.4, "triton_error_buffer": 0.3}


def _weights(dtype: np.dtype, rows: int, columns: int) -> np.ndarray:
    """Bell-shaped, as weights are; channels of several sizes and with outliers of several sizes."""
    rng = np.random.default_rng(11)
    x = rng.standard_normal((rows, columns)) * 2.0 ** rng.uniform(-9, -3, (rows, 1))
    x[:, 0] *= rng.uniform(1, 8, rows)
    return x.astype(np.float32).astype(dtype)


def _theirs(x: np.ndarray, strategy: str) -> tuple[np.ndarray, np.ndarray]:
    t: Any = tensor(x)
    args = QuantizationArgs(num_bits=8, type="float", strategy=strategy, symmetric=True, observer="mse")
    token = args.model_copy(update={"strategy": "token"})
    observed = t[None] if strategy == "channel" else t.reshape(1, 1, -1)
    scale, zero_point = calculate_qparams(*mse_quant._grid_search_mse(observed, args, token, **DEFAULTS), args)
    if strategy == "channel":
        scale, zero_point = scale.reshape(-1, 1), zero_point.reshape(-1, 1)
    codes = quantize(t, scale, zero_point, args, dtype=torch.float8_e4m3fn)
    return array(codes), array(scale.float())


@pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
@pytest.mark.parametrize("shape", [(64, 16), (48, 576), (24, 1536)], ids=str)
@pytest.mark.parametrize("make", [_weights, ordinary, special])
def test_channel(make, shape, dtype):
    x = make(dtype, *shape)
    assert_same_bits(fp8ref.quantize(x, "llm_compressor.mse_channel"), _theirs(x, "channel"))


@pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
@pytest.mark.parametrize("make", [_weights, ordinary, special])
def test_tensor(make, dtype):
    for x in make(dtype, 24, 300)[:, None]:
        codes, scale = _theirs(x, "tensor")
        assert_same_bits(fp8ref.quantize(x, "llm_compressor.mse_tensor"), (codes, scale.reshape(())))


def test_the_search_has_its_usual_settings():
    """Of this version of the library; others would be another rule."""
    from llmcompressor.observers import Observer

    args = QuantizationArgs(num_bits=8, type="float", strategy="channel", symmetric=True, observer="memoryless_mse")
    observer = Observer.load_from_registry("memoryless_mse", base_name="weight", args=args)
    settings = ("maxshrink", "patience", "grid", "norm")
    assert [getattr(observer, name) for name in settings] == [DEFAULTS[name] for name in settings]
