# SPDX-License-Identifier: Apache-2.0
"""compressed-tensors in eager mode on a CPU: the scales and codes of every strategy, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fp8ref
from bits import assert_same_bits
from outside.tensors import INPUTS, NAMES, array, tensor, torch

pytest.importorskip("compressed_tensors")
from compressed_tensors.quantization import QuantizationArgs, dequantize, quantize
from compressed_tensors.quantization.utils import calculate_qparams, helpers

pytestmark = pytest.mark.outside


def _args(strategy: str, **more: Any) -> QuantizationArgs:
    return QuantizationArgs(num_bits=8, type="float", strategy=strategy, symmetric=True, **more)


def _both(t: Any, args: QuantizationArgs, low: Any, high: Any) -> tuple[np.ndarray, np.ndarray]:
    scale, zero_point = calculate_qparams(low, high, args)
    codes = quantize(t, scale, zero_point, args, dtype=torch.float8_e4m3fn)
    return array(codes), array(scale.float())


@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_channel(make, dtype):
    x = make(dtype, 24, 300)
    t = tensor(x)
    theirs = _both(t, _args("channel"), t.amin(-1, keepdim=True), t.amax(-1, keepdim=True))
    assert_same_bits(fp8ref.quantize(x, "compressed_tensors.channel"), theirs)


@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_tensor(make, dtype):
    for x in make(dtype, 24, 300)[:, None]:
        t = tensor(x)
        codes, scale = _both(t, _args("tensor"), *torch.aminmax(t))
        assert_same_bits(fp8ref.quantize(x, "compressed_tensors.tensor"), (codes, scale.reshape(())))


@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_token(make, dtype):
    """Dynamic activations (batch, tokens, K) have a scale for each token."""
    x = make(dtype, 24, 300)
    t, args = tensor(x)[None], _args("token", dynamic=True)
    scale, zero_point = helpers.compute_dynamic_scales_and_zp(t, args, torch.nn.Identity())
    codes = quantize(t, scale, zero_point, args, dtype=torch.float8_e4m3fn)
    theirs = array(codes[0]), array(scale[0].float())
    assert_same_bits(fp8ref.quantize(x, "compressed_tensors.token"), theirs)


@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_token_of_two_dimensions_is_one_tensor(make, dtype):
    """Without the batch nothing is left to reduce, and the library takes one scale for everything."""
    x = make(dtype, 24, 300)[2:5]
    args = _args("token", dynamic=True)
    scale, zero_point = helpers.compute_dynamic_scales_and_zp(tensor(x), args, torch.nn.Identity())
    codes = quantize(tensor(x), scale, zero_point, args, dtype=torch.float8_e4m3fn)
    assert_same_bits(fp8ref.quantize(x, "compressed_tensors.tensor"), (array(codes), array(scale.float()).reshape(())))


@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_group(make, dtype):
    x, args = make(dtype, 24, 384), _args("group", group_size=128, dynamic=True)
    scale, zero_point = helpers.compute_dynamic_scales_and_zp(tensor(x), args, torch.nn.Identity())
    codes = quantize(tensor(x), scale, zero_point, args, dtype=torch.float8_e4m3fn)
    theirs = array(codes), array(scale.float())
    assert_same_bits(fp8ref.quantize(x, "compressed_tensors.group_128"), theirs)


@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_block(make, dtype):
    """Rows and columns that are no multiples of 128; the library pads them with zeros."""
    x = make(dtype, 140, 300)
    padded = np.zeros((256, 384), dtype)
    padded[:140, :300] = x
    blocks = tensor(padded).reshape(2, 128, 3, 128).transpose(1, 2)
    low, high = blocks.amin((-1, -2)), blocks.amax((-1, -2))
    theirs = _both(tensor(x), _args("block", block_structure=[128, 128]), low, high)
    assert_same_bits(fp8ref.quantize(x, "compressed_tensors.block_128x128"), theirs)


@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_without_a_zero_point_minus_zero_stays(make, dtype):
    """The one bit that the zero point changes: codes of quotients that are -0."""
    x = make(dtype, 24, 300)
    codes, scale = fp8ref.quantize(x, "compressed_tensors.channel")
    bare = quantize(tensor(x), tensor(scale.astype(dtype)), None, _args("channel"), dtype=torch.float8_e4m3fn)
    other = array(bare).view(np.uint8) != codes.view(np.uint8)
    differing = array(bare)[other].view(np.uint8), codes[other].view(np.uint8)
    negative_zero = (differing[0] == 0x80) & (differing[1] == 0x00)
    nan = ((differing[0] & 0x7F) == 0x7F) & ((differing[1] & 0x7F) == 0x7F)
    assert (negative_zero | nan).all()
    assert negative_zero.any()


def test_dequantize_to_fp32():
    x = INPUTS[2][0](np.dtype(np.float32), 24, 300)
    codes, scale = fp8ref.quantize(x, "compressed_tensors.channel")
    theirs = dequantize(tensor(codes.view(np.int8)).view(torch.float8_e4m3fn), tensor(scale), args=_args("channel"))
    assert_same_bits(fp8ref.dequantize(codes, scale, "float32"), array(theirs))
