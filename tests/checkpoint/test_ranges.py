# SPDX-License-Identifier: Apache-2.0
"""How large weights and scales are, and which scales are suspicious, against plain loops. [CKPT-SUSPICIOUS]"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fp8ref.checkpoint.ranges as under_test
from fp8ref.checkpoint.ranges import Ranges, merge, ranges
from fp8ref.golden.llama import Bf16Linear, Fp8Linear
from model.tiny import bf16

SHAPES = [(1, 1), (3, 5), (128, 128), (129, 130), (260, 300)]
KINDS = ("tensor", "channel", "block")
SMALLEST = float(np.finfo(np.float32).tiny)


def value(code: int) -> float:
    """The magnitude of a code that is not NaN."""
    exponent, mantissa = (code >> 3) & 15, code & 7
    return math.ldexp(8 + mantissa, exponent - 10) if exponent else math.ldexp(mantissa, -9)


def fp8(codes: Any, scale: Any) -> Fp8Linear:
    scale = np.asarray(scale, np.float32)
    return Fp8Linear(np.asarray(codes, np.uint8).view(ml_dtypes.float8_e4m3fn), scale)


def part(kind: str, row: int, column: int) -> tuple[int, ...]:
    """The index of the scale of an element."""
    return {"tensor": (), "channel": (row, 0), "block": (row // 128, column // 128)}[kind]


def random_projection(kind: str, shape: tuple[int, int], seed: int) -> Fp8Linear:
    random = np.random.default_rng(seed)
    blocks = (-(-shape[0] // 128), -(-shape[1] // 128))
    sizes = {"tensor": (), "channel": (shape[0], 1), "block": blocks}[kind]
    codes = random.integers(0, 256, shape)
    small = random.random(sizes) < 0.3
    for row, column in np.ndindex(shape):
        if small[part(kind, row, column)]:
            codes[row, column] &= 0x8F  # below 2^-5
    scales = random.choice(np.array([0, 1e-39, SMALLEST, 1e-3, 7.5], np.float32), sizes)
    return fp8(codes, scales)


def plainly(projection: Fp8Linear) -> Ranges:
    """The definition, element by element."""
    codes, scale = projection.weight.view(np.uint8), projection.weight_scale
    kind = "tensor" if scale.ndim == 0 else "channel" if scale.shape == (len(codes), 1) else "block"
    largest: dict[tuple[int, ...], int] = dict.fromkeys(np.ndindex(scale.shape), 0)
    odd, amax = 0, 0.0
    for (row, column), code in np.ndenumerate(codes):
        index, magnitude = part(kind, row, column), int(code) & 0x7F
        if magnitude == 0x7F:
            odd += 1
            continue
        largest[index] = max(largest[index], magnitude)
        amax = max(amax, value(magnitude) * float(scale[index]))
    suspicious = 0
    for index, code in largest.items():
        s = float(scale[index])
        suspicious += (s == 0 and code > 0) or 0 < s < 2.0**-126 or 0 < value(code) < 128
    top = value(max(largest.values()))
    return Ranges(amax, odd, top, float(scale.min()), float(scale.max()), suspicious)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_fp8(kind: str, shape: tuple[int, int]) -> None:
    projection = random_projection(kind, shape, 7)
    assert ranges(projection, "values") == plainly(projection)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    projection = random_projection(kind, (700, 140), 8)
    whole = ranges(projection, "values")
    monkeypatch.setattr(under_test, "PIECE", 1)  # then 128 rows
    assert ranges(projection, "values") == whole == plainly(projection)


@pytest.mark.parametrize(
    ("codes", "scale", "suspicious"),
    [
        ([[0x7E]], [[1.0]], 0),
        ([[0x70]], [[1.0]], 0),  # 128
        ([[0xF0]], [[1.0]], 0),  # -128
        ([[0x6F]], [[1.0]], 1),  # 120
        ([[0x01]], [[1.0]], 1),
        ([[0x00]], [[1.0]], 0),
        ([[0x80]], [[0.0]], 0),
        ([[0x7E]], [[0.0]], 1),
        ([[0x00]], [[0.0]], 0),
        ([[0x7E]], [[SMALLEST]], 0),
        ([[0x7E]], [[1e-39]], 1),
        ([[0x00]], [[1e-39]], 1),
        ([[0x7F]], [[0.0]], 0),  # NaN does not count
        ([[0xFF, 0x01]], [[1.0]], 1),
        ([[0x7E], [0x01]], [[1.0], [1.0]], 1),
        ([[0x7E], [0x01]], 1.0, 0),  # one scale for both rows
    ],
)
def test_each_kind_of_suspicion(codes: Any, scale: Any, suspicious: int) -> None:
    assert ranges(fp8(codes, scale), "values").suspicious == suspicious


def test_headers_know_scales_alone() -> None:
    found = ranges(fp8([[0x01], [0x01]], [[1e-39], [2.0]]), "headers")
    assert found == Ranges(scale_min=float(np.float32(1e-39)), scale_max=2.0, suspicious=1)
    assert ranges(Bf16Linear(bf16([[1.0]])), "headers") == Ranges()


@pytest.mark.parametrize("layout", ["stored", "transposed"])
def test_bf16(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "PIECE", 1)
    bits = np.random.default_rng(9).integers(0, 2**16, (300, 40)).astype(np.uint16)
    weight = bits.view(ml_dtypes.bfloat16)
    values = (bits.astype(np.uint32) << 16).view(np.float32)
    finite = np.isfinite(values)
    projection = Bf16Linear(weight if layout == "stored" else weight.T)
    expected = Ranges(amax=float(np.abs(values[finite]).max()), odd=int((~finite).sum()))
    assert ranges(projection, "values") == expected and expected.odd


def test_merge() -> None:
    one, other = Ranges(1.0, 2, 448.0, 0.5, 0.75, 3), Ranges(4.0, 5, 320.0, 0.25, 0.5, 6)
    assert merge([one, other]) == Ranges(4.0, 7, 448.0, 0.25, 0.75, 9)
    assert merge([one, Ranges()]) == merge([Ranges(), one]) == one
    assert merge([]) == Ranges()
