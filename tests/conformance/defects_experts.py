# SPDX-License-Identifier: Apache-2.0
"""Wrong implementations of route, dispatch, combine, the temperature, the gated residual and Llama 4's ropes and masks;
see defects.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import fp8ref
from conformance.defects import BF16, Array, bf16, defect, f32, f64
from conformance.defects_nn import _refused


# ---- route -----------------------------------------------------------------------------------------------------------
def _route_by(arguments: dict[str, Any], key: Any = lambda z: z, last: int = 1) -> Any:
    """route with other keys of logits; of equal ones the last where ``last`` is -1."""
    if _refused(fp8ref.route, **arguments):
        return fp8ref.route(**arguments)
    logits, k = arguments["logits"], arguments.get("top_k", 1)
    z = key(f64(logits))
    order = np.lexsort((last * np.arange(z.shape[1]) * np.ones(z.shape), -np.nan_to_num(z), ~np.isnan(z)), axis=-1)
    ids = order[:, :k].astype(np.int64)
    chosen = np.take_along_axis(logits, ids, axis=1)
    return ids, fp8ref.route(chosen.reshape(-1, 1))[1].reshape(ids.shape)


def _scored(arguments: dict[str, Any], score: Any) -> Any:
    """route with other scores, from float64 logits and the chosen experts."""
    ids, right = fp8ref.route(**arguments)
    if not right.size:
        return ids, right
    with np.errstate(all="ignore"):
        return ids, bf16(f32(score(f64(arguments["logits"]), ids)))


def _softmax(z: Array) -> Array:
    w = np.exp(z - z.max(axis=1, keepdims=True))
    return w / w.sum(axis=1, keepdims=True)


@defect("route")
def last_of_equal_experts(**arguments: Any) -> Any:
    return _route_by(arguments, last=-1)


@defect("route")
def nan_is_never_chosen(**arguments: Any) -> Any:
    return _route_by(arguments, lambda z: np.where(np.isnan(z), -np.inf, z))


@defect("route")
def zeros_of_experts_ordered_by_sign(**arguments: Any) -> Any:
    return _route_by(arguments, lambda z: np.where(z == 0, np.where(np.signbit(z), -5e-324, 0.0), z))


@defect("route")
def softmax_of_all(**arguments: Any) -> Any:
    return _scored(arguments, lambda z, e: np.take_along_axis(_softmax(z), e, axis=1))


@defect("route")
def softmax_of_the_chosen(**arguments: Any) -> Any:
    return _scored(arguments, lambda z, e: _softmax(np.take_along_axis(z, e, axis=1)))


@defect("route")
def normalised_sigmoids(**arguments: Any) -> Any:
    def score(z: Array, e: Array) -> Array:
        s = 1 / (1 + np.exp(-np.take_along_axis(z, e, axis=1)))
        return s / s.sum(axis=1, keepdims=True)

    return _scored(arguments, score)


@defect("route")
def sigmoid_in_bfloat16(**arguments: Any) -> Any:
    def score(z: Array, e: Array) -> Array:
        return 1 / f64(bf16(1 + f64(bf16(np.exp(-np.take_along_axis(z, e, axis=1))))))

    return _scored(arguments, score)


@defect("route")
def chosen_by_score(**arguments: Any) -> Any:
    """Saturated scores are equal where logits are not."""
    return _route_by(arguments, lambda z: f64(fp8ref.route(bf16(z).reshape(-1, 1))[1]).reshape(z.shape))


@defect("route")
def experts_in_ascending_order(**arguments: Any) -> Any:
    ids, scores = fp8ref.route(**arguments)
    order = np.argsort(ids, axis=1)
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)


# ---- dispatch --------------------------------------------------------------------------------------------------------
def _dispatched(arguments: dict[str, Any], order: Any = None, scores: Any = None) -> Any:
    """dispatch with another order of rows, or other scores of the pairs."""
    _, right, offsets = fp8ref.dispatch(**arguments)
    places = right if order is None else order(np.asarray(arguments["experts"]), right)
    factors = np.asarray(arguments["scores"]).ravel()[places] if scores is None else scores(arguments, places)
    tokens = np.asarray(arguments["x"])[places // np.shape(arguments["experts"])[1]]
    with np.errstate(all="ignore"):
        return bf16(f64(tokens) * f64(factors)[:, None]), places, offsets


@defect("route", "dispatch")
def score_is_left_for_the_output(**arguments: Any) -> Any:
    return _dispatched(arguments, scores=lambda a, p: np.ones(len(p)))


@defect("route", "dispatch")
def scores_are_not_sorted(**arguments: Any) -> Any:
    return _dispatched(arguments, scores=lambda a, p: np.ravel(a["scores"]))


@defect("route", "dispatch")
def order_is_not_stable(**arguments: Any) -> Any:
    def backward(experts: Array, order: Array) -> Array:
        ids = experts.ravel()
        return np.lexsort((-np.arange(ids.size), ids)).astype(np.int64)

    return _dispatched(arguments, backward)


@defect("route", "dispatch")
def rows_are_not_sorted(**arguments: Any) -> Any:
    return _dispatched(arguments, lambda e, order: np.arange(order.size, dtype=np.int64))


@defect("route", "dispatch")
def inverse_order(**arguments: Any) -> Any:
    inputs, order, offsets = fp8ref.dispatch(**arguments)
    return inputs, np.argsort(order).astype(np.int64), offsets


@defect("route", "dispatch")
def offsets_are_ends(**arguments: Any) -> Any:
    inputs, order, offsets = fp8ref.dispatch(**arguments)
    return inputs, order, np.append(offsets[1:], offsets[-1])


@defect("route", "dispatch")
def offsets_are_sizes(**arguments: Any) -> Any:
    inputs, order, offsets = fp8ref.dispatch(**arguments)
    return inputs, order, np.append(np.diff(offsets), offsets[-1])


@defect("route", "dispatch")
def small_products_flushed(**arguments: Any) -> Any:
    inputs, order, offsets = fp8ref.dispatch(**arguments)
    small = np.abs(f64(inputs)) < 2.0**-126
    return np.where(small, np.copysign(f32(0), f32(inputs)).astype(BF16), inputs), order, offsets


# ---- combine ---------------------------------------------------------------------------------------------------------
def _combined(arguments: dict[str, Any], total: Any, inverse: bool = True) -> Array:
    """combine with another way to sum the parts (T, k, H)."""
    if _refused(fp8ref.combine, **arguments):
        return fp8ref.combine(**arguments)
    routed, order, shared = (np.asarray(arguments[name]) for name in ("routed", "order", "shared"))
    tokens, columns = shared.shape
    parts = f64(routed)[np.argsort(order) if inverse else order]
    parts = parts.reshape(tokens, len(parts) // tokens if tokens else 1, columns)
    with np.errstate(all="ignore"):
        return bf16(f64(shared) + total(parts))


def _in_turn(parts: Array, cast: Any) -> Array:
    out = np.zeros_like(parts[:, 0])
    for j in range(parts.shape[1]):
        out = f64(cast(out + parts[:, j]))
    return out


@defect("route", "combine")
def sums_in_bfloat16(**arguments: Any) -> Array:
    return _combined(arguments, lambda p: _in_turn(p, bf16))


@defect("route", "combine")
def sums_in_float32(**arguments: Any) -> Array:
    return _combined(arguments, lambda p: f64(bf16(_in_turn(p, f32))))


@defect("route", "combine")
def sum_is_not_rounded_first(**arguments: Any) -> Array:
    return _combined(arguments, lambda p: f64(f32(p.sum(axis=1))))


@defect("route", "combine")
def order_is_not_inverted(**arguments: Any) -> Array:
    return _combined(arguments, lambda p: f64(bf16(f32(p.sum(axis=1) + 0.0))), inverse=False)


@defect("route", "combine")
def shared_expert_dropped(**arguments: Any) -> Array:
    return fp8ref.combine(**{**arguments, "shared": np.zeros_like(arguments["shared"])})


@defect("route", "combine")
def minus_zero_of_one_expert_kept(**arguments: Any) -> Array:
    return _combined(arguments, lambda p: f64(bf16(f32(np.where(
        (p == 0).all(axis=1) & np.signbit(p).all(axis=1), -0.0, p.sum(axis=1))))))  # fmt: skip


# ---- temperature -----------------------------------------------------------------------------------------------------
def _grown(arguments: dict[str, Any], steps: Any = None, log: Any = None, finish: Any = None) -> Array:
    """temperature_factors in float32 steps, one of them replaced."""
    if _refused(fp8ref.temperature_factors, **arguments):
        return fp8ref.temperature_factors(**arguments)
    p, floor, scale = (np.asarray(arguments[name]) for name in ("positions", "floor_scale", "attn_scale"))
    with np.errstate(all="ignore"):
        n = np.floor(f32(p + 1) / f32(floor)) if steps is None else steps(p, f32(floor))
        y = f32(np.log1p(f64(n))) if log is None else f32(log(n))
        return f32(f32(y * f32(scale)) + f32(1)) if finish is None else f32(finish(y, f32(scale)))


@defect("temperature", "temperature_factors")
def floor_left_out(**arguments: Any) -> Array:
    return _grown(arguments, steps=lambda p, f: f32(p + 1) / f)


@defect("temperature", "temperature_factors")
def logarithm_of_n(**arguments: Any) -> Array:
    return _grown(arguments, log=lambda n: np.log(f64(n)))


@defect("temperature", "temperature_factors")
def position_instead_of_the_next(**arguments: Any) -> Array:
    return _grown(arguments, steps=lambda p, f: np.floor(f32(p) / f))


@defect("temperature", "temperature_factors")
def float32_logarithm(**arguments: Any) -> Array:
    return _grown(arguments, log=lambda n: np.log(f32(n) + f32(1)))


@defect("temperature", "temperature_factors")
def fused_factor(**arguments: Any) -> Array:
    return _grown(arguments, finish=lambda y, a: f64(y) * f64(a) + 1)


@defect("temperature", "temperature_factors")
def one_left_out(**arguments: Any) -> Array:
    return _grown(arguments, finish=lambda y, a: y * a)


def _warmed(x: Array, factors: Array, product: Any) -> Array:
    if _refused(fp8ref.temperature, x=x, factors=factors):
        return fp8ref.temperature(x, factors)
    with np.errstate(all="ignore"):
        return bf16(product(f64(x), f64(factors)[:, None, None]))


@defect("temperature")
def factors_in_bfloat16(x: Array, factors: Array) -> Array:
    return _warmed(x, factors, lambda x, f: x * f64(bf16(f)))


@defect("temperature")
def product_is_rounded_once(x: Array, factors: Array) -> Array:
    return _warmed(x, factors, lambda x, f: x * f)


@defect("temperature")
def first_factor_for_all(x: Array, factors: Array) -> Array:
    return _warmed(x, factors, lambda x, f: f32(x * f[:1]))


@defect("temperature")
def product_is_cut(x: Array, factors: Array) -> Array:
    if _refused(fp8ref.temperature, x=x, factors=factors):
        return fp8ref.temperature(x, factors)
    with np.errstate(all="ignore"):
        product = f32(x) * factors[:, None, None]
    cut = (product.view(np.uint32) >> np.uint32(16)).astype(np.uint16).view(BF16)
    return np.where(np.isfinite(product), cut, fp8ref.temperature(x, factors))


# ---- the gated residual ----------------------------------------------------------------------------------------------
def _gated(arguments: dict[str, Any], factor: Any, inner: Any = bf16) -> Array:
    if _refused(fp8ref.gated_residual, **arguments):
        return fp8ref.gated_residual(**arguments)
    x, y, gate = (f64(arguments[name]) for name in ("x", "y", "gate"))
    with np.errstate(all="ignore"):
        return bf16(x + f64(inner(factor(gate) * y)))


@defect("residual", "gated_residual")
def tanh_left_out(**arguments: Any) -> Array:
    return _gated(arguments, lambda g: g[0])


@defect("residual", "gated_residual")
def gate_ignored(**arguments: Any) -> Array:
    return _gated(arguments, lambda g: 1.0)


@defect("residual", "gated_residual")
def tanh_not_rounded(**arguments: Any) -> Array:
    return _gated(arguments, lambda g: np.tanh(g[0]))


@defect("residual", "gated_residual")
def product_not_rounded(**arguments: Any) -> Array:
    return _gated(arguments, lambda g: f64(bf16(np.tanh(g)))[0], lambda x: x)


@defect("residual", "gated_residual")
def sigmoid_for_tanh(**arguments: Any) -> Array:
    return _gated(arguments, lambda g: f64(bf16(f32(1 / (1 + np.exp(-g)))))[0])


# ---- interleaved rope ------------------------------------------------------------------------------------------------
def _neighbours(x: Array, cos: Array, sin: Array, layout: str, steps: Any) -> Array:
    """The interleaved layout with other steps; the other one, and what golden refuses, as it is."""
    if layout != "interleaved" or _refused(fp8ref.rope, x=x, cos=cos, sin=sin, layout=layout):
        return fp8ref.rope(x, cos, sin, layout)
    a, b = f32(x[..., ::2]), f32(x[..., 1::2])
    with np.errstate(all="ignore"):
        return np.stack(steps(a, b, f32(cos)[:, None], f32(sin)[:, None]), axis=-1).reshape(x.shape)


@defect("rope")
def interleaved_with_fused_steps(x: Array, cos: Array, sin: Array, layout: str = "rotate_half") -> Array:
    def steps(a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
        return bf16(f32(f64(a) * f64(c) - f64(b * s))), bf16(f32(f64(a) * f64(s) + f64(b * c)))

    return _neighbours(x, cos, sin, layout, steps)


@defect("rope")
def interleaved_with_a_bfloat16_table(x: Array, cos: Array, sin: Array, layout: str = "rotate_half") -> Array:
    def steps(a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
        c, s = f32(bf16(c)), f32(bf16(s))
        return bf16(a * c - b * s), bf16(a * s + b * c)

    return _neighbours(x, cos, sin, layout, steps)


@defect("rope")
def interleaved_rounded_once(x: Array, cos: Array, sin: Array, layout: str = "rotate_half") -> Array:
    def steps(a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
        a, b, c, s = map(f64, (a, b, c, s))
        return bf16(a * c - b * s), bf16(a * s + b * c)

    return _neighbours(x, cos, sin, layout, steps)


@defect("rope")
def layout_ignored(x: Array, cos: Array, sin: Array, layout: str = "rotate_half") -> Array:
    if _refused(fp8ref.rope, x=x, cos=cos, sin=sin, layout=layout):
        return fp8ref.rope(x, cos, sin, layout)
    return fp8ref.rope(x, cos, sin)


# ---- chunked attention -----------------------------------------------------------------------------------------------
def _chunked(arguments: dict[str, Any], first: Any, last: Any = lambda p, c: p) -> Array:
    """Chunked attention whose query at a position p sees the keys first(p, chunk, prefix) to last(p, chunk)."""
    if arguments.get("mask") != "chunked" or _refused(fp8ref.attention, **arguments):
        return fp8ref.attention(**arguments)
    q, k, v = (arguments[name] for name in "qkv")
    prefix, chunk = len(k) - len(q), min(arguments["chunk"], len(k) + 1)
    rows = [np.zeros((0, *q.shape[1:]), q.dtype)]
    for i in range(len(q)):
        begin, end = max(first(prefix + i, chunk, prefix), 0), last(prefix + i, chunk) + 1
        one = {"q": q[i : i + 1], "k": k[begin:end], "v": v[begin:end], "mask": "full", "chunk": None}
        rows.append(fp8ref.attention(**{**arguments, **one}))
    return np.concatenate(rows)


@defect("attention")
def chunk_counted_from_the_query(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: p - c + 1)


@defect("attention")
def chunk_counted_from_the_first_query(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: prefix + (p - prefix) // c * c)


@defect("attention")
def chunk_of_one_key_more(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: p // (c + 1) * (c + 1))


@defect("attention")
def chunk_not_causal(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: p // c * c, lambda p, c: p // c * c + c - 1)


@defect("attention")
def blocks_counted_from_the_chunk(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: p // c * c)


blocks_counted_from_the_chunk.modes = ("sm90", "sm89", "sm80")  # type: ignore[attr-defined]


@defect("attention")
def chunks_forgotten(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: 0)
