# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about route, dispatch, combine, the attention temperature and the gated residual."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...golden._round import round_to, widen
from ...golden.residual import tanh
from ...golden.route import sigmoid
from ...golden.temperature import log1p
from ._evidence import Array
from ._golden import full_arguments, real
from ._rounding import finishes
from ._try import Hypothesis

Given = dict[str, Any]
Ideas = dict[tuple[str, str], Callable[[Given], Any]]


def _f32(x: Any) -> Array:
    return np.asarray(x, np.float32)


def _bf16(x: Array) -> Array:
    return round_to(x, "bfloat16")


def _ideas(table: Ideas) -> Iterator[Hypothesis]:
    for (kind, detail), change in table.items():
        yield Hypothesis(kind, detail, lambda call, change=change: change(full_arguments(call)))  # type: ignore[misc]


def _ends(words: str, change: Callable[[Callable[[Array], Array]], Callable[[Given], Any]]) -> Iterator[Hypothesis]:
    """A function with other roundings to bfloat16 at one place."""
    for kind, detail, last in finishes():

        def rounded(x: Array, last: Any = last) -> Array:
            return np.asarray(last(x, "bfloat16", None))

        yield from _ideas({(kind, f"{words}{detail}"): change(rounded)})


# ---- route ----------------------------------------------------------------------------------------------------------


def _chosen(given: Given, key: Callable[[Array], Array] = lambda z: z, last: str = "") -> Array:
    """The experts whose keys are largest; NaN above all, and of equal ones the first, or the ``last``."""
    z = key(real(given["logits"]))
    number = np.arange(z.shape[1]) * np.ones_like(z) * (-1 if last else 1)
    order = np.lexsort((number, -np.where(np.isnan(z), 0.0, z), ~np.isnan(z)), axis=-1)
    return np.asarray(order[:, : given["top_k"]], np.int64)


def _routed(
    experts: Callable[[Given], Array] = _chosen,
    score: Callable[[Given, Array], Array] = lambda g, e: _bf16(sigmoid(_logits(g, e))),
) -> Callable[[Given], Any]:
    def change(given: Given) -> Any:
        ids = experts(given)
        return ids, score(given, ids)

    return change


def _logits(given: Given, experts: Array) -> Array:
    return np.take_along_axis(real(given["logits"]), experts, axis=1)


def _softmax(z: Array) -> Array:
    w = np.exp(z - z.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(w / w.sum(axis=1, keepdims=True))


def _narrow_sigmoid(z: Array, name: str) -> Array:
    """Each step rounded to a type."""
    steps = real(round_to(np.exp(-z), name))
    return _bf16(1 / real(round_to(1 + steps, name)))


ROUTE: Ideas = {
    ("tie_rule", "the last of equal logits is chosen"): _routed(lambda g: _chosen(g, last="last")),
    ("special_values", "NaN is below every number"): _routed(
        lambda g: _chosen(g, lambda z: np.where(np.isnan(z), -np.inf, z))),
    ("special_values", "NaN counts as zero"): _routed(lambda g: _chosen(g, np.nan_to_num)),
    ("special_values", "-0 is less than +0"): _routed(lambda g: _chosen(
        g, lambda z: np.where(z == 0, np.where(np.signbit(z), -5e-324, 0.0), z))),
    ("subnormal_flush", "subnormal logits are zeros"): _routed(
        lambda g: _chosen(g, lambda z: np.where(np.abs(z) < 2.0**-126, 0.0, z))),
    ("double_rounding", "experts are chosen by their scores"): _routed(
        lambda g: _chosen(g, lambda z: real(_bf16(sigmoid(z))))),
    ("layout", "experts are chosen by magnitude"): _routed(lambda g: _chosen(g, np.abs)),
    ("layout", "the smallest logits are chosen"): _routed(lambda g: _chosen(g, np.negative)),
    ("layout", "the experts of a token are in ascending order"): _routed(lambda g: np.sort(_chosen(g), axis=1)),
    ("layout", "the experts of a token are in descending order"): _routed(
        lambda g: np.sort(_chosen(g), axis=1)[:, ::-1]),
    ("layout", "experts begin with 1"): lambda g: (_chosen(g) + 1, _routed()(g)[1]),
    ("scale_rule", "scores are a softmax of all logits"): _routed(
        score=lambda g, e: _bf16(_f32(np.take_along_axis(_softmax(real(g["logits"])), e, axis=1)))),
    ("scale_rule", "scores are a softmax of the chosen logits"): _routed(
        score=lambda g, e: _bf16(_f32(_softmax(_logits(g, e))))),
    ("scale_rule", "scores are normalised"): _routed(score=lambda g, e: _bf16(_f32(
        real(sigmoid(_logits(g, e))) / real(sigmoid(_logits(g, e))).sum(axis=1, keepdims=True)))),
    ("scale_rule", "scores are the logits"): _routed(score=lambda g, e: _bf16(_logits(g, e))),
    ("scale_rule", "scores are 1"): _routed(score=lambda g, e: _bf16(np.ones(e.shape))),
    ("scale_broadcast", "all experts of a token have the score of the first"): _routed(
        score=lambda g, e: _bf16(sigmoid(_logits(g, e[:, :1]))) * np.ones(e.shape, "bfloat16")),
    ("double_rounding", "the sigmoid in float32 steps"): _routed(
        score=lambda g, e: _bf16(_f32(1) / (_f32(1) + np.exp(-_f32(_logits(g, e)))))),
    ("double_rounding", "the sigmoid in bfloat16 steps"): _routed(
        score=lambda g, e: _narrow_sigmoid(_logits(g, e), "bfloat16")),
    ("double_rounding", "the sigmoid in float16 steps"): _routed(
        score=lambda g, e: _narrow_sigmoid(_logits(g, e), "float16")),
}  # fmt: skip


def route() -> Iterator[Hypothesis]:
    """All of route."""
    yield from _ideas(ROUTE)
    yield from _ends("of scores, ", lambda end: _routed(score=lambda g, e: end(real(sigmoid(_logits(g, e))))))


# ---- dispatch and combine -------------------------------------------------------------------------------------------


def _sorted(given: Given, within: Callable[[Array], Array] = lambda p: p) -> Array:
    """The numbers of pairs by expert, and within one by another key."""
    ids = given["experts"].ravel()
    return np.lexsort((within(np.arange(ids.size)), ids))


def _starts(given: Given) -> Array:
    counts = np.bincount(given["experts"].ravel(), minlength=given["num_experts"])
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _sent(
    order: Callable[[Given], Array] = _sorted,
    score: Callable[[Given, Array], Array] = lambda g, order: g["scores"].ravel()[order],
    starts: Callable[[Given], Array] = _starts,
    last: Callable[[Array], Array] = _bf16,
) -> Callable[[Given], Any]:
    def change(given: Given) -> Any:
        places = order(given)
        rows = real(given["x"])[places // given["experts"].shape[1]]
        return last(rows * real(score(given, places))[:, None]), places.astype(np.int64), starts(given)

    return change


DISPATCH: Ideas = {
    ("epilogue_order", "the score is not applied to the input"): _sent(score=lambda g, order: np.ones(len(order))),
    ("scale_broadcast", "scores stay in the order of tokens"): _sent(score=lambda g, order: g["scores"].ravel()),
    ("scale_broadcast", "the first score of a token serves all its experts"): _sent(
        score=lambda g, order: g["scores"][order // g["scores"].shape[1], 0]),
    ("layout", "pairs of one expert are in descending order"): _sent(lambda g: _sorted(g, np.negative)),
    ("layout", "pairs of one expert are in the order of choices"): _sent(
        lambda g: _sorted(g, lambda p: p % g["experts"].shape[1] * g["experts"].shape[0] + p)),
    ("layout", "pairs are not sorted by expert"): _sent(lambda g: np.arange(g["experts"].size)),
    ("layout", "pairs are sorted by descending expert"): _sent(
        lambda g: np.argsort(-g["experts"].ravel(), kind="stable")),
    ("layout", "order is the inverse permutation"): lambda g: (
        _sent()(g)[0], np.argsort(_sorted(g)).astype(np.int64), _starts(g)),
    ("layout", "order has tokens in the place of pairs"): lambda g: (
        _sent()(g)[0], _sorted(g) // g["experts"].shape[1], _starts(g)),
    ("group_boundary", "offsets are the ends of the groups"): _sent(
        starts=lambda g: np.append(_starts(g)[1:], _starts(g)[-1])),
    ("group_boundary", "offsets are the sizes of the groups"): _sent(
        starts=lambda g: np.append(np.diff(_starts(g)), _starts(g)[-1])),
    ("group_boundary", "offsets begin a row late"): _sent(
        starts=lambda g: np.minimum(_starts(g) + 1, g["experts"].size)),
    ("group_boundary", "offsets skip experts without rows"): _sent(
        starts=lambda g: np.sort(np.where(np.diff(_starts(g), append=-1) == 0, _starts(g)[-1], _starts(g)))),
}  # fmt: skip


def dispatch() -> Iterator[Hypothesis]:
    """All of dispatch."""
    yield from _ideas(DISPATCH)
    yield from _ends("", lambda end: _sent(last=end))


def _parts(given: Given, places: Callable[[Array], Array] = np.argsort) -> Array:
    """What the experts of each token give, (T, k, H)."""
    tokens, columns = given["shared"].shape
    rows = real(given["routed"])[places(np.asarray(given["order"]))]
    return rows.reshape(tokens, len(rows) // tokens if tokens else 1, columns)


def _in_turn(parts: Array, name: str, step: int = 1) -> Array:
    """Terms added one after the other, each sum rounded."""
    total = np.zeros_like(parts[:, 0])
    for j in range(parts.shape[1])[::step]:
        total = real(round_to(total + parts[:, j], name))
    return total


def _added(total: Callable[[Array], Array], places: Callable[[Array], Array] = np.argsort) -> Callable[[Given], Any]:
    def change(given: Given) -> Any:
        return _bf16(real(given["shared"]) + total(_parts(given, places)))

    return change


def _sum(parts: Array) -> Array:
    return real(_bf16(_f32(parts.sum(axis=1) + 0.0)))


COMBINE: Ideas = {
    ("accumulator", "bfloat16, one expert after the other"): _added(lambda p: _in_turn(p, "bfloat16")),
    ("accumulator", "float32, one expert after the other"): _added(lambda p: real(_bf16(_in_turn(p, "float32")))),
    ("accumulator", "bfloat16, the last expert first"): _added(lambda p: _in_turn(p, "bfloat16", -1)),
    ("accumulator", "float32, the last expert first"): _added(lambda p: real(_bf16(_in_turn(p, "float32", -1)))),
    ("accumulator", "float64"): _added(_sum),
    ("accumulator", "bfloat16, the experts added to the shared one in turn"): lambda g: _bf16(_in_turn(
        np.concatenate([real(g["shared"])[:, None], _parts(g)], axis=1), "bfloat16")),
    ("missing_rounding", "the sum is not rounded before the shared expert is added"): _added(lambda p: p.sum(axis=1)),
    ("missing_rounding", "the sum is rounded to float32 alone"): _added(lambda p: real(_f32(p.sum(axis=1)))),
    ("missing_rounding", "float32 sums, the shared expert with them"): lambda g: _bf16(_in_turn(
        np.concatenate([_parts(g), real(g["shared"])[:, None]], axis=1), "float32")),
    ("missing_rounding", "float32 sums, the shared expert first"): lambda g: _bf16(_in_turn(
        np.concatenate([real(g["shared"])[:, None], _parts(g)], axis=1), "float32")),
    ("special_values", "sums of -0 stay -0"): _added(lambda p: real(_bf16(_f32(
        np.where((p == 0).all(axis=1) & np.signbit(p).all(axis=1), -0.0, p.sum(axis=1)))))),
    ("epilogue_order", "the shared expert is left out"): lambda g: _bf16(_sum(_parts(g))),
    ("epilogue_order", "the routed experts are left out"): lambda g: g["shared"],
    ("epilogue_order", "the first expert alone is added"): _added(lambda p: p[:, 0]),
    ("epilogue_order", "the sum is divided by the number of experts"): _added(
        lambda p: real(_bf16(_f32(p.mean(axis=1))))),
    ("layout", "rows are taken by order and not by its inverse"): _added(_sum, lambda order: order),
    ("layout", "order is ignored"): _added(_sum, lambda order: np.arange(len(order))),
}  # fmt: skip


def combine() -> Iterator[Hypothesis]:
    """All of combine."""
    yield from _ideas(COMBINE)
    yield from _ends("", lambda end: lambda g: end(real(g["shared"]) + _sum(_parts(g))))
    yield from _ends("of the routed sum, ", lambda end: _added(lambda p: real(end(_f32(p.sum(axis=1) + 0.0)))))


# ---- temperature ----------------------------------------------------------------------------------------------------


def _grown(
    steps: Callable[[Array, Any], Array] = lambda p, f: np.floor(_f32(p + 1) / f),
    log: Callable[[Array], Array] = log1p,
    finish: Callable[[Array, Any], Array] = lambda y, a: _f32(_f32(y) * a) + _f32(1),
) -> Callable[[Given], Any]:
    def change(given: Given) -> Any:
        position, floor, scale = np.asarray(given["positions"]), _f32(given["floor_scale"]), _f32(given["attn_scale"])
        return _f32(finish(log(steps(position, floor)), scale))

    return change


FACTORS: Ideas = {
    ("missing_rounding", "the floor is left out"): _grown(
        lambda p, f: _f32(p + 1) / f, log=lambda n: _f32(np.log1p(real(n)))),
    ("missing_rounding", "the quotient is not rounded before the floor"): _grown(
        lambda p, f: _f32(np.floor((real(p) + 1) / real(f)))),
    ("missing_rounding", "floor_scale is not rounded to float32"): lambda g: _grown(
        lambda p, f: _f32(np.floor((real(p) + 1) / g["floor_scale"])))(g),
    ("missing_rounding", "attn_scale is not rounded to float32"): lambda g: _grown(
        finish=lambda y, a: _f32(_f32(real(y) * g["attn_scale"]) + _f32(1)))(g),
    ("scale_rule", "the quotient is rounded to the nearest integer"): _grown(lambda p, f: np.rint(_f32(p + 1) / f)),
    ("scale_rule", "the quotient is rounded up"): _grown(lambda p, f: np.ceil(_f32(p + 1) / f)),
    ("layout", "positions are one less"): _grown(lambda p, f: np.floor(_f32(p) / f)),
    ("layout", "positions are one more"): _grown(lambda p, f: np.floor(_f32(p + 2) / f)),
    ("scale_rule", "the logarithm is that of n, and of 1 for n = 0"): _grown(
        log=lambda n: log1p(np.maximum(n, _f32(1)) - _f32(1))),
    ("scale_rule", "the logarithm is that of n"): _grown(log=lambda n: _f32(np.log(real(n)))),
    ("scale_rule", "the logarithm has the base 2"): _grown(log=lambda n: _f32(np.log2(1 + real(n)))),
    ("scale_rule", "the logarithm has the base 10"): _grown(log=lambda n: _f32(np.log10(1 + real(n)))),
    ("epilogue_order", "1 is not added"): _grown(finish=lambda y, a: _f32(y) * a),
    ("epilogue_order", "1 is added before the product"): _grown(finish=lambda y, a: (_f32(y) + _f32(1)) * a),
    ("missing_rounding", "the product is not rounded before 1 is added"): _grown(
        finish=lambda y, a: _f32(real(_f32(y)) * real(a) + 1)),
    ("missing_rounding", "the logarithm is not rounded"): _grown(
        log=lambda n: np.log1p(real(n)), finish=lambda y, a: _f32(_f32(y * real(a)) + _f32(1))),
    ("missing_rounding", "nothing is rounded before the end"): _grown(
        log=lambda n: np.log1p(real(n)), finish=lambda y, a: _f32(y * real(a) + 1)),
    ("double_rounding", "log1p of a float32 library"): _grown(log=np.log1p),
    ("double_rounding", "log of 1 + n in float32"): _grown(log=lambda n: np.log(_f32(n) + _f32(1))),
    ("double_rounding", "the logarithm is rounded to bfloat16"): _grown(log=lambda n: widen(_bf16(log1p(n)))),
    ("double_rounding", "factors are rounded to bfloat16"): lambda g: widen(_bf16(_grown()(g))),
    ("double_rounding", "positions are rounded to bfloat16"): _grown(
        lambda p, f: np.floor(widen(_bf16(real(p) + 1)) / f)),
}  # fmt: skip


def temperature_factors() -> Iterator[Hypothesis]:
    """All of temperature_factors."""
    yield from _ideas(FACTORS)


def _warm(factor: Callable[[Given], Array], last: Callable[[Array], Array] = _f32) -> Callable[[Given], Any]:
    return lambda g: _bf16(last(real(g["x"]) * real(factor(g))))


def _by_token(given: Given) -> Array:
    return np.asarray(given["factors"][:, None, None])


TEMPERATURE: Ideas = {
    ("missing_rounding", "the product is not rounded to float32"): _warm(_by_token, lambda x: x),
    ("double_rounding", "factors are rounded to bfloat16"): _warm(lambda g: widen(_bf16(_by_token(g)))),
    ("double_rounding", "factors are rounded to float16"): _warm(lambda g: round_to(_by_token(g), "float16")),
    ("scale_broadcast", "the first factor serves all tokens"): _warm(lambda g: _by_token(g)[:1]),
    ("scale_broadcast", "each token has the factor of the token before"): _warm(lambda g: np.roll(_by_token(g), 1)),
    ("scale_broadcast", "tokens have the factors of the last one"): _warm(lambda g: _by_token(g)[-1:]),
    ("scale_broadcast", "factors are ignored"): lambda g: g["x"],
    ("reciprocal", "x is divided by the factor"): lambda g: _bf16(_f32(widen(g["x"]) / _by_token(g))),
}  # fmt: skip


def temperature() -> Iterator[Hypothesis]:
    """All of temperature."""
    yield from _ideas(TEMPERATURE)
    yield from _ends("", lambda end: lambda g: end(widen(g["x"]) * _by_token(g)))


# ---- the gated residual ---------------------------------------------------------------------------------------------


def _gate(given: Given) -> Array:
    return real(_bf16(tanh(real(given["gate"])))).reshape(())


def _gated(factor: Callable[[Given], Array], inner: Callable[[Array], Array] = _bf16) -> Callable[[Given], Any]:
    return lambda g: _bf16(real(g["x"]) + real(inner(factor(g) * real(g["y"]))))


def _raw(given: Given) -> Array:
    return real(given["gate"]).reshape(())


GATED: Ideas = {
    ("missing_rounding", "the product is not rounded"): _gated(_gate, lambda x: x),
    ("missing_rounding", "tanh is not rounded"): _gated(lambda g: np.tanh(_raw(g))),
    ("missing_rounding", "nothing is rounded before the end"): _gated(lambda g: np.tanh(_raw(g)), lambda x: x),
    ("missing_rounding", "tanh is rounded to float32 alone"): _gated(lambda g: real(_f32(np.tanh(_raw(g))))),
    ("missing_rounding", "float32 steps, rounded to bfloat16 at the end alone"): _gated(
        lambda g: real(_f32(np.tanh(_raw(g)))), _f32),
    ("epilogue_order", "tanh is left out"): _gated(_raw),
    ("epilogue_order", "the gate is ignored"): _gated(lambda g: np.asarray(1.0)),
    ("epilogue_order", "the gate's sigmoid is taken"): _gated(lambda g: real(_bf16(sigmoid(_raw(g).reshape(1))))[0]),
    ("epilogue_order", "x is multiplied and not y"): lambda g: _bf16(
        real(g["y"]) + real(_bf16(_gate(g) * real(g["x"])))),
    ("epilogue_order", "the sum is multiplied"): lambda g: _bf16(
        _gate(g) * real(_bf16(real(g["x"]) + real(g["y"])))),
    ("epilogue_order", "only x is kept"): lambda g: g["x"],
    ("epilogue_order", "only the product is kept"): lambda g: _bf16(_gate(g) * real(g["y"])),
    ("special_values", "-0 sums become +0"): lambda g: _gated(_gate)(g) + _bf16(np.zeros(())),
}  # fmt: skip


def gated_residual() -> Iterator[Hypothesis]:
    """All of gated_residual."""
    yield from _ideas(GATED)
    yield from _ends("", lambda end: lambda g: end(real(g["x"]) + real(_bf16(_gate(g) * real(g["y"])))))
    yield from _ends("of the product, ", lambda end: _gated(_gate, end))
