# SPDX-License-Identifier: Apache-2.0
"""Rules whose source is a few torch expressions, against torch: what those mean, roundings and NaN included.

The expressions are those of the sources that the rules name, on a CPU. Where a cast does not clamp, a version of torch
that does not saturate is helped by a clamp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fp8ref
from bits import assert_same_bits
from outside.tensors import INPUTS, NAMES, array, tensor, torch

pytestmark = pytest.mark.outside

Pair = tuple[Any, Any]


def _cast(t: Any) -> Any:
    return t.clamp(min=-448.0, max=448.0).to(torch.float8_e4m3fn)


def deepgemm(t: Any) -> Pair:
    scale = t.abs().float().amax(-1, keepdim=True).clamp(1e-4) / 448.0
    return _cast(t * (1.0 / scale)), scale


def fbgemm(t: Any, upper: float | None = None) -> Pair:
    amax = torch.clamp(t.abs().amax(-1, keepdim=True), min=1e-12, max=upper)
    multiplier = 448.0 / amax.to(torch.float32)
    multiplier[multiplier == float("inf")] = 1.0
    return _cast(t * multiplier), 1 / multiplier


def sglang(t: Any) -> Pair:
    low, high = t.aminmax()
    multiplier = 448.0 / torch.maximum(low.abs(), high.abs()).float().clamp(min=1e-12)
    return _cast(t.float() * multiplier), multiplier.float().reciprocal()


def autofp8(t: Any) -> Pair:
    low, high = t.aminmax()
    multiplier = 448.0 / torch.maximum(low.abs(), high.abs()).clamp(min=1e-12)
    return _cast(t * multiplier), multiplier.float().reciprocal()


def _by_rows(x: np.ndarray, expression: Callable[..., Pair], **more: Any) -> tuple[np.ndarray, np.ndarray]:
    codes, scale = expression(tensor(x), **more)
    return array(codes), array(scale)


@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_deepgemm_on_a_cpu(make, dtype):
    x = make(dtype, 24, 300)
    parts = [_by_rows(x[:, start : start + 128], deepgemm) for start in (0, 128, 256)]
    theirs = tuple(np.concatenate(halves, axis=1) for halves in zip(*parts, strict=True))
    assert_same_bits(fp8ref.quantize(x, "deepgemm.group_128@cpu"), theirs)


@pytest.mark.parametrize("upper", [None, 1200.0, 0.7, 3.1])
@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_fbgemm_in_torch(make, dtype, upper):
    """The floor and the bound are numbers of the type of x."""
    x = make(dtype, 24, 300)
    bound = None if upper is None else np.float32(upper)
    assert_same_bits(fp8ref.quantize(x, "fbgemm.per_row_torch", None, bound), _by_rows(x, fbgemm, upper=upper))


@pytest.mark.parametrize("rule, expression", [("sglang.per_tensor_torch", sglang), ("autofp8.per_tensor", autofp8)])
@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_one_scale(make, dtype, rule, expression):
    for x in make(dtype, 24, 300)[:, None]:
        assert_same_bits(fp8ref.quantize(x, rule), _by_rows(x, expression))


@pytest.mark.parametrize("make, dtype", INPUTS, ids=NAMES)
def test_autofp8_with_a_static_scale(make, dtype):
    x = make(dtype, 24, 300)
    for scale in (np.float32(0.0123), np.float32(1 / 3), np.float32(3e-5)):
        theirs = array(_cast(tensor(x) / torch.tensor(scale)))
        assert_same_bits(fp8ref.quantize(x, "autofp8.per_tensor_static", scale), (theirs, np.asarray(scale)))
