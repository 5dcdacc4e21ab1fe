# SPDX-License-Identifier: Apache-2.0
"""What follows the sums: the order of scales, the bias, the output's rounding, subnormal results.

[FINGERPRINT-EPILOGUE] The sum is a single product, so every accumulator has it exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ...golden._exact import round_odd, two_sum
from ...golden._round import FORMATS, round_to
from ..cases._stream import FLOAT8, Array, Stream
from ..outcome import difference
from ._arithmetic import ROUNDINGS
from ._infer import Finding
from ._subject import RefusedError, Subject

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
POOL = 1 << 15  # random operands, of which those that tell most are asked
BITS = 22  # of scales: the product of two and of two codes has 52 bits and is exact in float64
ASKED = 24  # calls, where a target takes only one scale for all


@dataclass(frozen=True)
class Operands:
    """Products a * b with their scales, and a bias that nearly cancels them."""

    a: Float64
    b: Float64
    a_scale: Float64
    b_scale: Float64
    bias: Float64

    def pick(self, which: NDArray[np.intp]) -> Operands:
        """Some of them."""
        return Operands(*(getattr(self, name)[which] for name in vars(self)))


def _rn(x: Float64) -> Float64:
    return x.astype(np.float32).astype(np.float64)


Factors = Callable[[Operands], tuple[Float64, Float64]]
# The last multiplication of each order, [MM-EPILOGUE-A-B] and its neighbours; and what is none of them.
ORDERS: Mapping[str, Factors] = {
    "a_b": lambda x: (x.a_scale, _rn(x.b_scale * (x.a * x.b))),
    "b_a": lambda x: (x.b_scale, _rn(x.a_scale * (x.a * x.b))),
    "ab": lambda x: (_rn(x.a_scale * x.b_scale), x.a * x.b),
    "one rounding": lambda x: (x.a_scale * x.b_scale * (x.a * x.b), np.ones_like(x.a)),
    "operands": lambda x: (_rn(x.a * x.a_scale), _rn(x.b * x.b_scale)),
}


def _fused(x: Float64, y: Float64, bias: Float64, out: str) -> Array:
    return round_to(round_to(round_odd(*two_sum(x * y, bias)), "float32"), out)


def _separate(x: Float64, y: Float64, bias: Float64, out: str) -> Array:
    return round_to((_rn(x * y) + bias).astype(np.float32), out)


def _after(x: Float64, y: Float64, bias: Float64, out: str) -> Array:
    return round_to((round_to(x * y, out).astype(np.float64) + bias).astype(np.float32), out)


# Where the bias is added: with the last multiplication in one rounding, after it, or to the rounded output.
BIASES = {"fused": _fused, "added": _separate, "added to the output": _after}


def _pool(name: str, precision: int, near: str) -> Operands:
    """Random operands whose scaled product lies next to a midpoint or a number of ``precision`` bits."""
    s = Stream(f"fingerprint/{name}")
    a, b = (8 + s.integers((POOL,), 0, 8) for _ in range(2))
    a_scale = ((1 << (BITS - 1)) + s.integers((POOL,), 0, 1 << (BITS - 1))) * 2.0 ** (1 - BITS)
    half = 0.5 if near == "midpoint" else 0.0
    target = ((1 << (precision - 1)) + s.integers((POOL,), 0, 1 << (precision - 1)) + half) * 2.0 ** (1 - precision)
    raw = target / (a_scale * (a * b / 64.0))
    b_scale = np.ldexp(np.rint(np.ldexp(raw, BITS - np.frexp(raw)[1])), np.frexp(raw)[1] - BITS)
    return Operands(*(np.asarray(x, np.float64) for x in (a / 8.0, b / 8.0, a_scale, b_scale, -target)))


def _telling(outputs: Mapping[str, Array], count: int) -> NDArray[np.intp]:
    """Places where the candidates differ, as many for each pair of them as there is room for."""
    names = list(outputs)
    pairs = [(p, q) for i, p in enumerate(names) for q in names[i + 1 :]]
    each = max(1, count // len(pairs))
    found = []
    for turn, (p, q) in enumerate(pairs):
        places = np.flatnonzero(difference(outputs[p], outputs[q]))
        found.append(np.roll(places, -turn * each)[:each])
    return np.unique(np.concatenate(found)[:count])


def _ask(subject: Subject, x: Operands, more: Callable[[Float64], Mapping[str, Array]]) -> Array:
    """The target's outputs: on the diagonal of one product, or one call each where it takes no rows of scales."""
    rows = subject.rows
    count = len(x.a)

    def padded(values: Float64, fill: float) -> Float64:
        return np.concatenate([values, np.full(rows - len(values), fill)])

    def product(which: Operands, a_scale: Array, b_scale: Array) -> Array:
        a, b = np.zeros((rows, 128), np.float32), np.zeros((rows, 128), np.float32)
        a[:, 0], b[:, 0] = padded(which.a, 0), padded(which.b, 0)
        bias = padded(which.bias, 0)
        return np.diagonal(subject.mm(a.astype(FLOAT8), b.astype(FLOAT8), a_scale, b_scale, **more(bias))).copy()

    try:
        scales = [padded(s, 1.0).astype(np.float32)[:, None] for s in (x.a_scale, x.b_scale)]
        return product(x, *scales)[:count]
    except RefusedError:
        found = []
        for i in range(min(count, ASKED)):
            one = x.pick(np.array([i]))
            found.append(product(one, one.a_scale.astype(np.float32)[0], one.b_scale.astype(np.float32)[0])[:1])
        return np.concatenate(found)


def _fits(outputs: Mapping[str, Array], which: NDArray[np.intp], got: Array) -> list[str]:
    return [name for name, out in outputs.items() if not difference(out[which][: len(got)], got).any()]


def _scales(subject: Subject) -> Iterator[Finding]:
    precision = FORMATS[subject.out_dtype].precision
    x = _pool("scales", precision, "midpoint")
    outputs = {name: round_to(_rn(np.multiply(*of(x))), subject.out_dtype) for name, of in ORDERS.items()}
    which = _telling(outputs, subject.rows)
    try:
        got = _ask(subject, x.pick(which), lambda _: {})
    except RefusedError as error:
        yield Finding("epilogue", "not supported", str(error))
        return
    fits = _fits(outputs, which, got)
    evidence = f"{len(got)} single products with scales for which the orders differ"
    yield Finding("epilogue", " or ".join(fits) or f"none of {', '.join(ORDERS)}", evidence)


def _bias(subject: Subject) -> Iterator[Finding]:
    x = _pool("bias", 8, "number")
    outputs = {
        f"{order} {name}": add(*of(x), x.bias, subject.out_dtype)
        for order, of in ORDERS.items()
        for name, add in BIASES.items()
        if add is not _after or subject.out_dtype != "float32"  # where it is the same as "added"
    }
    which = _telling(outputs, subject.rows)
    for dtype in (ml_dtypes.bfloat16, np.float32):

        def bias(values: Float64, dtype: type = dtype) -> Mapping[str, Array]:
            return {"bias": values.astype(np.float32).astype(dtype)}

        try:
            got = _ask(subject, x.pick(which), bias)
        except RefusedError:
            continue
        fits = _fits(outputs, which, got)
        ways = list(dict.fromkeys(name for name in BIASES for fit in fits if fit.endswith(f" {name}")))
        evidence = f"{len(got)} products with a bias that nearly cancels them; fits: {', '.join(fits) or 'nothing'}"
        yield Finding("bias", " or ".join(ways) or "in no known way", evidence)
        return
    yield Finding("bias", "not supported", "neither in bfloat16 nor in float32")


def _rounding(subject: Subject) -> Iterator[Finding]:
    """Sums of a few products that the output's format does not hold. [FINGERPRINT-OUTPUT]"""
    for out in ("bfloat16", "float16"):
        top = 2.0 ** FORMATS[out].precision
        tails = (0.5, 1.0, 1.5, 2.5, 3.0, 3.5)
        a, b = np.zeros((subject.rows, 128), np.float32), np.zeros((subject.rows, 128), np.float32)
        signed = [(tail, sign) for tail in tails for sign in (1, -1)]
        for row, (tail, sign) in enumerate(signed):
            half = top / 64
            a[row, :3], b[row, :3] = (sign * half, sign * tail, 0), (64, 1, 0)
        try:
            got = np.diagonal(subject.mm(a.astype(FLOAT8), b.astype(FLOAT8), out_dtype=out))[: len(signed)]
        except RefusedError:
            continue
        values = np.array([sign * (top + tail) for tail, sign in signed])
        fits = [n for n, r in ROUNDINGS.items() if (2 * r(values / 2) == got.astype(np.float64)).all()]
        yield Finding(f"rounding to {out}", " or ".join(fits) or "in no known way", f"sums of {top:g} and up to 3.5")


def _subnormals(subject: Subject) -> Iterator[Finding]:
    fmt = FORMATS[subject.out_dtype]
    value = 3 * 2.0 ** (fmt.emin - 3)
    a = np.zeros((subject.rows, 128), np.float32)
    a[:, 0] = 1
    b = a.copy()
    b[:, 0] = 1.5
    half = (fmt.emin - 2) // 2
    try:
        got = subject.mm(a.astype(FLOAT8), b.astype(FLOAT8), 2.0**half, 2.0 ** (fmt.emin - 2 - half))[0, 0]
    except RefusedError:
        return
    kept = "kept" if float(got) == value else "flushed" if float(got) == 0 else "changed"
    yield Finding("subnormal results", kept, f"3 * 2^{fmt.emin - 3} in {subject.out_dtype}")


def infer_epilogue(subject: Subject) -> Iterator[Finding]:
    """The findings that need no knowledge of the sums."""
    for probe in (_scales, _bias, _rounding, _subnormals):
        yield from probe(subject)
