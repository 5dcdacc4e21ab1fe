# SPDX-License-Identifier: Apache-2.0
"""Device arrays of torch and of other libraries: golden's bits without a way over the host, and golden's errors."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import fp8ref
from backends.devices import LIBRARIES, Foreign, Interface, Torch, downloaded
from bits import BF16, E4M3, assert_same_bits, from_bits
from everywhere import CUDA_FUNCTIONS, EMULATED
from fp8ref.errors import DeviceError, OpError
from fp8ref.golden._args import _power_of_two

_cuda = pytest.importorskip("fp8ref._cuda")

from fp8ref.backends.cuda._call import EXACT  # noqa: E402

pytestmark = pytest.mark.skipif(not CUDA_FUNCTIONS, reason="no CUDA backend, or no device")

RNG = np.random.default_rng(71)


def _bf16(*shape):
    return RNG.standard_normal(shape).astype(np.float32).astype(BF16)


def _codes(*shape):
    return from_bits(RNG.integers(0, 0x7F, shape), E4M3)


def _scales(*shape, dtype=np.float32):
    return np.exp2(RNG.integers(-6, 0, shape)).astype(dtype)


A, B, GROUPS = _codes(5, 160), _codes(7, 160), _codes(3, 7, 160)
CALLS = [
    ("encode", {"x": _bf16(3, 5)}),
    ("encode", {"x": RNG.standard_normal((3, 5)), "overflow": "nan"}),
    ("encode", {"x": np.arange(-4, 4)}),
    ("decode", {"codes": _codes(3, 5)}),
    ("decode", {"codes": np.arange(256, dtype=np.uint8)}),
    ("residual", {"x": _bf16(3, 5), "y": _bf16(3, 5)}),
    ("gated_residual", {"x": _bf16(3, 5), "y": _bf16(3, 5), "gate": _bf16(1)}),
    ("silu_mul", {"gate": _bf16(3, 5), "up": _bf16(3, 5)}),
    ("sample", {"logits": _bf16(2, 3, 50)}),
    ("sample", {"logits": RNG.standard_normal((2, 50)).astype(np.float32)}),
    ("rmsnorm", {"x": _bf16(2, 3, 40), "weight": _bf16(40), "eps": 1e-5}),
    ("rmsnorm", {"x": _bf16(2, 40), "weight": None, "eps": np.float32(1e-6)}),
    ("rope_table", {"positions": np.arange(4, dtype=np.int32), "frequencies": _scales(3)}),
    ("rope_table", {"positions": [0, 5, 7], "frequencies": _scales(3)}),
    ("rope", {"x": _bf16(4, 2, 6), "cos": _scales(4, 3), "sin": _scales(4, 3)}),
    ("rope", {"x": _bf16(4, 2, 8), "cos": _scales(4, 4), "sin": _scales(4, 4), "layout": "interleaved"}),
    ("temperature_factors", {"positions": np.array([0, 8191], np.int32), "floor_scale": 8192, "attn_scale": 0.1}),
    ("temperature", {"x": _bf16(4, 2, 6), "factors": _scales(4)}),
    ("route", {"logits": _bf16(4, 9), "top_k": 2}),
    (
        "dispatch",
        {"x": _bf16(3, 8), "experts": np.array([[4, 1], [1, 0], [4, 1]]), "scores": _bf16(3, 2), "num_experts": 6},
    ),
    (
        "dispatch",
        {"x": _bf16(2, 5), "experts": np.array([[2], [0]], np.int32), "scores": _bf16(2, 1), "num_experts": 300},
    ),
    ("combine", {"routed": _bf16(4, 8), "order": np.array([2, 0, 3, 1]), "shared": _bf16(2, 8)}),
    ("combine", {"routed": _bf16(2, 5), "order": np.array([1, 0], np.int32), "shared": _bf16(2, 5)}),
    ("quantize", {"x": _bf16(3, 200), "rule": "vllm.per_token"}),
    ("quantize", {"x": _bf16(3, 200), "rule": "vllm.per_token", "scale_ub": np.float32(0.001)}),
    ("quantize", {"x": _bf16(3, 4, 50), "rule": "vllm.per_tensor"}),
    ("quantize", {"x": _bf16(3, 200), "rule": "vllm.per_tensor_static", "scale": _scales(dtype=np.float16)}),
    ("quantize", {"x": _bf16(130, 200).astype(np.float16), "rule": "vllm.group_128@0.11"}),
    ("dequantize", {"codes": A, "scale": _scales(5, 1)}),
    ("dequantize", {"codes": A, "scale": _scales(5, 2, dtype=BF16), "out_dtype": "float32"}),
    ("mma", {"a": A, "b": B}),
    ("mma", {"a": A, "b": B.view(ml_dtypes.float8_e5m2), "c": _scales(5, 7), "accumulate": "sm89_mma"}),
    ("scaled_mm", {"a": A, "b": B, "a_scale": _scales(5, 1), "b_scale": _scales(7, 1), "bias": _bf16(7)}),
    ("scaled_mm", {"a": A.view(np.uint8), "b": B, "a_scale": 0.5, "b_scale": _scales(1), "out_dtype": "float32"}),
    ("scaled_mm", {"a": A, "b": B, "a_scale": _scales(5, 2), "b_scale": _scales(1, 2, dtype=BF16)}),
    (
        "scaled_mm",
        {"a": A, "b": B, "a_scale": _scales(5, 1), "b_scale": _scales(7, 1, dtype=ml_dtypes.float8_e8m0fnu)}
        | {"out_dtype": "float8_e4m3fn", "out_scale": np.float32(0.25), "overflow": "nan", "accumulate": "sm90_wgmma"},
    ),
    (
        "grouped_mm",
        {"a": A, "b": GROUPS, "a_scale": _scales(5, 1), "b_scale": _scales(3), "offsets": np.array([0, 2, 2, 4])},
    ),
    (
        "grouped_mm",
        {"a": A, "b": GROUPS, "a_scale": _scales(5, 2), "b_scale": _scales(3, 1, 2), "bias": _bf16(3, 7)}
        | {"offsets": np.array([1, 2, 4, 5], np.int32)},
    ),
    ("linear", {"x": _bf16(3, 40), "weight": _bf16(5, 40), "bias": _bf16(5)}),
    ("linear", {"x": _bf16(3, 40), "weight": _bf16(5, 40), "accumulate": "sm90_wgmma"}),
    ("attention", {"q": _bf16(2, 4, 8), "k": _bf16(3, 2, 8), "v": _bf16(3, 2, 8)}),
    ("attention", {"q": _bf16(2, 4, 8), "k": _bf16(3, 2, 8), "v": _bf16(3, 2, 8), "scale": 0.25, "mask": "full"}),
    ("attention", {"q": _bf16(2, 4, 8), "k": _bf16(5, 2, 8), "v": _bf16(5, 2, 8), "mask": "chunked", "chunk": 2}),
]
CALLS = [call for call in CALLS if call[0] in CUDA_FUNCTIONS]
NAMES = [f"{function}-{i}" for i, (function, _) in enumerate(CALLS)]


@pytest.fixture(params=LIBRARIES, ids=lambda kind: kind.name)
def library(request, monkeypatch):
    """Each library in turn."""
    return request.param(monkeypatch)


def _run(library, function, arguments):
    result = getattr(fp8ref.backend("cuda"), function)(**{name: library.up(x) for name, x in arguments.items()})
    return tuple(library.down(x) for x in result) if isinstance(result, tuple) else library.down(result)


@pytest.mark.parametrize(("function", "arguments"), CALLS, ids=NAMES)
def test_golden_bits(library, function, arguments):
    expected = getattr(fp8ref, function)(**arguments)
    assert_same_bits(_run(library, function, arguments), expected, function)


@pytest.mark.parametrize(("wide", "narrow"), [(wide, narrow) for wide in EXACT for narrow in sorted(EXACT[wide])])
def test_widening(wide, narrow):
    """Every pattern of 16 bits, and the ends of wider types, as numpy and golden's checks widen them."""
    dtype = np.dtype(getattr(ml_dtypes, narrow, narrow))
    bits = np.arange(1 << 16, dtype=np.uint64) << np.uint64(max(8 * dtype.itemsize - 16, 0))
    x = from_bits(bits.astype(f"u{dtype.itemsize}"), dtype) if wide == "float32" else bits.astype(dtype)
    expected = _power_of_two(x) if narrow == "float8_e8m0fnu" else x.astype(wide)
    array = Foreign(x)
    out = Foreign(np.zeros(x.shape, wide))
    _cuda.widen(array.memory.address, narrow, x.size, out.memory.address, wide, 0)
    assert_same_bits(downloaded(out), expected)


@pytest.mark.parametrize("width", range(1, 18))
def test_any_address(library, width):
    """Slices begin anywhere in memory."""
    if library.name != "torch":
        pytest.skip("slices are torch's")
    x = _bf16(3, width)
    whole = library.up(x)
    for part in (slice(1, None), (slice(None), slice(width // 2, None)), (slice(None, None, 2), slice(None))):
        assert_same_bits(
            library.down(fp8ref.backend("cuda").residual(whole[part], whole[part])), fp8ref.residual(x[part], x[part])
        )


def test_strided(library):
    """Other libraries make the copy; who cannot be asked for one gets an error."""
    x = _bf16(4, 6)
    cuda, array = fp8ref.backend("cuda"), library.up(x)
    if library.name == "torch":
        assert_same_bits(library.down(cuda.residual(array.T, array.T)), fp8ref.residual(x.T, x.T))
        return
    array.shape, array.strides = (6, 4), (2, 12)
    with pytest.raises(OpError, match="residual: a device array of Foreign must be contiguous"):
        cuda.residual(array, array)


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_the_checks_are_those_of_golden(library):
    """The same messages, for types, shapes and policies."""
    cuda = fp8ref.backend("cuda")
    for function, arguments in (
        ("residual", (_bf16(3, 5), _bf16(5, 3))),
        ("residual", (_bf16(3), RNG.standard_normal(3))),
        ("encode", (np.zeros(3, np.complex64),)),
        ("decode", (_bf16(3),)),
        ("encode", (_bf16(3), "wrap")),
    ):
        with pytest.raises(OpError) as expected:
            getattr(fp8ref, function)(*arguments)
        with pytest.raises(OpError) as error:
            getattr(cuda, function)(*(library.up(x) for x in arguments))
        assert str(error.value) == str(expected.value)


def test_host_and_device_do_not_mix(library):
    x = _bf16(3, 5)
    with pytest.raises(OpError, match="residual: y is on the host, but x is on a CUDA device"):
        fp8ref.backend("cuda").residual(library.up(x), x)


def test_two_devices_do_not_mix(library, monkeypatch):
    from fp8ref.backends.cuda import _libraries

    for kind in (_libraries.Torch, _libraries.Interface):  # each array on a device of its own
        monkeypatch.setattr(kind, "device", property(id, lambda self, value: None), raising=False)
    x = library.up(_bf16(3, 5))
    with pytest.raises(OpError, match=r"residual: all arrays must be on one device, but x is on device \d+ and y"):
        fp8ref.backend("cuda").residual(x, library.up(_bf16(3, 5)))


def test_exhausted_memory(library):
    """It is an error of the device that names op and shapes, and the next call works."""
    cuda, huge = fp8ref.backend("cuda"), np.broadcast_to(np.zeros((), BF16), (1 << 40,))
    with pytest.raises(DeviceError, match=r"residual: .*bytes.*memory.* \(with x: shape \(1099511627776,\), dtype bfl"):
        cuda.residual(huge, huge)
    x = _bf16(3, 5)
    assert_same_bits(_run(library, "residual", {"x": x, "y": x}), fp8ref.residual(x, x))


def test_memory_that_is_not_the_devices():
    if EMULATED:
        pytest.skip("the emulator's device memory is the host's")
    x = Foreign(_bf16(3))
    host = np.zeros(3, BF16)
    x.memory = type("Host", (), {"address": host.ctypes.data})
    with pytest.raises((OpError, DeviceError)):
        fp8ref.backend("cuda").residual(x, x)


# ---- out of grouped_mm -----------------------------------------------------------------------------------------------

grouped = pytest.mark.skipif("grouped_mm" not in CUDA_FUNCTIONS, reason="grouped_mm has no kernels yet")


def _grouped(out):
    arguments = {"a": _codes(5, 32), "b": _codes(2, 16, 32), "a_scale": _scales(5, 1), "b_scale": _scales(2)}
    return arguments | {"offsets": np.array([1, 3, 4]), "out": out}


@grouped
def test_out_is_written_in_place(library):
    kept = _bf16(5, 16)
    arguments = _grouped(kept)
    moved = {name: library.up(x) for name, x in arguments.items()}
    expected = fp8ref.grouped_mm(**arguments | {"out": kept.copy()})
    assert fp8ref.backend("cuda").grouped_mm(**moved) is moved["out"]
    assert_same_bits(library.down(moved["out"]) if library.name == "torch" else downloaded(moved["out"]), expected)


@grouped
def test_out_may_share_memory_with_an_input(monkeypatch):
    """a (5, 32) of codes and out (5, 16) of bfloat16 in the same bytes: no row of a may be gone before it is read.

    With weights of E5M2 each output is computed by itself, so that rows are read while others are written.
    """
    library = Torch(monkeypatch)
    arguments = _grouped(None)
    arguments["b"] = arguments["b"].view(np.uint8).view(ml_dtypes.float8_e5m2)
    moved = {name: library.up(x) for name, x in arguments.items()}
    import torch

    moved["out"] = moved["a"].view(torch.bfloat16)
    arguments["out"] = arguments["a"].copy().view(BF16)
    expected = fp8ref.grouped_mm(**arguments)
    fp8ref.backend("cuda").grouped_mm(**moved)
    assert_same_bits(library.down(moved["out"]), expected)


@grouped
def test_out_may_be_strided(monkeypatch):
    library = Torch(monkeypatch)
    kept = _bf16(16, 5)
    arguments = _grouped(kept.T)
    moved = {name: library.up(x) for name, x in arguments.items()} | {"out": library.up(kept).T}
    expected = fp8ref.grouped_mm(**arguments | {"out": kept.copy().T})
    assert_same_bits(library.down(fp8ref.backend("cuda").grouped_mm(**moved)), expected)


@grouped
def test_out_must_be_right(library):
    cuda = fp8ref.backend("cuda")
    for wrong in (_bf16(5, 15), np.zeros((5, 16), np.float32)):
        arguments = _grouped(wrong)
        with pytest.raises(OpError, match="grouped_mm: out must be a writable array of shape"):
            cuda.grouped_mm(**{name: library.up(x) for name, x in arguments.items()})
    if library.name == "interface":
        moved = {name: library.up(x) for name, x in _grouped(_bf16(5, 16)).items()}
        moved["out"].read_only = True
        with pytest.raises(OpError, match="grouped_mm: out must be a writable array of shape"):
            cuda.grouped_mm(**moved)


# ---- seeded defects --------------------------------------------------------------------------------------------------


def _all_bits(library):
    for function, arguments in CALLS:
        assert_same_bits(_run(library, function, arguments), getattr(fp8ref, function)(**arguments), function)


def _computes_with_the_stand_in(patch):
    from fp8ref.backends.cuda._call import Call

    patch.setattr(Call, "place", lambda call, name, x, dtype=None: 0 if x is None else call._uploaded(x))


def _does_not_widen(patch):
    from fp8ref.backends.cuda._call import Call

    patch.setattr(Call, "_widened", lambda call, array, dtype: array.address)


def _takes_strided_for_contiguous(patch):
    from fp8ref.backends.cuda._libraries import DeviceArray

    patch.setattr(DeviceArray, "packed", lambda array, op: array)


@pytest.mark.parametrize("defect", [_computes_with_the_stand_in, _does_not_widen], ids=lambda d: d.__name__)
def test_defects_are_noticed(monkeypatch, defect):
    library = Interface(monkeypatch)
    _all_bits(library)
    defect(monkeypatch)
    with pytest.raises(AssertionError):
        _all_bits(library)


def test_a_missing_copy_is_noticed(monkeypatch):
    library = Torch(monkeypatch)
    _takes_strided_for_contiguous(monkeypatch)
    with pytest.raises(AssertionError):
        test_strided(library)


@grouped
def test_a_missing_copy_of_out_is_noticed(monkeypatch):
    from fp8ref.backends.cuda._libraries import DeviceArray

    monkeypatch.setattr(DeviceArray, "overlaps", lambda array, other: False)
    with pytest.raises(AssertionError):
        test_out_may_share_memory_with_an_input(monkeypatch)
