# SPDX-License-Identifier: Apache-2.0
"""The steps that rules are made of, each word of a row as one function. spec/quantize.md"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import e4m3
from ._round import FORMATS, Array, round_to, widen
from ._rule import Rule

Number = NDArray[Any]  # float32, or float64 where a rule works in it
Float32 = NDArray[np.float32]

TILE = 128  # elements of a group, and rows of a block
BLOCK = 1 << 18  # elements worked on at once


class Scale(NamedTuple):
    """What amax has become: the scale, and the multiplier of rules that quantize by one."""

    s: Number
    a: Number


# ---- one rounding each -----------------------------------------------------------------------------------------------


def _round(x: Number, name: str) -> Number:
    return x if name == "float64" else widen(round_to(x, name))


def divide(x: Any, y: Any, name: str) -> Number:
    """RN of x / y to the format ``name``. [QUANT-DIVIDE]

    Through float32 this is still one rounding: the quotient of two numbers of at most 11 bits is a midpoint of their
    format, or further from it than float32's rounding moves it (one part in 2**24; the same holds for subnormals).
    """
    return _round(np.divide(x, y, dtype=np.float64 if name == "float64" else np.float32), name)


def multiply(x: Any, y: Any, name: str) -> Number:
    """RN of x * y to the format ``name``; the product of two 16-bit floats is exact in float64."""
    return _round(np.multiply(x, y, dtype=np.float32 if name == "float32" else np.float64), name)


def reciprocal(x: Any, name: str) -> Number:
    """RN of 1 / x."""
    return divide(np.float32(1.0), x, name)


# ---- amax and the scale of each element ------------------------------------------------------------------------------


def scale_shape(granularity: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the scale of a tensor (rows, K). [QUANT-TILES]"""
    if granularity == "tensor":
        return ()
    rows, k = shape
    groups = -(-k // TILE)
    return {"row": (rows, 1), "group": (rows, groups), "block": (-(-rows // TILE), groups)}[granularity]


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows that are worked on together; no block of 128 rows is cut."""
    step = max(1, BLOCK // (TILE * max(shape[1], 1))) * TILE
    yield from (slice(start, start + step) for start in range(0, shape[0], step))


def _starts(length: int) -> NDArray[np.intp]:
    return np.arange(0, length, TILE)


def amax(x: Array, rule: Rule) -> Float32:
    """The largest magnitude of each row, group or block, or of all. [QUANT-AMAX]"""
    if x.size == 0:
        return np.full(scale_shape(rule.granularity, x.shape), rule.empty_amax, np.float32)
    parts = []
    for part in strips(x.shape):
        magnitude = np.abs(widen(x[part]))
        if rule.amax_nan == "ignored":  # not by np.fmax, which lets a signaling NaN through in some positions
            magnitude = np.where(np.isnan(magnitude), np.float32(0), magnitude)
        if rule.granularity in ("row", "tensor"):
            magnitude = np.maximum.reduce(magnitude, axis=1, keepdims=True)
        else:
            magnitude = np.maximum.reduceat(magnitude, _starts(x.shape[1]), axis=1)
        if rule.granularity == "block":
            magnitude = np.maximum.reduceat(magnitude, _starts(len(magnitude)), axis=0)
        parts.append(magnitude)
    found = np.concatenate(parts)
    return np.asarray(np.maximum.reduce(found, axis=None) if rule.granularity == "tensor" else found)


def spread(scale: Number, shape: tuple[int, ...], part: slice) -> Number:
    """The scale of each element of some rows of (rows, K), ready to be broadcast. [QUANT-TILES]"""
    if scale.ndim == 0:
        return scale
    rows, k = shape
    if len(scale) == rows:
        scale = scale[part]
    else:
        blocks = np.repeat(scale[part.start // TILE : -(-part.stop // TILE)], TILE, axis=0)
        scale = blocks[: min(part.stop, rows) - part.start]
    return scale if scale.shape[1] == 1 else np.repeat(scale, TILE, axis=1)[:, :k]


# ---- the scale -------------------------------------------------------------------------------------------------------


def _of_multiplier(a: Number) -> Scale:
    return Scale(reciprocal(a, "float32"), a)


def _product(m: Number, name: str) -> Number:
    return multiply(m, np.float32(1 / 448), name)


def _two_roundings(m: Number, name: str) -> Number:
    """RN(RN(1 / m) * 448) as float32: what ``448.0 / tensor`` is in torch. [QUANT-RDIV]"""
    return widen(round_to(multiply(reciprocal(m, name), np.float32(448.0), name), "float32"))


# amax and a format -> the scale, and the multiplier (0 where a rule has none).
NONE = np.zeros((), np.float32)
SCALES_OF: dict[str, Callable[[Number, str], Scale]] = {
    "amax/448": lambda m, name: Scale(divide(m, np.float32(448.0), name), NONE),
    "amax*(1/448)": lambda m, name: Scale(_product(m, name), NONE),
    "1/(448/amax)": lambda m, name: _of_multiplier(divide(np.float32(448.0), m, name)),
    "1/((1/amax)*448)": lambda m, name: _of_multiplier(_two_roundings(m, name)),
    "amax*(1/448), 448/amax": lambda m, name: Scale(_product(m, name), divide(np.float32(448.0), m, name)),
}

UNIT_AMAX: dict[str, Callable[[Number], NDArray[np.bool_]]] = {
    "none": lambda m: np.zeros(m.shape, np.bool_),
    "zero or infinite": lambda m: (m == 0) | np.isinf(m),
    "zero or NaN": lambda m: (m == 0) | np.isnan(m),
}

# The type of x -> what an infinite multiplier becomes.
INFINITE: dict[str, Callable[[str], float]] = {
    "kept": lambda name: np.inf,
    "one": lambda name: 1.0,
    "largest float32": lambda name: FORMATS["float32"].largest,
    "largest input": lambda name: FORMATS[name].largest,
}


# ---- powers of two ---------------------------------------------------------------------------------------------------


def _exp2(n: Number) -> Float32:
    """2**n as float32, for whole or infinite n; NaN stays. Two factors, as one of them alone may overflow."""
    whole = np.where(np.isfinite(n), n, 0.0).astype(np.int32)
    power = round_to(np.ldexp(1.0, np.clip(whole, -200, 200)), "float32")
    return np.where(np.isfinite(n), power, np.where(n < 0, np.float32(0), widen(n)))


def _log2(x: Number, name: str) -> Number:
    """RN_T(log2 x). [QUANT-LOG2]

    From float64's log2, whose error of a few units of 2**-53 * 128 could only matter within 2**-44 of a midpoint of T.
    For the types of 16 bits no logarithm lies there (all were tried). For float32 what follows is ceil, floor or
    round, so only midpoints beside a whole or a half number count: near a power of two the logarithm is a multiple of
    2**-24/ln(2) but for 2**-47, and sqrt(2) lies 0.2 units of 2**-23 from the next float32.
    """
    return widen(round_to(np.log2(np.asarray(x, np.float64)), name))


def _down(x: Number) -> Float32:
    """The largest power of two that is not above x: the mantissa cleared."""
    _, exponent = np.frexp(x)
    return np.where(np.isfinite(x), np.ldexp(np.float32(1), exponent - 1), x).astype(np.float32)


def _up(x: Number) -> Float32:
    """The least power of two that is not below x: the exponent, one more where the mantissa is not 0."""
    below = _down(x)
    return np.where(below < x, np.float32(2) * below, below)


def _finite(power: Float32) -> Float32:
    """The exponent clamped to 254: Inf and NaN become 2**127."""
    return np.where(np.isfinite(power), power, np.float32(2.0**127))


def _without_infinity(power: Float32) -> Float32:
    """As float8_e8m0fnu holds it: its code 255 is NaN."""
    return np.where(np.isinf(power), np.float32(np.nan), power)


# The scale (for the two "down": the multiplier) and the type of x -> a power of two. [QUANT-UE8M0]
POWERS: dict[str, Callable[[Number, str], Number]] = {
    "none": lambda x, name: x,
    "down": lambda x, name: _down(x),
    "log2 down": lambda x, name: _exp2(np.floor(_log2(x, "float32"))),
    "up": lambda x, name: _up(x),
    "up, finite": lambda x, name: _finite(_up(x)),
    "log2 up": lambda x, name: _exp2(np.ceil(_log2(x, "float32"))),
    "log2 up, no infinity": lambda x, name: _without_infinity(_exp2(np.ceil(_log2(x, "float32")))),
    "log2 nearest": lambda x, name: _exp2(np.rint(_log2(x, name))),
}


# ---- the codes -------------------------------------------------------------------------------------------------------


def _guarded(s: Number, name: str) -> Number:
    return np.where(s == 0, np.float32(0), reciprocal(s, name))


# x, the scale, the multiplier and a format -> the number that is encoded.
QUOTIENTS: dict[str, Callable[[Float32, Scale, str], Number]] = {
    "x/s": lambda x, of, name: divide(x, of.s, name),
    "x*(1/s)": lambda x, of, name: multiply(x, reciprocal(of.s, name), name),
    "x*(1/s), 1/0 is 0": lambda x, of, name: multiply(x, _guarded(of.s, name), name),
    "x*a": lambda x, of, name: multiply(x, of.a, name),
}


def type_of(name: str, x: Array) -> str:
    """``"input"`` as a type is that of x."""
    return x.dtype.name if name == "input" else name


def codes_of(x: Array, rule: Rule, scale: Scale) -> NDArray[np.uint8]:
    """Codes of some rows. [QUANT-CODE], [QUANT-NAN], [QUANT-INF], [QUANT-MINUS-ZERO]"""
    y = QUOTIENTS[rule.quantize](widen(x), scale, type_of(rule.quantize_type, x))
    if rule.zero == "positive":
        y = y + np.float32(0.0)
    codes = e4m3.encode(y, "saturate").view(np.uint8)
    codes[np.isnan(y)] = rule.nan_code
    return codes
