# SPDX-License-Identifier: Apache-2.0
"""Cases of scaled_mm: K tails, empty sizes, sums at midpoints, cancellation, extreme scales, all output types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...golden._operand import ACCUMULATORS
from ._case import Case
from ._probes import STEPS, groupings, operands, placed
from ._scaled_blocks import block_cases
from ._scaled_e5m2 import e5m2_cases
from ._stream import BFLOAT16, FLOAT8, FLOAT16, FLOAT32, Array, Stream

ACCUMULATE = ("exact", "sm90_wgmma")  # in every group; the other accumulators have one of their own
OUT = ("float32", "bfloat16", "float16")
ONE = np.float32(1)

# (M, N, K): around the 32-element step of the tensor core, around tiles, empty in each direction, and with square
# weights, which can be read as (K, N).
SHAPES = (
    (1, 1, 1), (2, 3, 0), (0, 5, 32), (3, 0, 32), (5, 7, 31), (5, 7, 32), (5, 7, 33), (1, 65, 64), (65, 9, 64),
    (5, 32, 32), (17, 19, 200), (4, 6, 576),
)  # fmt: skip


def _mm(a: Array, b: Array, a_scale: Any = ONE, b_scale: Any = ONE, **more: Any) -> dict[str, Any]:
    return {"a": a, "b": b, "a_scale": a_scale, "b_scale": b_scale, **more}


def _values(rows: list[list[float]]) -> Array:
    """Codes of values that E4M3 holds exactly."""
    values = np.array(rows, dtype=np.float32)
    codes = values.astype(FLOAT8)
    assert np.array_equal(codes.astype(np.float32), values)
    return codes


def _shapes() -> Iterator[tuple[str, dict[str, Any]]]:
    for m, n, k in SHAPES:
        name = f"{m}x{n}x{k}"
        s = Stream(f"scaled_mm/{name}")
        a, b = s.code_bell((m, k)), s.codes((n, k))
        yield f"{name}/rows", _mm(a, b, s.scales((m, 1)), s.scales((n, 1)))
        yield f"{name}/scalars", _mm(a, b, np.float32(0.013), np.float32(0.37))


def _biases() -> Iterator[tuple[str, dict[str, Any]]]:
    """With a bias the last multiply and the add are one rounding; sizes are chosen so that two would differ."""
    for label, dtype in (("bf16", BFLOAT16), ("fp16", FLOAT16), ("fp32", FLOAT32)):
        s = Stream(f"scaled_mm/bias/{label}")
        a, b = s.codes((9, 96)), s.codes((33, 96))
        yield f"bias/{label}", _mm(a, b, s.scales((9, 1)), s.scales((33, 1)), bias=s.normal((33,), dtype, exponent=2))
    s = Stream("scaled_mm/bias/cancel")
    a, b = s.codes((3, 32)), s.codes((5, 32))
    bias = -(a[:1].astype(np.float64) @ b.T.astype(np.float64)).astype(np.float32)[0]
    yield "bias/cancel", _mm(a, b, bias=bias)
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], dtype=np.float32)
    yield "bias/special", _mm(a, b, bias=special)


def _boundaries() -> Iterator[tuple[str, dict[str, Any]]]:
    """Sums one small product away from a midpoint of float32 (2**24 + 1) and of bf16 (2**16 + 2**8)."""
    tiny = 2.0**-9
    big = [256.0] * 256  # 256 products of 2**16 are 2**24
    small = [[1.0, 0.0], [1.0, tiny], [1.0, -tiny], [-1.0, 0.0], [-1.0, tiny], [0.0, tiny]]
    a = _values([[*big, 1.0, tiny], [*[-x for x in big], -1.0, tiny]])
    b = _values([[*big, *tail] for tail in small])
    yield "float32_midpoint", _mm(a, b)
    # 2**11 + 1 and 2**11 + 3 lie between two numbers of fp16.
    a = _values([[64.0, 1.0, tiny], [-64.0, -1.0, tiny]])
    yield "fp16_midpoint", _mm(a, _values([[32.0, x, y] for x in (1.0, 3.0) for y in (0.0, tiny, -tiny)]))
    a = _values([[256.0, 16.0, tiny], [-256.0, -16.0, tiny]])
    b = _values([[256.0, x, y] for x in (16.0, -16.0) for y in (0.0, tiny, -tiny)])
    yield "bf16_midpoint", _mm(a, b)
    s = Stream("scaled_mm/cancel")
    half = s.codes((6, 40))
    other = s.codes((7, 40))
    a = np.concatenate([half, half], axis=1)
    b = np.concatenate([other, (other.view(np.uint8) ^ 0x80).view(FLOAT8)], axis=1)
    yield "cancel_to_zero", _mm(a, b, s.scales((6, 1)), s.scales((7, 1)))
    b = b.copy()
    b[:, 17] = np.uint8(0x01).view(FLOAT8)
    yield "cancel_to_tiny", _mm(a, b, s.scales((6, 1)), s.scales((7, 1)))
    zeros = np.zeros((2, 40), dtype=np.uint8)
    zeros[1] = 0x80
    yield "signed_zeros", _mm(zeros, zeros, bias=np.array([-0.0, 0.0], dtype=np.float32))


def _spread() -> Iterator[tuple[str, dict[str, Any]]]:
    """Products 2**35 apart: what a tensor core cuts off at 13 fraction bits, and where order would matter."""
    s = Stream("scaled_mm/spread")
    a, b = s.codes((24, 160)), s.codes((24, 160))
    yield "spread", _mm(a, b, s.scales((24, 1)), s.scales((24, 1)))
    largest = np.full((3, 96), 0x7E, dtype=np.uint8)
    smallest = np.full((3, 96), 0x01, dtype=np.uint8)
    mixed = largest.copy()
    mixed[:, ::2] = 0xFE
    mixed[:, 5] = 0x01
    yield "large_and_small", _mm(np.concatenate([largest, smallest, mixed]), np.concatenate([mixed, smallest, largest]))


def _specials() -> Iterator[tuple[str, dict[str, Any]]]:
    s = Stream("scaled_mm/special")
    a, b = s.codes((9, 70)).view(np.uint8), s.codes((9, 70)).view(np.uint8)
    nan = a.copy()
    nan[2, 69], nan[5, 0], nan[7] = 0x7F, 0xFF, 0x7F
    yield "nan_codes", _mm(nan, b)
    extremes = np.array([0, 2.0**-149, 2.0**-126, 2.0**-60, 1, 2.0**60, 3e38, np.inf, np.nan], dtype=np.float32)[
        :, None
    ]
    yield "extreme_scales", _mm(a, b, extremes, np.roll(extremes, 4, axis=0))
    yield "extreme_scales_bias", _mm(a, b, extremes, np.roll(extremes, 2, axis=0), bias=s.normal((9,), FLOAT32))
    yield "reversed_extremes", _mm(a, b, extremes[::-1].copy(), extremes)
    # With full fractions a_s * (b_s * acc), b_s * (a_s * acc) and (a_s * b_s) * acc round apart.
    a, b = s.codes((40, 48)), s.codes((40, 48))
    yield "scale_order", _mm(a, b, s.scales((40, 1), -3, 3), s.scales((40, 1), -3, 3))
    for label, dtype in (("bf16", BFLOAT16), ("fp16", FLOAT16)):
        rows = s.scales((40, 1), -3, 3).astype(dtype)
        yield f"scales_{label}", _mm(a, b, rows, rows[::-1].copy())


def _dead() -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of zeros, with the scales that quantizers give them, and beside them rows that are not dead."""
    s = Stream("scaled_mm/dead")
    a, b = s.codes((7, 130)).view(np.uint8).copy(), s.codes((6, 130)).view(np.uint8).copy()
    a[1], a[3], a[5], b[2], b[4] = 0, 0x80, 0, 0x80, 0
    # 0, RN32(1 / (448 * 512)), 1e-10 / 448 and a dead expert's 1e-23 (vllm#34914).
    rows = np.array([0.5, 0, 0.25, 4.3596542e-06, 3, 2.2321428e-13, 1e-23], np.float32)[:, None]
    columns = np.array([1, 0.3, 2.2321428e-13, 1e-23, 0, 2], np.float32)[:, None]
    yield "dead_rows", _mm(a, b, rows, columns)
    yield "dead_rows/bias", _mm(a, b, rows, columns, bias=np.array([0, -0.0, 1, -2, 1e-30, -0.0], np.float32))


def _tails() -> Iterator[tuple[str, dict[str, Any]]]:
    """The last element of K outweighs all others; beside steps of 8, 16 and 32 and the interval of promotion."""
    for k in (1, 2, 7, 9, 15, 16, 17, 63, 65, 127, 129, 255, 257, 385):
        s = Stream(f"scaled_mm/tail/{k}")
        a, b = (np.clip(s.codes((3, k)).astype(np.float32), -1, 1).astype(FLOAT8) for _ in range(2))
        a[:, -1], b[:, -1] = _values([[448.0, -448.0, 416.0]])[0], _values([[448.0, 352.0, -448.0]])[0]
        yield f"tail_{k}", _mm(a, b, s.scales((3, 1)), s.scales((3, 1)))


def _probes(level: str) -> Iterator[Case]:
    """What tells one accumulator from another, under each of them."""
    found = [(probe.name, *operands(probe)) for probe in STEPS if not probe.c and probe.dtype.itemsize == 1]
    every = [("E4c_all", *groupings(1))] if level == "full" else []
    for name, a, b in (*found, *placed(), *every):
        for accumulate in ACCUMULATORS:
            more = {"accumulate": accumulate, "out_dtype": "float32"}
            yield Case(f"probe/{name}/{accumulate}", "scaled_mm", _mm(a, b, **more))


def _errors() -> Iterator[Case]:
    a, b = np.zeros((2, 4), np.uint8), np.zeros((3, 4), np.uint8)
    yield Case("error/negative_scale", "scaled_mm", _mm(a, b, np.float32(-1.0)))
    yield Case("error/negative_zero_scale", "scaled_mm", _mm(a, b, ONE, np.float32(-0.0)))
    yield Case("error/k_differs", "scaled_mm", _mm(a, b[:, :3]))
    yield Case("error/scale_shape", "scaled_mm", _mm(a, b, np.ones((2,), np.float32)))
    yield Case("error/bias_shape", "scaled_mm", _mm(a, b, bias=np.zeros((2,), np.float32)))
    yield Case("error/accumulate", "scaled_mm", _mm(a, b, accumulate="float32"))
    yield Case("error/out_dtype", "scaled_mm", _mm(a, b, out_dtype="float64"))


def _large(level: str) -> Iterator[tuple[str, dict[str, Any]]]:
    s = Stream("scaled_mm/long")
    yield "long_k", _mm(s.codes((1, 171_235)), s.codes((2, 171_235)), np.float32(0.5), np.float32(0.25))
    if level == "full":
        for m, n, k in ((64, 576, 576), (33, 1536, 576), (70, 576, 1536)):
            s = Stream(f"scaled_mm/full/{m}x{n}x{k}")
            yield f"{m}x{n}x{k}", _mm(s.code_bell((m, k)), s.code_bell((n, k)), s.scales((m, 1)), s.scales((n, 1)))
        s = Stream("scaled_mm/full/longer")
        largest = np.full((1, 400_000), 0x7E, dtype=np.uint8)
        yield "longest_k", _mm(largest, np.concatenate([largest, s.codes((1, 400_000)).view(np.uint8)]))


def _everywhere(group: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[Case]:
    for name, arguments in group:
        for accumulate in ACCUMULATE:
            for out in OUT:
                more = {"accumulate": accumulate, "out_dtype": out, "epilogue": "a_b"}
                yield Case(f"{name}/{accumulate}/{out}", "scaled_mm", {**arguments, **more})


def _tensor_cores() -> Iterator[Case]:
    """Every accumulator over several promotions, in parts of K, with tails; the plain one is everywhere else."""
    for k in (40, 128, 300, 1100):
        s = Stream(f"scaled_mm/tensor_cores/{k}")
        a, b = s.code_bell((5, k)), s.codes((6, k))
        # Large products that cancel at first: what is left of the small ones depends on where a chain begins anew.
        a[1, :2], b[:, :2] = _values([[256.0, -256.0]]), _values([[256.0, 256.0]])
        for accumulate in ACCUMULATORS:
            for split_k in (1, 2, 3, 5):
                more = {"accumulate": accumulate, "split_k": split_k, "out_dtype": "float32"}
                yield Case(f"k{k}/{accumulate}/split_{split_k}", "scaled_mm", _mm(a, b, **more))
    nan = a.view(np.uint8).copy()
    nan[2, 1000], nan[4, 0] = 0x7F, 0xFF
    for accumulate in ACCUMULATORS:
        yield Case(f"nan/{accumulate}/split", "scaled_mm", _mm(nan, b, accumulate=accumulate, split_k=4))


def cases(level: str) -> Iterator[Case]:
    """Every input under both accumulators and all wide output types; then block scales, orders and E4M3 output."""
    for group in (_shapes(), _tails(), _biases(), _boundaries(), _spread(), _specials(), _dead()):
        yield from _everywhere(group)
    yield from _tensor_cores()
    yield from block_cases()
    yield from e5m2_cases()
    yield from _probes(level)
    yield from _everywhere(_large(level))
    yield from _errors()
