# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about encode and decode: roundings, overflow, special values, other formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

from ...golden import e4m3
from ...golden._args import E5M2, FLOAT8
from ._evidence import Array, Evidence
from ._golden import full_arguments, real
from ._rounding import DIRECTIONS, directed, finishes, format_number, shortened
from ._try import Hypothesis

Encode = Callable[[Array, str], Array]
Finish = Callable[[Array, str, str | None], Array]


def _of(change: Encode) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        given = full_arguments(call)
        return np.asarray(change(real(given["x"]), given["overflow"])).reshape(np.shape(given["x"]))

    return predict


def _codes(x: Array, overflow: str, change: Callable[[Array, Array], Array]) -> Array:
    """Golden's codes, changed by the numbers and the codes."""
    codes = e4m3.encode(x, overflow).view(np.uint8)
    return np.asarray(change(x, codes)).astype(np.uint8).view(FLOAT8)


def _where(mask: Callable[[Array, Array], Array], code: Callable[[Array], Any]) -> Encode:
    return lambda x, o: _codes(x, o, lambda v, c: np.where(mask(v, c), code(v), c))


def _signed(code: int) -> Callable[[Array], Any]:
    return lambda v: np.where(np.signbit(v), 0x80 | code, code)


def _beyond(limit: float, inclusive: str) -> Encode:
    """NaN from a limit on, under either policy."""

    def change(x: Array, overflow: str) -> Array:
        over = np.abs(x) >= limit if inclusive == "from" else np.abs(x) > limit
        return _codes(x, "saturate", lambda v, c: np.where(over | np.isnan(v), _signed(0x7F)(v), c))

    return change


def _top_codes(x: Array, overflow: str) -> Array:
    """0x7F is 480: the next binade goes on to its end."""
    del overflow
    grid = np.clip(real(directed(np.clip(x, -480, 480), "bfloat16", np.rint)), -480, 480)
    codes = e4m3.encode(grid, "saturate").view(np.uint8)
    return np.where(np.abs(x) >= 464, _signed(0x7F)(x), codes).astype(np.uint8).view(FLOAT8)


def _as_format(name: Any) -> Encode:
    """The bits of another format's cast."""

    def change(x: Array, overflow: str) -> Array:
        largest = format_number(np.zeros(0, name), "max")
        kept = np.clip(x, -largest, largest) if overflow == "saturate" else x
        return kept.astype(np.float32).astype(name).view(np.uint8).view(FLOAT8)

    return change


def _clamp(top: float) -> Encode:
    return lambda x, overflow: e4m3.encode(np.clip(x, -top, top), overflow)


def _wrapped(x: Array, overflow: str) -> Array:
    """Beyond the largest number the exponent runs over."""
    del overflow
    size = np.abs(x)
    exponent = np.floor(np.log2(np.where(size > 0, size, 1)))
    wrapped = np.where(size >= 512, np.ldexp(size, (-16 * np.floor((exponent + 7) / 16)).astype(np.int32)), size)
    return e4m3.encode(np.copysign(wrapped, x), "saturate")


def _is_tiny(v: Array, c: Array) -> Array:
    return np.asarray((c & 0x78) == 0)


_ENCODE: tuple[tuple[str, str, Encode], ...] = (
    ("overflow_policy", "overflow always saturates", lambda x, o: e4m3.encode(x, "saturate")),
    ("overflow_policy", "overflow always gives NaN", lambda x, o: e4m3.encode(x, "nan")),
    ("overflow_policy", "the two policies are swapped",
     lambda x, o: e4m3.encode(x, "nan" if o == "saturate" else "saturate")),
    *(("overflow_policy", f"NaN {words} {limit:g}", _beyond(limit, words)) for limit in (448.0, 464.0, 480.0, 512.0)
      for words in ("from", "beyond")),
    ("overflow_policy", "beyond 448 every number gives NaN, where overflow gives NaN", lambda x, o: e4m3.encode(
        np.where((np.abs(x) > 448) & (o == "nan"), np.nan, x), o)),
    ("overflow_policy", "464 gives NaN, where overflow gives NaN", lambda x, o: e4m3.encode(
        np.where((np.abs(x) == 464) & (o == "nan"), np.nan, x), o)),
    ("overflow_policy", "numbers up to 480 saturate, where overflow gives NaN", lambda x, o: e4m3.encode(
        np.where(np.abs(x) <= 480, np.clip(x, -448, 448), x), o)),
    ("overflow_policy", "beyond 448 the code 0x7F stands for 480", _top_codes),
    ("overflow_policy", "beyond the largest number the exponent wraps around", _wrapped),
    *(("overflow_policy", f"numbers are clamped to {top:g}", _clamp(top))
      for top in (240.0, 256.0, 384.0, 416.0, 464.0, 480.0)),
    ("overflow_policy", "overflow gives 0", _where(lambda v, c: np.abs(v) > 464, _signed(0))),
    ("special_values", "infinities give NaN", _where(lambda v, c: np.isinf(v), _signed(0x7F))),
    ("special_values", "infinities give 448", _where(lambda v, c: np.isinf(v), _signed(0x7E))),
    ("special_values", "infinities give 0", _where(lambda v, c: np.isinf(v), _signed(0))),
    ("special_values", "NaN gives 448", _where(lambda v, c: np.isnan(v), lambda v: 0x7E)),
    ("special_values", "NaN gives -448", _where(lambda v, c: np.isnan(v), lambda v: 0xFE)),
    ("special_values", "NaN gives 0", _where(lambda v, c: np.isnan(v), lambda v: 0)),
    ("special_values", "NaN and infinities give 448", _where(lambda v, c: ~np.isfinite(v), _signed(0x7E))),
    ("special_values", "NaN and infinities give 0", _where(lambda v, c: ~np.isfinite(v), lambda v: 0)),
    ("special_values", "-0 gives +0", _where(lambda v, c: (v == 0), lambda v: 0)),
    ("special_values", "negative results of zero give +0", _where(lambda v, c: c == 0x80, lambda v: 0)),
    ("subnormal_flush", "subnormal codes become zeros", _where(_is_tiny, _signed(0))),
    ("subnormal_flush", "subnormal codes become +0", _where(_is_tiny, lambda v: 0)),
    ("subnormal_flush", "numbers below 2^-6 become zeros", _where(lambda v, c: np.abs(v) < 2.0**-6, _signed(0))),
    ("subnormal_flush", "numbers below 2^-6 become +0", _where(lambda v, c: np.abs(v) < 2.0**-6, lambda v: 0)),
    ("subnormal_flush", "numbers below 2^-9 become zeros", _where(lambda v, c: np.abs(v) < 2.0**-9, _signed(0))),
    ("subnormal_flush", "numbers below 2^-6 become at least 2^-6",
     _where(lambda v, c: (np.abs(v) < 2.0**-6) & (v != 0), _signed(0x08))),
    ("layout", "codes are those of float8_e4m3fnuz", _as_format(ml_dtypes.float8_e4m3fnuz)),
    ("layout", "codes are those of float8_e5m2", _as_format(ml_dtypes.float8_e5m2)),
    ("layout", "codes are those of float8_e5m2fnuz", _as_format(ml_dtypes.float8_e5m2fnuz)),
    ("layout", "codes are those of float8_e4m3b11fnuz", _as_format(ml_dtypes.float8_e4m3b11fnuz)),
    ("layout", "codes are those of IEEE's float8_e4m3", _as_format(ml_dtypes.float8_e4m3)),
)  # fmt: skip


def _only(mask: Callable[[Array], Array], other: Encode) -> Encode:
    """Another encode for some numbers."""
    return lambda x, o: np.where(mask(x), other(x, o).view(np.uint8), e4m3.encode(x, o).view(np.uint8)).view(FLOAT8)


RANGES: dict[str, Callable[[Array], Array]] = {
    "in the subnormal range": lambda x: np.abs(x) < 2.0**-6,
    "in the normal range": lambda x: np.abs(x) >= 2.0**-6,
    "where nothing overflows": lambda x: np.abs(x) <= 464,
    "up to 448": lambda x: np.abs(x) <= 448,
    "of negative numbers": lambda x: np.signbit(x),
}


SIGNIFICANT = (*range(5, 13), 16, 20, 23)  # bits that are looked at before the rounding; E4M3 has 4


def _finished(last: Finish) -> Encode:
    return lambda x, overflow: last(x, FLOAT8.name, overflow)


def _clamped(last: Finish) -> Encode:
    return lambda x, overflow: last(np.clip(x, -448, 448) if overflow == "saturate" else x, FLOAT8.name, overflow)


def _directed(direction: Callable[[Array], Array]) -> Encode:
    return lambda x, overflow: directed(x, FLOAT8.name, direction, overflow)


def encode() -> Iterator[Hypothesis]:
    """All of encode."""
    for kind, detail, change in _ENCODE:
        yield Hypothesis(kind, detail, _of(change))
    for kind, detail, last in finishes():
        yield Hypothesis(kind, detail, _of(_finished(last)))
        yield Hypothesis(kind, detail, _of(_clamped(last)), 1)
    for bits in SIGNIFICANT:
        cut = lambda x, o, n=bits: e4m3.encode(shortened(x, n), o)  # noqa: E731
        yield Hypothesis("double_rounding", f"numbers are cut to {bits} significant bits and then rounded", _of(cut))
    for detail, (kind, direction) in DIRECTIONS.items():
        for words, mask in RANGES.items():
            yield Hypothesis(kind, f"{detail} {words}", _of(_only(mask, _directed(direction))), 1)


# ---- decode ---------------------------------------------------------------------------------------------------------


def _table(change: Callable[[Array, Array], Array]) -> Callable[[Evidence], Any]:
    """A change of all values by their codes."""
    words = np.arange(256, dtype=np.uint8)

    def predict(call: Evidence) -> Any:
        with np.errstate(all="ignore"):
            values = np.asarray(change(words, e4m3.VALUES)).astype(np.float32)
        return values[np.asarray(full_arguments(call)["codes"]).view(np.uint8)]

    return predict


def _is_nan(c: Array) -> Array:
    return np.asarray((c & 0x7F) == 0x7F)


def _with_sign(c: Array, size: float) -> Array:
    return np.where(c & 0x80, -size, size)


def _read_as(name: Any) -> Callable[[Array, Array], Array]:
    return lambda c, v: real(c.view(name))


_DECODE: tuple[tuple[str, str, Callable[[Array, Array], Array]], ...] = (
    ("special_values", "the code 0x7F is 480", lambda c, v: np.where(_is_nan(c), _with_sign(c, 480), v)),
    ("special_values", "the code 0x7F is 448", lambda c, v: np.where(_is_nan(c), _with_sign(c, 448), v)),
    ("special_values", "the code 0x7F is 0", lambda c, v: np.where(_is_nan(c), 0, v)),
    ("special_values", "the code 0x7F is infinite", lambda c, v: np.where(_is_nan(c), _with_sign(c, np.inf), v)),
    ("special_values", "the code 0xFF is no NaN", lambda c, v: np.where(c == 0xFF, -480, v)),
    ("special_values", "the code 0x80 is +0", lambda c, v: np.where(c == 0x80, 0, v)),
    ("special_values", "the code 0x80 is NaN", lambda c, v: np.where(c == 0x80, np.nan, v)),
    ("subnormal_flush", "subnormal codes are zeros",
     lambda c, v: np.where((c & 0x78) == 0, _with_sign(c, 0), v)),
    ("subnormal_flush", "subnormal codes are +0", lambda c, v: np.where((c & 0x78) == 0, 0, v)),
    ("subnormal_flush", "subnormal codes have the implied bit",
     lambda c, v: np.where((c & 0x78) == 0, np.copysign((8 + (c & 7).astype(np.float64)) * 2.0**-10, v), v)),
    ("layout", "codes are read as float8_e4m3fnuz", _read_as(ml_dtypes.float8_e4m3fnuz)),
    ("layout", "codes are read as float8_e5m2", _read_as(E5M2)),
    ("layout", "codes are read as float8_e5m2fnuz", _read_as(ml_dtypes.float8_e5m2fnuz)),
    ("layout", "codes are read as float8_e4m3b11fnuz", _read_as(ml_dtypes.float8_e4m3b11fnuz)),
    ("layout", "codes are read as IEEE's float8_e4m3", _read_as(ml_dtypes.float8_e4m3)),
    ("factor", "the exponent's bias is 8", lambda c, v: v / 2),
    ("factor", "the exponent's bias is 6", lambda c, v: v * 2),
    ("special_values", "the sign is ignored", lambda c, v: np.abs(v)),
)  # fmt: skip


def decode() -> Iterator[Hypothesis]:
    """All of decode."""
    for kind, detail, change in _DECODE:
        yield Hypothesis(kind, detail, _table(change))
