# SPDX-License-Identifier: Apache-2.0
"""transformers' finegrained FP8 quantizer of weights, on a CPU."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import fp8ref
from bits import assert_same_bits
from outside.tensors import INPUTS, NAMES, array, tensor

pytest.importorskip("transformers")
finegrained = pytest.importorskip("transformers.integrations.finegrained_fp8")
if not hasattr(finegrained, "Fp8Quantize"):
    pytest.skip("this version of transformers has no Fp8Quantize", allow_module_level=True)

pytestmark = pytest.mark.outside


@pytest.mark.parametrize("rule, scale_fmt", [("block_128x128", "float"), ("block_128x128_ue8m0", "ue8m0")])
@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_blocks(make, dtype, rule, scale_fmt):
    """Blocks of ordinary numbers, of zeros, with NaN, with infinities, of one tiny number."""
    x = np.concatenate([make(dtype, 9, 384)[[row] * 128] for row in (2, 3, 4, 5, 6, 8)])
    x[:128, :128], x[128:256, 128:256] = 0, 0
    x[130, 130] = np.float32(3e-6).astype(dtype)
    config = SimpleNamespace(weight_block_size=(128, 128), scale_fmt=scale_fmt)
    quantizer = finegrained.Fp8Quantize(SimpleNamespace(quantization_config=config))
    done = quantizer.convert({"layer.weight": tensor(x)})
    theirs = array(done["layer.weight"]), array(done["layer.weight_scale_inv"].float())
    assert_same_bits(fp8ref.quantize(x, f"transformers.{rule}"), theirs)
