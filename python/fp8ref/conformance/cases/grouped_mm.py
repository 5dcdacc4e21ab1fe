# SPDX-License-Identifier: Apache-2.0
"""Cases of grouped_mm: empty groups, rows of no group, results in place, every shape of the scales, bad offsets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...golden._operand import ACCUMULATORS
from ._case import Case
from ._scaled_e5m2 import grouped_e5m2_cases
from ._stream import BFLOAT16, FLOAT8, FLOAT32, Array, Stream

ORDERS = ("a_b", "b_a", "ab")
BLOCK_ORDERS = ("deepgemm", "triton", "triton_ba")
ONE = np.float32(1)

# Offsets of 4 experts into 9 rows.
OFFSETS = {
    "all_rows": (0, 2, 3, 6, 9),
    "empty_groups": (0, 0, 4, 4, 9),
    "empty_at_the_end": (0, 3, 9, 9, 9),
    "rows_of_no_group": (2, 4, 4, 5, 7),
    "one_expert": (0, 0, 9, 9, 9),
    "no_rows": (4, 4, 4, 4, 4),
}


def _call(s: Stream, offsets: Any, n: int = 5, k: int = 160, **more: Any) -> dict[str, Any]:
    bounds = offsets if isinstance(offsets, np.ndarray) else np.array(offsets, dtype=np.int32)
    arguments = {"a": s.codes((9, k)), "b": s.codes((4, n, k)), "offsets": bounds}
    return {**arguments, "a_scale": s.scales((9, 1)), "b_scale": s.scales((4, n, 1)), **more}


def _groups() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, offsets in OFFSETS.items():
        s = Stream(f"grouped_mm/{name}")
        yield name, _call(s, offsets)
        yield f"{name}/int64", _call(s, np.array(offsets, dtype=np.int64), out_dtype="float32")
        yield f"{name}/in_place", _call(s, offsets, out=s.bits((9, 5), FLOAT32), out_dtype="float32")
    s = Stream("grouped_mm/in_place_e4m3")
    policy: dict[str, Any] = {"out_dtype": "float8_e4m3fn", "out_scale": np.float32(0.125), "overflow": "saturate"}
    yield "in_place_e4m3", _call(s, OFFSETS["rows_of_no_group"], out=s.bits((9, 5), FLOAT8), **policy)
    empty = {"b": np.zeros((0, 5, 160), np.uint8), "b_scale": ONE, "offsets": np.array([3], dtype=np.int32)}
    yield "no_experts", {**_call(s, [3]), **empty}
    yield "no_rows_in_a", {**_call(s, [0] * 5), "a": np.zeros((0, 160), np.uint8), "a_scale": ONE}
    yield "k_is_zero", _call(s, OFFSETS["all_rows"], k=0, bias=s.normal((4, 5)))


def _scales() -> Iterator[tuple[str, dict[str, Any]]]:
    s = Stream("grouped_mm/scales")
    offsets = OFFSETS["rows_of_no_group"]
    for label, shape in (("one", ()), ("experts", (4,)), ("channels", (4, 5, 1))):
        b_scale = s.scales(shape) if shape else ONE
        yield f"scales/{label}", _call(s, offsets, b_scale=b_scale, a_scale=np.float32(0.3))
        yield f"scales/{label}/rows", _call(s, offsets, b_scale=b_scale)
    for order in (*ORDERS, *BLOCK_ORDERS):
        for label, columns in (("channels", 131), ("blocks", 2)):
            scales: dict[str, Any] = {"a_scale": s.scales((9, 2)), "b_scale": s.scales((4, columns, 2))}
            yield f"blocks/{order}/{label}", _call(s, offsets, n=131, epilogue=order, **scales)
    for order in ORDERS:
        for accumulate in ("exact", "sm90_wgmma"):
            more: dict[str, Any] = {
                "bias": s.normal((4, 5), BFLOAT16, exponent=2),
                "epilogue": order,
                "accumulate": accumulate,
            }
            yield f"policy/{order}/{accumulate}", _call(s, (0, 1, 1, 6, 8), out_dtype="float32", **more)


def _traps() -> Iterator[tuple[str, dict[str, Any]]]:
    """What leaks from one group into another, or from rows of no group, and experts that are dead."""
    offsets: Any = OFFSETS["rows_of_no_group"]
    f32: dict[str, Any] = {"out_dtype": "float32"}
    s = Stream("grouped_mm/padding")
    call = _call(s, offsets, **f32)
    for row in (0, 1, 7, 8):  # of no group
        call["a"].view(np.uint8)[row] = 0x7F
        call["a_scale"][row] = np.inf
    yield "padding_is_nan", call
    yield "padding_is_nan/in_place", {**call, "out": s.bits((9, 5), FLOAT32)}
    # Each expert has weights of its own size: a row of the neighbour shows in every bit.
    apart = _call(s, OFFSETS["all_rows"], **f32)
    apart["b_scale"] = np.ldexp(apart["b_scale"], np.array([-30, 30, -10, 10])[:, None, None]).astype(np.float32)
    for name in ("all_rows", "empty_groups", "rows_of_no_group"):
        yield f"boundary/{name}", {**apart, "offsets": np.array(OFFSETS[name], np.int32)}
    yield "boundary/one_row_each", {**apart, "offsets": np.array([2, 3, 4, 5, 6], np.int32)}
    special = _call(s, OFFSETS["all_rows"], **f32)
    special["a"].view(np.uint8)[3, 9], special["b"].view(np.uint8)[2, 1, 7] = 0x7F, 0xFF
    yield "nan_codes", special
    # An expert that no token reached in calibration: zeros, and scales of 1e-23 (vllm#34914).
    dead = _call(s, OFFSETS["all_rows"], bias=s.normal((4, 5)))
    dead["b"].view(np.uint8)[1], dead["b_scale"][1] = 0, 1e-23
    dead["a"].view(np.uint8)[4], dead["a_scale"][4] = 0x80, 0
    yield "dead_expert", dead
    blocks = {"a_scale": s.scales((9, 2)), "b_scale": s.scales((4, 1, 2))}
    blocks["b_scale"][1], blocks["a_scale"][4] = 1e-23, 2.2321428e-13
    for order in BLOCK_ORDERS:
        yield f"dead_expert/{order}", {**dead, **blocks, "epilogue": order}


def _sums() -> Iterator[tuple[str, dict[str, Any]]]:
    """The traps of a product, in one group beside others: midpoints, cancellation, exponents far apart, tails of K."""
    s = Stream("grouped_mm/sums")
    tiny = 2.0**-9
    a = np.zeros((9, 3), np.float32)
    a[2:5], a[6] = [256, 16, tiny], [-256, 16, -tiny]
    b = np.tile(np.array([[256, x, y] for x in (16, -16) for y in (0, tiny, -tiny)][:5], np.float32), (4, 1, 1))
    plain: dict[str, Any] = {"a_scale": ONE, "b_scale": ONE}
    yield "bf16_midpoint", _call(s, (0, 2, 5, 5, 8), k=3, a=a.astype(FLOAT8), b=b.astype(FLOAT8), **plain)
    spread = _call(s, OFFSETS["all_rows"], k=130)
    for accumulate in ACCUMULATORS:
        more: dict[str, Any] = {"accumulate": accumulate, "out_dtype": "float32"}
        yield f"spread/{accumulate}", {**spread, **more}
        half, other = s.codes((9, 65)), s.codes((4, 5, 65))
        negative = (other.view(np.uint8) ^ 0x80).view(FLOAT8)
        both = {"a": np.concatenate([half, half], axis=1), "b": np.concatenate([other, negative], axis=2)}
        yield f"cancel/{accumulate}", {**spread, **both, **more}
        for k in (1, 33, 127, 257):
            yield f"tail_{k}/{accumulate}", _call(s, OFFSETS["empty_groups"], k=k, **more)


def _errors() -> Iterator[tuple[str, dict[str, Any]]]:
    s = Stream("grouped_mm/errors")
    good = _call(s, OFFSETS["all_rows"])
    changes: dict[str, dict[str, Any]] = {
        "decreasing": {"offsets": np.array([0, 3, 2, 6, 9])},
        "below_zero": {"offsets": np.array([-1, 2, 3, 6, 9])},
        "beyond_the_rows": {"offsets": np.array([0, 2, 3, 6, 10])},
        "too_few_offsets": {"offsets": np.array([0, 2, 3, 9])},
        "fractional_offsets": {"offsets": np.array([0, 2, 3, 6, 9.0])},
        "k_differs": {"b": good["b"][:, :, :-1]},
        "scale_shape": {"b_scale": np.ones((3,), np.float32)},
        "bias_shape": {"bias": np.ones((5,), np.float32)},
        "out_shape": {"out": np.zeros((9, 4), np.float32), "out_dtype": "float32"},
        "out_dtype": {"out": np.zeros((9, 5), np.float64), "out_dtype": "float32"},
        "policy": {"overflow": "nan"},
    }
    for name, change in changes.items():
        yield f"error/{name}", {**good, **change}


def _large() -> Iterator[tuple[str, dict[str, Any]]]:
    s = Stream("grouped_mm/full")
    a, b = s.code_bell((96, 576)), s.code_bell((8, 256, 576))
    offsets = np.array([0, 1, 1, 30, 31, 64, 64, 90, 96], dtype=np.int64)
    kinds: list[tuple[str, Array, Array]] = [
        ("channels", s.scales((96, 1)), s.scales((8, 256, 1))),
        ("blocks", s.scales((96, 5)), s.scales((8, 2, 5))),
    ]
    for label, a_scale, b_scale in kinds:
        yield f"experts/{label}", {"a": a, "b": b, "a_scale": a_scale, "b_scale": b_scale, "offsets": offsets}


def cases(level: str) -> Iterator[Case]:
    """Groups, scales and policies, errors; at the full level experts of a usual size."""
    groups = [_groups(), _scales(), _traps(), _sums(), _errors()]
    if level == "full":
        groups.append(_large())
    for group in groups:
        for name, arguments in group:
            yield Case(name, "grouped_mm", arguments)
    yield from grouped_e5m2_cases()
