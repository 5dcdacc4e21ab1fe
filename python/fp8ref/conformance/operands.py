# SPDX-License-Identifier: Apache-2.0
"""What was computed at the place of a mismatch, in words for people. [REPORT-OPERANDS]

One describer for each function; what has none is described by the inputs at the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from ..golden._foreign import as_array
from ..golden._rule_steps import TILE
from .cases import Case, ModelCase
from .outcome import Array, Arrays, Mismatch, Outcome, bits

Place = tuple[int, ...]
Arguments = Mapping[str, Any]
Describer = Callable[[Arguments, str, Place, Arrays], list[str]]
SHOWN = 3  # products


def describe(case: Case | ModelCase, mismatch: Mismatch, expected: Outcome) -> tuple[str, ...]:
    """The operands at the coordinates of a mismatch; nothing for errors, other shapes, scalars and whole models.

    Example:
        >>> case = Case("one", "residual", {"x": np.float32([1, 2]), "y": np.float32([3, 4])})
        >>> describe(case, Mismatch("one", "out", (1,), "", "", 1), Outcome({"out": np.float32([4, 6])}))
        ('x[1] 0x40000000 (2)', 'y[1] 0x40800000 (4)')
    """
    if isinstance(case, ModelCase) or mismatch.output not in expected.arrays:
        return ()
    shape = expected.arrays[mismatch.output].shape
    if len(mismatch.index) != len(shape):  # the types or the shapes differ: there is no place
        return ()
    describer = DESCRIBERS.get(case.function, _generic)
    lines = describer(case.arguments, mismatch.output, mismatch.index, expected.arrays)
    return tuple(filter(None, (*lines, _policies(case.arguments))))


def _policies(arguments: Arguments) -> str:
    """The arguments that are no arrays."""
    plain = {k: v for k, v in arguments.items() if isinstance(v, str | int | float | Mapping)}
    return ", ".join(f"{name} {value}" for name, value in plain.items())


def _element(name: str, array: Any, index: Place) -> str:
    """``x[1, 2] 0x3f80 (1)``."""
    place = f"[{', '.join(map(str, index))}]" if index else ""
    return f"{name}{place} {bits(np.asarray(_numbers(array)[index]))}"


def _numbers(array: Any) -> Array:
    """Codes as numbers: uint8 means E4M3."""
    found = as_array(array)
    return found.view(ml_dtypes.float8_e4m3fn) if found.dtype == np.uint8 else found


def _wide(array: Array) -> Array:
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return np.asarray(_numbers(array).astype(np.float64))


def _generic(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    """The inputs at the same place: arrays whose dimensions are the last ones of the output's, or 1."""
    shape = expected[output].shape
    lines = []
    for name, value in arguments.items():
        if not isinstance(value, np.ndarray | np.generic):
            continue
        tail = shape[len(shape) - value.ndim :]
        if value.ndim <= len(shape) and all(n in (1, want) for n, want in zip(value.shape, tail, strict=True)):
            inner = index[len(shape) - value.ndim :]
            lines.append(
                _element(name, value, tuple(0 if n == 1 else i for i, n in zip(inner, value.shape, strict=True)))
            )
    return lines


# ---- matrix products -------------------------------------------------------------------------------------------------
def _products(left: str, a: Array, right: str, b: Array) -> tuple[str, int]:
    """The largest products of two rows, and where the first of them is."""
    x, y = _wide(a), _wide(b)
    if not x.size:
        return f"no products: K is 0 ({left}, {right})", 0
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.abs(x * y)
    order = np.argsort(-np.where(np.isnan(size), np.inf, size), kind="stable")[:SHOWN]
    terms = ", ".join(f"k={k}: {x[k]:g} * {y[k]:g}" for k in order)
    return f"largest of {x.size} products {left} * {right}: {terms}", int(order[0])


def _scale(name: str, scale: Any, row: int, rows: int, k: int) -> str:
    """The scale of a row at one k: one value, (rows, 1), or blocks of 128 [MM-SCALES-BLOCK]."""
    array = as_array(scale)
    if array.size == 1:
        return f"{name} {bits(array.reshape(()))}"
    if not array.size:
        return f"{name} has no blocks"
    place = (row if array.shape[0] == rows else row // TILE, k // TILE if array.shape[1] > 1 else 0)
    return _element(name, array, place)


def _bias(arguments: Arguments, index: Place) -> list[str]:
    bias = arguments.get("bias")
    return [] if bias is None else [_element("bias", bias, index)]


def _scaled_mm(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    m, n = index
    a, b = as_array(arguments["a"]), as_array(arguments["b"])
    products, k = _products(f"a[{m}, k]", a[m], f"b[{n}, k]", b[n])
    scales = [
        _scale("a_scale", arguments["a_scale"], m, len(a), k),
        _scale("b_scale", arguments["b_scale"], n, len(b), k),
        *_bias(arguments, (n,)),
    ]
    return [", ".join(scales), products]


def _grouped_mm(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    row, n = index
    offsets = as_array(arguments["offsets"]).tolist()
    expert = next((e for e in range(len(offsets) - 1) if offsets[e] <= row < offsets[e + 1]), None)
    if expert is None:
        return [f"row {row} belongs to no group: offsets {offsets[0]} to {offsets[-1]} [GROUPED-ROWS]"]
    a, b = as_array(arguments["a"]), as_array(arguments["b"])
    products, k = _products(f"a[{row}, k]", a[row], f"b[{expert}, {n}, k]", b[expert, n])
    scale = as_array(arguments["b_scale"])
    each = scale.ndim in (1, 3) and scale.shape[0] == len(b)
    scales = [
        _scale("a_scale", arguments["a_scale"], row, len(a), k),
        _scale(f"b_scale of group {expert}", scale[expert] if each else scale, n, b.shape[1], k),
        *_bias(arguments, (expert, n)),
    ]
    where = f"group {expert} of {len(b)}: rows {offsets[expert]} to {offsets[expert + 1] - 1}"
    return [where, ", ".join(scales), products]


def _linear(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    m, n = index
    products, _ = _products(f"x[{m}, k]", as_array(arguments["x"])[m], f"w[{n}, k]", as_array(arguments["weight"])[n])
    return [*_bias(arguments, (n,)), products]


def _mma(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    m, n = index
    products, _ = _products(f"a[{m}, k]", as_array(arguments["a"])[m], f"b[{n}, k]", as_array(arguments["b"])[n])
    start = [] if arguments.get("c") is None else [_element("c", arguments["c"], index)]
    return [*start, products]


# ---- quantization ----------------------------------------------------------------------------------------------------
def _tile(index: Place, shape: Place, scales: Place) -> Place | None:
    """Where the scale of an element is [QUANT-TILES]; None if no such scale has this shape."""
    if len(scales) != len(shape) or any(s not in (1, n, -(-n // TILE)) for s, n in zip(scales, shape, strict=True)):
        return () if not scales else None
    return tuple(0 if s == 1 else i if s == n else i // TILE for i, s, n in zip(index, scales, shape, strict=True))


def _scaled(name: str, value: Array, scale: Array, index: Place) -> tuple[list[str], float]:
    """An element and its scale, and the scale's value."""
    place = _tile(index, value.shape, scale.shape)
    if place is None:
        return [_element(name, value, index)], float("nan")
    return [_element(name, value, index), _element("scale", scale, place)], float(scale[place])


def _quantize(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    x, scale = as_array(arguments["x"]), expected["scale"]
    if output == "scale":
        return _amax(x, scale.shape, index)
    lines, factor = _scaled("x", x, scale, index)
    with np.errstate(all="ignore"):
        quotient = np.float64(_wide(x[index])) / np.float64(factor)
    return [*lines, f"x / scale {quotient:.9g}"]


def _amax(x: Array, scales: Place, index: Place) -> list[str]:
    """The largest magnitude that a scale is made of."""
    if scales and len(scales) != x.ndim:
        return []
    parts = [slice(None)] * x.ndim
    for axis, (i, s) in enumerate(zip(index, scales, strict=True)):
        whole, each = s == 1, s == x.shape[axis]
        parts[axis] = slice(i, i + 1) if each else slice(None) if whole else slice(i * TILE, (i + 1) * TILE)
    size = np.abs(_wide(x))
    size = np.where(np.isnan(size), np.inf, size)
    part = size[tuple(parts)]
    if not part.size:
        return ["no elements"]
    begin = [p.start or 0 for p in parts]
    inner = np.unravel_index(int(part.argmax()), part.shape)
    place = tuple(int(b + i) for b, i in zip(begin, inner, strict=True))
    return [f"largest magnitude of {part.size} elements: {_element('x', x, place)}"]


def _dequantize(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    lines, _ = _scaled("codes", _numbers(arguments["codes"]), np.asarray(as_array(arguments["scale"])), index)
    return lines


# ---- rows and tables -------------------------------------------------------------------------------------------------
def _rmsnorm(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    x, weight = as_array(arguments["x"]), arguments["weight"]
    with np.errstate(over="ignore", invalid="ignore"):
        total = float((_wide(x[index[:-1]]) ** 2).sum())
    parts = [_element("x", x, index), *([] if weight is None else [_element("weight", weight, index[-1:])])]
    return [", ".join(parts), f"sum of the squares of its {x.shape[-1]} elements {total:.9g}"]


def _rope(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    x = as_array(arguments["x"])
    t, head, i = index
    half = x.shape[-1] // 2
    neighbours = arguments.get("layout") == "interleaved"
    angle = (t, i // 2 if neighbours else i % half)
    places = (i // 2 * 2, i // 2 * 2 + 1) if neighbours else (angle[1], angle[1] + half)
    pair = [_element("x", x, (t, head, place)) for place in places]
    return [", ".join(pair), ", ".join(_element(name, arguments[name], angle) for name in ("cos", "sin"))]


def _rope_table(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    position = int(as_array(arguments["positions"])[index[0]])
    return [f"position {position}, {_element('frequencies', arguments['frequencies'], index[1:])}"]


def _rope_frequencies(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    return [f"{arguments['base']}^(2 * {index[0]} / {arguments['head_dim']})"]


def _attention(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    q, k, v = (as_array(arguments[name]) for name in ("q", "k", "v"))
    t, head, i = index
    own = head // (q.shape[1] // k.shape[1])
    mask, chunk = arguments.get("mask", "causal"), arguments.get("chunk") or 1
    end = len(k) if mask == "full" else len(k) - len(q) + t + 1
    first = (end - 1) // chunk * chunk if mask == "chunked" else 0
    where = f"query {t} of {len(q)}, head {head}, key head {own}: {end - first} of {len(k)} keys are visible"
    with np.errstate(invalid="ignore", over="ignore"):
        scores = _wide(k[first:end, own]) @ _wide(q[t, head])
    order = np.argsort(-np.where(np.isnan(scores), np.inf, scores), kind="stable")[:SHOWN]
    terms = [
        f"key {first + j}: {scores[j]:g}, v[{first + j}, {own}, {i}] {float(v[first + j, own, i]):g}" for j in order
    ]
    return [where, f"largest scores q.k: {'; '.join(terms)}" if terms else ""]


def _sample(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    logits = as_array(arguments["logits"])
    row = _wide(logits[index])
    order = np.argsort(-np.where(np.isnan(row), np.inf, row), kind="stable")[:SHOWN]
    return [f"largest of {row.size} logits: {', '.join(_element('logits', logits, (*index, int(i))) for i in order)}"]


# ---- experts ---------------------------------------------------------------------------------------------------------
def _route(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    t, j = index
    choice = f"choice {j} of token {t}: {_element('logits', arguments['logits'], (t, int(expected['experts'][index])))}"
    return [choice, *_sample(arguments, output, (t,), expected)]


def _dispatch(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    ids = as_array(arguments["experts"])
    if output == "offsets":
        return [f"{np.count_nonzero(ids < index[0])} of {ids.size} pairs have an expert below {index[0]}"]
    pair = int(expected["order"][index[0]])
    t, j = divmod(pair, ids.shape[1])
    where = f"row {index[0]} is pair {pair}: token {t}, choice {j}, expert {ids[t, j]}"
    if output == "order":
        return [where]
    factors = [_element("x", arguments["x"], (t, *index[1:])), _element("scores", arguments["scores"], (t, j))]
    return [where, ", ".join(factors)]


def _combine(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    order, shared = as_array(arguments["order"]), as_array(arguments["shared"])
    (t, column), choices = index, len(order) // len(shared)
    places = [int(np.flatnonzero(order == t * choices + j)[0]) for j in range(min(choices, SHOWN))]
    parts = ", ".join(_element("routed", arguments["routed"], (row, column)) for row in places)
    return [_element("shared", shared, index), f"{len(places)} of {choices} routed terms: {parts}"]


def _temperature(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    return [_element("x", arguments["x"], index), _element("factors", arguments["factors"], index[:1])]


def _temperature_factors(arguments: Arguments, output: str, index: Place, expected: Arrays) -> list[str]:
    return [f"position {int(as_array(arguments['positions'])[index])}"]


DESCRIBERS: dict[str, Describer] = {
    "scaled_mm": _scaled_mm,
    "grouped_mm": _grouped_mm,
    "linear": _linear,
    "mma": _mma,
    "quantize": _quantize,
    "dequantize": _dequantize,
    "rmsnorm": _rmsnorm,
    "rope": _rope,
    "rope_table": _rope_table,
    "rope_frequencies": _rope_frequencies,
    "temperature_factors": _temperature_factors,
    "temperature": _temperature,
    "attention": _attention,
    "route": _route,
    "dispatch": _dispatch,
    "combine": _combine,
    "sample": _sample,
}
