# SPDX-License-Identifier: Apache-2.0
"""Targets that take cupy arrays, with a stand-in for cupy: numpy arrays of the types that it has. [TARGET-ARRAYS]"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fp8ref
from fp8ref.conformance import CallableTarget, Claim, check

FLOAT8, BFLOAT16 = np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.bfloat16)


class Ndarray:
    """An array of the stand-in."""

    def __init__(self, array: Any) -> None:
        self.array = array

    @property
    def dtype(self) -> Any:
        return self.array.dtype


@pytest.fixture(params=["with bfloat16", "without bfloat16"])
def cupy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """cupy as far as a target needs it; no version has FP8, old ones have no bfloat16."""
    stand_in: Any = ModuleType("cupy")

    def asarray(array: Any) -> Ndarray:
        known = array.dtype.kind in "biuf" or (array.dtype == BFLOAT16 and request.param == "with bfloat16")
        if not known or array.dtype.name.startswith("float8"):
            raise ValueError(f"Unsupported dtype {array.dtype}")
        return Ndarray(np.array(array))

    stand_in.ndarray, stand_in.asarray, stand_in.__version__ = Ndarray, asarray, "13.0"
    stand_in.asnumpy = lambda x: np.array(x.array)
    runtime = SimpleNamespace(getDevice=lambda: 0, getDeviceProperties=lambda _: {"name": b"no device"})
    stand_in.cuda = SimpleNamespace(runtime=runtime)
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    return stand_in


def _mine(x: Any, dtype: Any) -> Any:
    """The array of an argument; what is an integer of the right width is taken for the type."""
    assert isinstance(x, Ndarray)
    return x.array.view(dtype) if x.dtype.kind == "u" else x.array


def _given(x: Any) -> Ndarray:
    kinds = {FLOAT8: np.uint8, np.dtype(ml_dtypes.float8_e8m0fnu): np.uint8, BFLOAT16: np.uint16}
    return Ndarray(x.view(kinds[x.dtype]) if x.dtype in kinds else x)


def test_bits_arrive_and_come_back(cupy):
    def residual(x: Any, y: Any) -> Any:
        return _given(fp8ref.residual(_mine(x, BFLOAT16), _mine(y, BFLOAT16)))

    def encode(x: Any, overflow: str = "saturate") -> Any:
        assert x.dtype.kind == "f" or x.dtype in (np.uint16, BFLOAT16)
        return _given(fp8ref.encode(_mine(x, BFLOAT16), overflow))

    def decode(codes: Any) -> Any:
        assert codes.dtype == np.uint8
        return _given(fp8ref.decode(_mine(codes, FLOAT8)))

    target = CallableTarget({"residual": residual, "encode": encode, "decode": decode}, "cupy")
    report = check(target, ["residual", "e4m3"])
    assert report.equal and all(result.checked > 5 for result in report.results)
    assert report.facts["cupy"] == "13.0" and report.facts["device"] == "no device"


def test_a_changed_bit_is_noticed(cupy):
    def residual(x: Any, y: Any) -> Any:
        out = fp8ref.residual(_mine(x, BFLOAT16), _mine(y, BFLOAT16)).view(np.uint16)
        return Ndarray(out ^ np.uint16(out.size > 100))

    assert not check(CallableTarget({"residual": residual}, "cupy"), ["residual"]).equal


def test_scales_of_8_bits_are_e8m0(cupy):
    def quantize(x: Any, scale_ub: Any = None) -> Any:
        del scale_ub
        codes, scale = fp8ref.quantize(_mine(x, BFLOAT16), "torchao.infer_row_e8m0")
        return _given(codes), _given(scale)

    result = check(
        CallableTarget({"quantize": quantize}, "cupy"), ["quantize"], claim=Claim.parse("torchao.infer_row_e8m0")
    )
    assert result.equal and result.results[0].checked > 5


def test_what_cupy_cannot_tell_apart_is_not_asked(cupy):
    def scaled_mm(a: Any, b: Any, a_scale: Any, b_scale: Any, **more: Any) -> Any:
        more = {name: x.array if isinstance(x, Ndarray) else x for name, x in more.items()}
        scales = [s if isinstance(s, float) else s.array for s in (a_scale, b_scale)]
        if more.get("bias") is not None and more["bias"].dtype == np.uint16:
            more["bias"] = more["bias"].view(BFLOAT16)
        scales = [s.view(BFLOAT16) if s.dtype == np.uint16 else s for s in scales]
        return _given(fp8ref.scaled_mm(_mine(a, FLOAT8), _mine(b, FLOAT8), *scales, **more))

    result = check(CallableTarget({"scaled_mm": scaled_mm}, "cupy"), ["scaled_mm"]).results[0]
    assert result.mismatches == [] and result.checked > 50
    assert {"cupy arrays of float8_e5m2", "cupy arrays of float8_e8m0fnu"} <= set(result.unsupported)
