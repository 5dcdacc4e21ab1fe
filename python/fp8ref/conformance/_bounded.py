# SPDX-License-Identifier: Apache-2.0
"""Whether a result lies within the bound of an accumulator, and has its errors. [CLAIM-BOUND]"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import compare
from ..compare._contract import SMALLEST_TILE
from ..golden._units import MODES
from .cases import Case
from .claim import BOUND_ONLY, defaults
from .outcome import Array, Mismatch, Outcome, bits, difference, distances

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Product:
    """A scaled product in a call: arguments of :func:`fp8ref.compare.bound`, and the rows of the output."""

    rows: slice
    arguments: Mapping[str, Any]


def _scaled(arguments: Mapping[str, Any], accumulate: str) -> Iterator[Product]:
    names = ("a", "b", "a_scale", "b_scale", "bias", "out_dtype", "epilogue", "split_k", "out_scale", "overflow")
    yield Product(slice(None), {**{name: arguments[name] for name in names}, "accumulate": accumulate})


def _grouped(arguments: Mapping[str, Any], accumulate: str) -> Iterator[Product]:
    """Each expert's rows are a product of their own. [GROUPED-ROWS]"""
    a_scale, b_scale, bias = (arguments[name] for name in ("a_scale", "b_scale", "bias"))
    each = np.ndim(b_scale) in (1, 3) and np.shape(b_scale)[0] == len(arguments["b"])
    for expert, (start, stop) in enumerate(pairwise(np.asarray(arguments["offsets"]).tolist())):
        if start < stop:
            rows = slice(start, stop)
            own = {
                "a": arguments["a"][rows],
                "b": arguments["b"][expert],
                "a_scale": a_scale[rows] if np.ndim(a_scale) == 2 and len(a_scale) > 1 else a_scale,
                "b_scale": b_scale[expert] if each else b_scale,
                "bias": None if bias is None else bias[expert],
            }
            product = next(_scaled({**arguments, **own}, accumulate))
            yield Product(rows, product.arguments)


def _linear(arguments: Mapping[str, Any], accumulate: str) -> Iterator[Product]:
    """Without scales; the operands are bfloat16. [LINEAR-UNIT]"""
    unit = MODES[accumulate].bf16 if accumulate in MODES else accumulate
    own = {"a": arguments["x"], "b": arguments["weight"], "bias": arguments["bias"], "out_dtype": "bfloat16"}
    yield Product(slice(None), {**own, "accumulate": unit})


PRODUCTS: dict[str, Callable[[Mapping[str, Any], str], Iterator[Product]]] = {
    "scaled_mm": _scaled,
    "grouped_mm": _grouped,
    "linear": _linear,
}


def judge_bound(case: Case, expected: Outcome, got: Outcome, accumulate: str) -> Mismatch | None:
    """The first output beyond its bound, or the worst tile of the statistics.

    Shapes, types and errors have been compared before; ``expected`` is golden's result under the claim, or the exact
    one where the accumulator has no bits.
    """
    arguments = {**defaults(case.function), **case.arguments}
    name, want = next(iter(expected.arrays.items()))
    have = got.arrays[name]
    claimed = np.zeros(len(want), np.bool_)
    for product in PRODUCTS[case.function](arguments, accumulate):
        claimed[product.rows] = True
        here = Place(case.name, name, product.rows.start or 0, want[product.rows], have[product.rows])
        found = _judge(here, product.arguments, accumulate)
        if found is not None:
            return found
    rest = difference(want, have) & ~claimed[:, None]  # rows of no group have bits
    return _mismatch(Place(case.name, name, 0, want, have), rest, "its bits") if rest.any() else None


@dataclass(frozen=True)
class Place:
    """A part of an output."""

    case: str
    output: str
    row: int  # the first one
    want: Array
    have: Array


def _judge(here: Place, arguments: Mapping[str, Any], accumulate: str) -> Mismatch | None:
    if not here.want.size:
        return None
    # The exact value of a scaled product depends on its operands and on the policy of its output only.
    exact = compare.exact_values(**{k: v for k, v in arguments.items() if k in EXACT})
    limit = compare.bound(**arguments)
    with np.errstate(invalid="ignore"):
        error = np.abs(here.have.astype(np.float64) - exact)
        beyond = np.isfinite(limit) & ~(error <= limit)
    if beyond.any():
        worst = _first_worst(beyond, error, limit)
        off, allowed = float(error[worst]), float(limit[worst])
        return _mismatch(here, beyond, f"off by {off:.4g}, at most {allowed:.4g}", worst, float(exact[worst]))
    special = _wrong_special(here, arguments)
    if special.any():
        return _mismatch(here, special, "a NaN operand makes its outputs NaN, an infinite one as IEEE addition does")
    if here.want.size < SMALLEST_TILE or not np.isfinite(limit).all():
        return None
    reference = here.want
    if accumulate in BOUND_ONLY:
        reference = compare.sequential(**{k: v for k, v in arguments.items() if k not in ("accumulate", "split_k")})
    statistics = compare.statistics(here.have, reference, exact)
    if statistics.held:
        return None
    tile = statistics.broken[0]
    inside = np.zeros(here.want.shape, np.bool_)
    inside[slice(*tile.rows), slice(*tile.columns)] = True
    worst = _first_worst(inside, error, np.ones_like(error))
    return _mismatch(here, inside, f"errors of a tile: {tile}", worst, float(exact[worst]))


SMALLEST_LIMIT = 2.0**-300
EXACT = ("a", "b", "a_scale", "b_scale", "bias", "out_scale", "overflow")


def _first_worst(among: NDArray[np.bool_], error: Float64, limit: Float64) -> tuple[int, ...]:
    """Where the error is largest in units of what is allowed; of those where nothing is, the largest."""
    ratio = np.where(among, np.where(np.isnan(error), np.inf, error / np.maximum(limit, SMALLEST_LIMIT)), -1.0)
    return tuple(map(int, np.unravel_index(int(np.argmax(ratio)), ratio.shape)))


def _wrong_special(here: Place, arguments: Mapping[str, Any]) -> NDArray[np.bool_]:
    """NaN operands, scales and biases make NaN; infinite E5M2 codes what golden has, where scales are finite.

    Infinite 16-bit operands claim nothing: beside them finite products may overflow in float32. [CLAIM-NAN]
    """
    rows, columns = (_axis(arguments, *names) for names in (("a", "a_scale"), ("b", "b_scale", "bias")))
    nan = rows["nan"][:, None] | columns["nan"]
    infinite = (rows["infinite"][:, None] | columns["infinite"]) & ~nan
    infinite &= np.asarray(arguments["a"]).dtype.itemsize == 1
    infinite &= ~(rows["extreme"][:, None] | columns["extreme"])
    with np.errstate(invalid="ignore"):
        return np.asarray((nan & ~np.isnan(here.have)) | (infinite & difference(here.want, here.have)))


def _axis(arguments: Mapping[str, Any], operand: str, *others: str) -> dict[str, NDArray[np.bool_]]:
    """What the rows of an operand have: NaN anywhere, infinite codes, scales or biases that are not finite."""
    codes = _wide(arguments[operand])
    rows = len(codes)
    nan, extreme = np.isnan(codes).any(axis=1), np.zeros(rows, np.bool_)
    for name in others:
        if arguments.get(name) is None:
            continue
        values = _wide(arguments[name])
        if values.size == 1:
            values = np.full((rows, 1), values.reshape(()))
        elif len(values) != rows:  # blocks of rows
            values = np.repeat(values, 128, axis=0)[:rows]
        values = values.reshape(rows, -1)
        nan |= np.isnan(values).any(axis=1)
        extreme |= ~np.isfinite(values).all(axis=1)
    found = {"nan": nan, "infinite": np.isinf(codes).any(axis=1), "extreme": extreme}
    return {name: np.asarray(where, np.bool_) for name, where in found.items()}


def _wide(x: Any) -> Float64:
    array = np.asarray(x)
    with np.errstate(invalid="ignore"):
        return (array.view("float8_e4m3fn") if array.dtype == np.uint8 else array).astype(np.float64)


def _mismatch(
    here: Place,
    among: NDArray[np.bool_],
    why: str,
    place: tuple[int, ...] | None = None,
    exact: float | None = None,
) -> Mismatch:
    where = tuple(map(int, np.argwhere(among)[0])) if place is None else place
    want, have = np.asarray(here.want[where]), np.asarray(here.have[where])
    apart = distances(want, have)
    expected = f"{bits(want)}" if exact is None else f"about {exact:.9g}"
    return Mismatch(
        here.case,
        here.output,
        (where[0] + here.row, *where[1:]),
        f"{expected}; {why}",
        bits(have),
        int(np.count_nonzero(among)),
        here.want.size,
        None if apart is None or int(apart) == 2**63 - 1 else int(apart),
    )
