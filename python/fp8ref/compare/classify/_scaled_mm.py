# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about the scaled matrix product: its operands, scales, accumulator, order, bias and output.

A hypothesis changes one or two parts of :func:`product`, which is golden's ``scaled_mm`` with replaceable parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...golden import e4m3
from ...golden._args import FLOAT8
from ...golden._blocks import BLOCK
from ...golden._epilogue import EPILOGUES, fused
from ...golden._mm_args import ALL_EPILOGUES, ONE_VALUE
from ...golden._operand import ACCUMULATORS
from ...golden._round import round_to
from ...golden.scaled_mm import scaled_mm
from ._accumulators import Accumulate, backward, blas, in_types, named, splits, units
from ._broadcast import CODES, SCALES, TAILS
from ._evidence import Array
from ._golden import REFUSED, real
from ._rounding import finishes

Arguments = dict[str, Any]
Change = Callable[[Arguments], Arguments | None]
Finish = Callable[[Array, Arguments], Array | None]
Order = Callable[[Array, Array, Array, Array | None], Array]


@dataclass(frozen=True)
class Parts:
    """What is done in another way; None is golden's."""

    change: Change | None = None  # of the arguments
    accumulate: Accumulate | None = None
    order: Order | None = None  # accumulator, a_scale, b_scale (1, N), bias -> float32
    finish: Finish | None = None  # float32 -> result


def product(arguments: Arguments, parts: Parts) -> Array | None:
    """scaled_mm with other parts; None where they do not concern the call."""
    given: Arguments | None = dict(arguments)
    if parts.change is not None and given is not None:
        given = parts.change(given)
        if given is None:
            return None
    assert given is not None
    try:
        if parts.accumulate is None and parts.order is None:
            if parts.finish is None:
                return scaled_mm(**given)
            return parts.finish(_wide(given), given)
        z = _values(given, parts)
    except REFUSED:
        return None
    if z is None:
        return None
    return (parts.finish or _golden_finish)(z, given)


def _wide(arguments: Arguments) -> Array:
    """Golden's float32 result before the output's rounding."""
    return scaled_mm(**{**arguments, "out_dtype": "float32", "out_scale": None, "overflow": None})


def _golden_finish(z: Array, arguments: Arguments) -> Array:
    if arguments["out_dtype"] != FLOAT8.name:
        return round_to(z, arguments["out_dtype"])
    return e4m3.encode(z * np.float32(arguments["out_scale"]), arguments["overflow"])


def _values(arguments: Arguments, parts: Parts) -> Array | None:
    """float32 results of a product with one scale for each row and column; None with scales of blocks."""
    a, b = arguments["a"], arguments["b"]
    rows, columns = len(a), len(b)
    a_s, b_s = (np.asarray(arguments[name]).astype(np.float32) for name in ("a_scale", "b_scale"))
    fits = a_s.shape in (*ONE_VALUE, (rows, 1)) and b_s.shape in (*ONE_VALUE, (columns, 1))
    if not fits or arguments["epilogue"] not in EPILOGUES:
        return None
    how = parts.accumulate or named(arguments["accumulate"], arguments["split_k"])
    acc = how(a, b)
    if acc is None:
        return None
    bias = None if arguments["bias"] is None else np.asarray(arguments["bias"]).astype(np.float32)
    if parts.order is None:
        return EPILOGUES[arguments["epilogue"]](acc, a_s, b_s, bias)
    return parts.order(acc, a_s, b_s.T, bias)


# ---- orders of scales and bias -----------------------------------------------------------------------------------


def _once(acc: Array, a: Array, b: Array, bias: Array | None) -> Array:
    exact = real(a) * real(b) * real(acc)
    return round_to(exact if bias is None else exact + real(bias), "float32")


def _unfused(inner: Order) -> Order:
    def order(acc: Array, a: Array, b: Array, bias: Array | None) -> Array:
        z = inner(acc, a, b, None)
        return z if bias is None else z + bias

    return order


def _first(inner: Order) -> Order:
    def order(acc: Array, a: Array, b: Array, bias: Array | None) -> Array:
        return inner(acc if bias is None else acc + bias, a, b, None)

    return order


def _minus(inner: Order) -> Order:
    return lambda acc, a, b, bias: inner(acc, a, b, None if bias is None else -bias)


def _ab(acc: Array, a: Array, b: Array, bias: Array | None) -> Array:
    return (a * b) * acc if bias is None else fused(a * b, acc, bias)


PLAIN: dict[str, Order] = {
    "a_b": lambda acc, a, b, bias: a * (b * acc) if bias is None else fused(a, b * acc, bias),
    "b_a": lambda acc, a, b, bias: b * (a * acc) if bias is None else fused(b, a * acc, bias),
    "ab": _ab,
}


def _narrow(name: str, inner: Order) -> Order:
    """The accumulator rounded to a narrower type before it is scaled."""
    return lambda acc, a, b, bias: inner(round_to(acc, name).astype(np.float32), a, b, bias)


def orders() -> Iterator[tuple[str, str, Order]]:
    """Other orders of scales and bias: kind, detail, function."""
    yield "epilogue_order", "the scales are applied in one rounding, in float64", _once
    for name, order in PLAIN.items():
        yield "epilogue_order", f"{name}, and the bias is added after a rounding of its own", _unfused(order)
        yield "epilogue_order", f"{name}, and the bias is added before the scales", _first(order)
        yield "epilogue_order", f"{name}, and the bias is subtracted", _minus(order)
        for narrow in ("bfloat16", "float16"):
            yield (
                "double_rounding",
                f"accumulators are rounded to {narrow} before the scales ({name})",
                _narrow(narrow, order),
            )
            yield (
                "double_rounding",
                f"the bias is rounded to {narrow} ({name})",
                lambda acc, a, b, bias, o=order, n=narrow: o(  # type: ignore[misc]
                    acc, a, b, None if bias is None else round_to(bias, n).astype(np.float32)
                ),
            )


WIDE: dict[str, Order] = {
    "a_b": lambda z, a, b, bias: fused(a, round_to(b * z, "float32"), np.float32(0) if bias is None else bias),
    "b_a": lambda z, a, b, bias: fused(b, round_to(a * z, "float32"), np.float32(0) if bias is None else bias),
    "ab": lambda z, a, b, bias: round_to((a * b) * z + (0 if bias is None else real(bias)), "float32"),
    "nothing is rounded to float32, a_b": lambda z, a, b, bias: real(a) * (real(b) * z) + (
        0 if bias is None else real(bias)),
    "nothing is rounded to float32, b_a": lambda z, a, b, bias: real(b) * (real(a) * z) + (
        0 if bias is None else real(bias)),
    "nothing is rounded to float32, ab": lambda z, a, b, bias: (real(a) * real(b)) * z + (
        0 if bias is None else real(bias)),
}  # fmt: skip


def _wide_sums(a: Array, b: Array) -> Array:
    """Exact sums in float64, which are not rounded."""
    return real(a) @ real(b).T + 0.0


def _doubled(arguments: Arguments) -> Arguments:
    bias = arguments["bias"]
    return arguments if bias is None else {**arguments, "bias": np.asarray(bias).astype(np.float32) * np.float32(2)}


def _bias_last(arguments: Arguments, inner: Parts | None) -> Array | None:
    """The bias added to the rounded output; to one that has it already, if there is no inner product."""
    dtype, bias = arguments["out_dtype"], arguments["bias"]
    if bias is None or dtype == FLOAT8.name:
        return scaled_mm(**arguments)
    y = scaled_mm(**arguments) if inner is None else product({**arguments, "bias": None}, inner)
    return None if y is None else round_to(real(y).astype(np.float32) + np.asarray(bias).astype(np.float32), dtype)


# ---- outputs -------------------------------------------------------------------------------------------------------


def outputs() -> Iterator[tuple[str, str, Finish]]:
    """Other ways from the float32 result to the output: kind, detail, function."""

    def scaled(z: Array, arguments: Arguments) -> Array:
        scale = arguments["out_scale"]
        return z if scale is None else z * np.float32(scale)

    def eight(change: Callable[[Array, Any, str], Array]) -> Finish:
        def finish(z: Array, g: Arguments) -> Array | None:
            if g["out_dtype"] != FLOAT8.name:
                return _golden_finish(z, g)
            return change(z, np.float32(g["out_scale"]), g["overflow"])

        return finish

    for kind, detail, change in (
        ("double_rounding", "the result is rounded to bfloat16 before out_scale",
         lambda z, s, o: e4m3.encode(round_to(z, "bfloat16").astype(np.float32) * s, o)),
        ("double_rounding", "the result is rounded to float16 before out_scale",
         lambda z, s, o: e4m3.encode(round_to(z, "float16").astype(np.float32) * s, o)),
        ("missing_rounding", "z * out_scale is not rounded to float32",
         lambda z, s, o: e4m3.encode(real(z) * real(s), o)),
        ("reciprocal", "the result is divided by out_scale", lambda z, s, o: e4m3.encode(z / s, o)),
        ("reciprocal", "the result is multiplied by RN32(1/out_scale)",
         lambda z, s, o: e4m3.encode(z * (np.float32(1) / s), o)),
        ("scale_broadcast", "out_scale is not applied", lambda z, s, o: e4m3.encode(z, o)),
        ("overflow_policy", "overflow always saturates", lambda z, s, o: e4m3.encode(z * s, "saturate")),
        ("overflow_policy", "overflow always gives NaN", lambda z, s, o: e4m3.encode(z * s, "nan")),
        ("overflow_policy", "beyond 448 every number gives NaN", lambda z, s, o: e4m3.encode(
            np.where(np.abs(z * s) > 448, np.nan, z * s), o)),
    ):  # fmt: skip
        yield kind, detail, eight(change)
    for kind, detail, last in finishes():
        yield kind, detail, lambda z, g, f=last: f(scaled(z, g), g["out_dtype"], g["overflow"])  # type: ignore[misc]


# ---- operands scaled first ------------------------------------------------------------------------------------------


def _expanded(scale: Any, rows: int, k: int) -> Array | None:
    """The scale of each element (rows, K)."""
    array = np.asarray(scale).astype(np.float32)
    if array.size == 1:
        return np.broadcast_to(array.reshape(1, 1), (rows, k))
    if array.ndim != 2 or not array.size:
        return None
    tall = array if len(array) == rows else np.repeat(array, BLOCK, axis=0)[:rows]
    wide = tall if tall.shape[1] == 1 else np.repeat(tall, BLOCK, axis=1)[:, :k]
    return wide if wide.shape in ((rows, k), (rows, 1)) else None


def _dequantized(arguments: Arguments, name: str, sums: str) -> Array | None:
    """Both operands times their scales in a type, a product in another, the bias, the output."""
    sides = []
    for side in "ab":
        codes = arguments[side]
        scale = _expanded(arguments[f"{side}_scale"], *codes.shape)
        if scale is None:
            return None
        value = real(codes) * real(scale)
        sides.append(value if name == "float64" else real(round_to(value, name)))
    work = sides if sums == "float64" else [x.astype(np.float32) for x in sides]
    z = round_to(work[0] @ work[1].T + 0.0, "float32")
    bias = arguments["bias"]
    return _golden_finish(z if bias is None else z + np.asarray(bias).astype(np.float32), arguments)


# ---- the table ------------------------------------------------------------------------------------------------------


def _policies(**values: Any) -> Change:
    return lambda arguments: {**arguments, **values}


def hypotheses() -> Iterator[tuple[str, str, int, Callable[[Arguments], Any]]]:
    """All of scaled_mm: kind, detail, wave, prediction of arguments."""

    def part(**changes: Any) -> Callable[[Arguments], Any]:
        return lambda arguments: product(arguments, Parts(**changes))

    for name in ACCUMULATORS:
        yield "accumulator", name, 0, part(change=_policies(accumulate=name))
        yield "accumulator", f"{name} without split-K", 0, part(change=_policies(accumulate=name, split_k=1))
    for name in ALL_EPILOGUES:
        yield "epilogue_order", name, 0, part(change=_policies(epilogue=name))
    yield "epilogue_order", "without the bias", 0, part(change=_policies(bias=None))
    yield "epilogue_order", "the bias is added twice", 0, part(change=_doubled)
    yield "epilogue_order", "the bias is added again to the rounded output", 0, lambda g: _bias_last(g, None)
    for table in (SCALES, CODES, TAILS):
        for kind, detail, change in table():
            yield kind, detail, 0, part(change=change)
    for kind, detail, order in orders():
        yield kind, detail, 0, part(order=order)
    for detail, inner in (("", Parts()), *((f" ({name})", Parts(order=order)) for name, order in PLAIN.items())):
        words = f"the bias is added to the rounded output{detail}"
        yield "epilogue_order", words, 0, lambda arguments, p=inner: _bias_last(arguments, p)  # type: ignore[misc]
    for kind, detail, finish in outputs():
        yield kind, detail, 0, part(finish=finish)
    for name in ("float64", "float32", "bfloat16", "float16"):
        for sums in ("float64", "float32"):
            kind = "epilogue_order" if name.startswith("float") and name != "float16" else "double_rounding"
            words = f"operands are multiplied by their scales in {name} first, and summed in {sums}"
            yield kind, words, 0, lambda arguments, n=name, s=sums: _dequantized(arguments, n, s)  # type: ignore[misc]
    for detail, order in WIDE.items():
        words = f"sums stay in float64 until they are scaled ({detail})"
        yield "missing_rounding", words, 0, part(accumulate=_wide_sums, order=order)
        if not detail.startswith("nothing"):
            words = f"{words}, and the bias is added after a rounding of its own"
            yield "missing_rounding", words, 0, part(accumulate=_wide_sums, order=_unfused(order))
    for name, order in PLAIN.items():
        for words, own in (("", order), (", the bias after a rounding of its own", _unfused(order))):
            detail = f"float32, as numpy's matrix product adds, with the epilogue {name}{words}"
            yield "accumulator", detail, 0, part(accumulate=blas, order=own)
    for detail, wave, accumulate in in_types():
        yield "accumulator", detail, wave, part(accumulate=accumulate)
    for detail, accumulate in splits():
        yield "accumulator", detail, 1, part(accumulate=accumulate)
    for name in ACCUMULATORS:
        yield "accumulator", f"{name}, from the end of K", 1, part(accumulate=backward(name))
        for order_name in ALL_EPILOGUES:
            change = _policies(accumulate=name, epilogue=order_name)
            yield "accumulator", f"{name}, with the epilogue {order_name}", 1, part(change=change)
    for detail, accumulate in units():
        yield "accumulator", detail, 2, part(accumulate=accumulate)
