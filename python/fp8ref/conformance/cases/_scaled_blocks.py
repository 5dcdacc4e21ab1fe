# SPDX-License-Identifier: Apache-2.0
"""Cases of scaled_mm beyond one scale a row: block scales, orders of the epilogue, E4M3 output, E8M0 scales."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from ._case import Case
from ._stream import BFLOAT16, FLOAT8, FLOAT32, Array, Stream

OUT = ("float32", "bfloat16", "float16")
ORDERS = ("a_b", "b_a", "ab")
BLOCK_ORDERS = ("deepgemm", "triton", "triton_ba")
POLICIES = ("saturate", "nan")
BLOCK = 128
ONE = np.float32(1)
Named = Iterator[tuple[str, dict[str, Any]]]


def _blocks(size: int) -> int:
    return -(-size // BLOCK)


def _mm(a: Array, b: Array, a_scale: Any = ONE, b_scale: Any = ONE, **more: Any) -> dict[str, Any]:
    return {"a": a, "b": b, "a_scale": a_scale, "b_scale": b_scale, **more}


def _values(rows: Any) -> Array:
    """Codes of values that E4M3 holds exactly."""
    values = np.array(rows, dtype=np.float32)
    codes = values.astype(FLOAT8)
    assert np.array_equal(codes.astype(np.float32), values)
    return codes


def _summing_to(total: float) -> list[float]:
    """Values of codes whose sum is the multiple ``total`` of 2**-9."""
    units, parts = int(total * 512), []
    while units:
        magnitude = min(abs(units), 448 * 512)
        size = 1 << max(magnitude.bit_length() - 4, 0)
        magnitude -= magnitude % size
        parts.append((magnitude if units > 0 else -magnitude) / 512)
        units -= magnitude if units > 0 else -magnitude
    return parts


def _orders() -> Named:
    """Scales of full fractions round apart in the three orders; with a bias the last product is fused."""
    for order in ORDERS:
        s = Stream(f"scaled_mm/orders/{order}")
        a, b = s.codes((40, 48)), s.codes((40, 48))
        scales = s.scales((40, 1), -3, 3), s.scales((40, 1), -3, 3)
        extremes = s.scales((40, 1), -100, 100)
        for out in OUT:
            more = {"epilogue": order, "out_dtype": out}
            yield f"orders/{order}/{out}", _mm(a, b, *scales, **more)
            bias = s.normal((40,), FLOAT32, exponent=2)
            yield f"orders/{order}/bias/{out}", _mm(a, b, *scales, bias=bias, **more)
            yield f"orders/{order}/extreme/{out}", _mm(a, b, extremes, extremes[::-1].copy(), **more)
    row = _summing_to(1807.4921875)
    a, b = _values([row]), _values([[1.0] * len(row)])
    swapped = np.float32(0.003779232269152999), np.float32(0.0007170428289100528)
    for order in ORDERS:
        yield f"orders/vllm_swap/{order}", _mm(a, b, *swapped, epilogue=order)


def _block_shapes() -> Named:
    for m, n, k in (
        (3, 2, 0),
        (0, 3, 200),
        (2, 0, 200),
        (3, 4, 1),
        (2, 3, 127),
        (3, 5, 128),
        (3, 4, 129),
        (4, 130, 300),
    ):
        s = Stream(f"scaled_mm/blocks/{m}x{n}x{k}")
        a, b = s.code_bell((m, k)), s.codes((n, k))
        for label, rows in (("blocks", _blocks(n)), ("channels", n)):
            scales = s.scales((m, _blocks(k))), s.scales((rows, _blocks(k)))
            for order in (*ORDERS, *BLOCK_ORDERS):
                for out in ("float32", "bfloat16"):
                    more: dict[str, Any] = {"epilogue": order, "out_dtype": out}
                    if out == "bfloat16":
                        more["bias"] = s.normal((n,), BFLOAT16, exponent=4)
                    if order in BLOCK_ORDERS:
                        more["accumulate"] = "sm90_wgmma" if out == "bfloat16" else "exact"
                    yield f"blocks/{m}x{n}x{k}/{label}/{order}/{out}", _mm(a, b, *scales, **more)


def _block_sums() -> Named:
    """Ties made of blocks, and what lies far below them: one rounding of the exact sum tells them apart."""
    ones = np.zeros((1, 3 * BLOCK), dtype=np.float32)
    ones[0, ::BLOCK] = 1
    signs = np.repeat(ones, 4, axis=0)
    signs[:, 2 * BLOCK] = (1, -1, 0, 2.0**-9)
    signs[3] *= -1
    a, b = _values(ones), _values(signs)
    for name, power in (("float32", -24), ("bfloat16", -8), ("float16", -11)):
        for tiny in (-40, -100, -149):
            b_scale = np.tile(np.exp2(np.array([0, power, tiny])).astype(np.float32), (4, 1))
            arguments = _mm(a, b, np.ones((1, 3), np.float32), b_scale, out_dtype=name)
            yield f"block_sums/tie/{name}/{tiny}", arguments
            bias = np.full((4,), 2.0**-120, dtype=np.float32)
            yield f"block_sums/tie_with_bias/{name}/{tiny}", {**arguments, "bias": bias}
    s = Stream("scaled_mm/blocks/cancel")
    half, other = s.codes((5, BLOCK)), s.codes((6, BLOCK))
    a = np.concatenate([half, half, s.codes((5, 40))], axis=1)
    b = np.concatenate([other, (other.view(np.uint8) ^ 0x80).view(FLOAT8), s.codes((6, 40))], axis=1)
    left, right = s.scales((5, 3)), s.scales((6, 3))
    left[:, 1], right[:, 1] = left[:, 0], right[:, 0]
    for low in (0.0, 2.0**-149, 2.0**-60, 2.0**-30):
        left[:, 2] = low
        for out in OUT:
            bias = -s.normal((6,), FLOAT32, exponent=-30)
            arguments = _mm(a, b, left.copy(), right, out_dtype=out)
            yield f"block_sums/cancel/{low}/{out}", arguments
            yield f"block_sums/cancel_bias/{low}/{out}", {**arguments, "bias": bias}


def _block_specials() -> Named:
    s = Stream("scaled_mm/blocks/special")
    a, b = s.codes((10, 200)), s.codes((9, 200)).view(np.uint8).copy()
    b[3, 150], b[5, 0], b[6], b[7, :128] = 0x7F, 0xFF, 0, 0x80
    extremes = np.array([0, 2.0**-149, 2.0**-126, 2.0**-60, 1, 2.0**60, 3e38, np.inf, np.nan, np.inf], np.float32)
    left = np.stack([extremes, np.roll(extremes, 3)], axis=1)
    right = np.stack([np.roll(extremes, 1), np.roll(extremes, 5)], axis=1)[:9]
    for order in (*ORDERS[:1], *BLOCK_ORDERS):
        for label, bias in (("", None), ("/bias", np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 3e38, -3e38]))):
            offset = None if bias is None else bias.astype(np.float32)
            for out in OUT:
                more = {"bias": offset, "epilogue": order, "out_dtype": out}
                yield f"block_specials/{order}{label}/{out}", _mm(a, b, left, right, **more)
    e8m0 = np.array([0, 1, 0x60, 0x7F, 0x80, 0xFE, 0xFF, 0x7E, 0x40, 0x90], np.uint8).view(ml_dtypes.float8_e8m0fnu)
    rows = e8m0[:, None].copy()
    yield "e8m0/rows", _mm(a, b, rows, rows[1:].copy(), out_dtype="float32")
    pairs = np.stack([e8m0, e8m0[::-1]], axis=1)
    for order in ("a_b", *BLOCK_ORDERS):
        yield f"e8m0/blocks/{order}", _mm(a, b, pairs, pairs[1:], out_dtype="float32", epilogue=order)


def _e4m3() -> Named:
    """Ties of E4M3 that float32 cannot see, the thresholds 448, 464 and 480, signed zeros, all orders."""
    values = (0.0, 2.0**-9, 1.0, 1.0625, 448.0, 464.0, 465.0, 480.0, 2.0**-7)
    rows = [_summing_to(sign * value) for value in values for sign in (1, -1)]
    width = max(map(len, rows))
    a = _values([row + [0.0] * (width - len(row)) for row in rows])
    b = _values([[1.0] * width, [-0.5] * width])
    above, below = 1 + 2.0**-23, 1 - 2.0**-24
    for policy in POLICIES:
        more = {"out_dtype": "float8_e4m3fn", "overflow": policy}
        for scale in (0.0, 2.0**-149, 2.0**-10, 0.3, below, 1.0, above, 2.0**10, 3e38, np.inf, np.nan):
            yield f"e4m3/{policy}/{scale!r}", _mm(a, b, out_scale=np.float32(scale), **more)
        # out_scale was ignored for a release (pytorch#190449): here that changes every code.
        yield f"e4m3/{policy}/pytorch_190449", _mm(a, b, out_scale=np.float32(0.7), **more)
        tie = {"a_scale": np.float32(above), "b_scale": np.float32(below)}
        yield f"e4m3/{policy}/tie", _mm(a, b, **tie, out_scale=np.float32(below), **more)
        s = Stream(f"scaled_mm/e4m3/{policy}")
        for order in (*ORDERS, *BLOCK_ORDERS):
            x, y = s.codes((20, 140)), s.codes((21, 140))
            scales = s.scales((20, 2), -8, -2), s.scales((21, 2), -8, -2)
            bias = s.normal((21,), FLOAT32, exponent=4)
            yield (
                f"e4m3/{policy}/blocks/{order}",
                _mm(x, y, *scales, bias=bias, epilogue=order, out_scale=np.float32(0.37), **more),
            )
        yield f"e4m3/{policy}/rows", _mm(x, y, s.scales((20, 1)), s.scales((21, 1)), out_scale=ONE, bias=bias, **more)


def _errors() -> Named:
    a, b = np.zeros((3, 200), np.uint8), np.zeros((4, 200), np.uint8)
    good = _mm(a, b, np.ones((3, 2), np.float32), np.ones((1, 2), np.float32))
    changes: dict[str, dict[str, Any]] = {
        "only_a_in_blocks": {"b_scale": ONE},
        "only_b_in_blocks": {"a_scale": np.ones((3, 1), np.float32)},
        "blocks_of_a_missing": {"a_scale": np.ones((3, 3), np.float32)},
        "blocks_of_b_missing": {"b_scale": np.ones((2, 2), np.float32)},
        "negative_block": {"a_scale": np.array([[1, -1]] * 3, dtype=np.float32)},
        "values_with_a_block_order": {"a_scale": ONE, "b_scale": ONE, "epilogue": "triton"},
        "tensor_core_without_a_block_order": {"accumulate": "sm90_wgmma"},
        "split_k_with_a_block_order": {"epilogue": "deepgemm", "split_k": 2},
        "split_k_zero": {"split_k": 0},
        "epilogue_unknown": {"epilogue": "cutlass"},
        "e4m3_without_policy": {"out_dtype": "float8_e4m3fn", "out_scale": ONE},
        "e4m3_without_scale": {"out_dtype": "float8_e4m3fn", "overflow": "nan"},
        "e4m3_negative_scale": {"out_dtype": "float8_e4m3fn", "overflow": "nan", "out_scale": -ONE},
        "e4m3_scale_of_rows": {
            "out_dtype": "float8_e4m3fn",
            "overflow": "nan",
            "out_scale": np.ones((3, 1), np.float32),
        },
        "policy_unknown": {"out_dtype": "float8_e4m3fn", "overflow": "wrap", "out_scale": ONE},
        "out_scale_of_bf16": {"out_scale": ONE},
        "overflow_of_bf16": {"overflow": "nan"},
    }
    for name, change in changes.items():
        yield f"error/{name}", {**good, **change}


def block_cases() -> Iterator[Case]:
    """All of them, at every level."""
    for group in (_orders(), _block_shapes(), _block_sums(), _block_specials(), _e4m3(), _errors()):
        for name, arguments in group:
            yield Case(name, "scaled_mm", arguments)
