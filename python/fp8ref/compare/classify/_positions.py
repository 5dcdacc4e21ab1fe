# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about rope and attention: where a token stands, what it sees, and what is rounded on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...golden._args import LAYOUTS
from ...golden._round import round_to, widen
from ...golden._units import MODES
from ...golden.attention import score_factor
from ._broadcast import PADS
from ._evidence import Array, Evidence
from ._golden import full_arguments, golden, real
from ._try import Hypothesis

Steps = Callable[[Array, Array, Array, Array], tuple[Array, Array]]


def _f32(x: Any) -> Array:
    return np.asarray(x, np.float32)


def _bf16(x: Array) -> Array:
    return round_to(x, "bfloat16")


# ---- rope -----------------------------------------------------------------------------------------------------------


def _turned(layout: str, steps: Steps, table: str, pairs: str, result: str = "") -> Callable[[Evidence], Any]:
    """rope of one layout with other steps; pairs are halves of a head or neighbours, of the result too or not."""

    def predict(call: Evidence) -> Any:
        given = full_arguments(call)
        if given["layout"] != layout:
            return None
        x = widen(given["x"])
        cos, sin = (widen(round_to(given[name], table))[:, None, :] for name in ("cos", "sin"))
        half = x.shape[-1] // 2
        one, two = (x[..., :half], x[..., half:]) if pairs == "halves" else (x[..., ::2], x[..., 1::2])
        first, second = steps(one, two, cos, sin)
        if (result or pairs) == "halves":
            return np.concatenate([first, second], axis=-1)
        return np.stack([first, second], axis=-1).reshape(x.shape)

    return predict


def _rounded(a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
    """Each product and each sum rounded to bfloat16, as golden has it. [ROPE-ROTATE]"""
    ac, bs, bc, sa = (real(_bf16(real(p) * real(q))) for p, q in ((a, c), (b, s), (b, c), (a, s)))
    return _bf16(ac - bs), _bf16(bc + sa)


def _float32(a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
    return _bf16(a * c - b * s), _bf16(b * c + a * s)


def _once(a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
    a, b, c, s = map(real, (a, b, c, s))
    return _bf16(a * c - b * s), _bf16(b * c + a * s)


def _other_way(steps: Steps) -> Steps:
    return lambda a, b, c, s: steps(a, b, c, -s)


def _fused(a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
    """The first product of each sum is not rounded."""
    ac, bs, bc, sa = real(a) * real(c), b * s, b * c, real(a) * real(s)
    return _bf16(_f32(ac - bs)), _bf16(_f32(sa + bc))


def _fused_last(a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
    """Nor the second one."""
    ac, bs, bc, sa = a * c, real(b) * real(s), real(b) * real(c), a * s
    return _bf16(_f32(ac - bs)), _bf16(_f32(sa + bc))


def _interleaved() -> Iterator[Hypothesis]:
    """Of the layout whose pairs are neighbours, turned in float32. [ROPE-INTERLEAVED]"""
    layout = "interleaved"
    for kind, detail, steps, table in (
        ("missing_rounding", "a fused multiply-add with the first product", _fused, "float32"),
        ("missing_rounding", "a fused multiply-add with the second product", _fused_last, "float32"),
        ("missing_rounding", "rounded once", _once, "float32"),
        ("double_rounding", "each product and sum rounded to bfloat16", _rounded, "float32"),
        ("double_rounding", "a table in bfloat16", _float32, "bfloat16"),
        ("double_rounding", "a table in float16", _float32, "float16"),
        ("double_rounding", "all in bfloat16", _rounded, "bfloat16"),
    ):
        yield Hypothesis(kind, detail, _turned(layout, steps, table, "neighbours"))
        yield Hypothesis("layout", f"pairs are halves, {detail}", _turned(layout, steps, table, "halves"))
    for detail, pairs, result in (
        ("pairs are halves", "halves", "halves"),
        ("pairs are neighbours, and the halves of the result", "neighbours", "halves"),
        ("pairs are halves, and neighbours in the result", "halves", "neighbours"),
    ):
        yield Hypothesis("layout", detail, _turned(layout, _float32, "float32", pairs, result))
    backward = _turned(layout, _other_way(_float32), "float32", "neighbours")
    yield Hypothesis("layout", "turned backward", backward)


def rope() -> Iterator[Hypothesis]:
    """All of rope."""
    for name in LAYOUTS:
        yield Hypothesis("layout", f"always {name}", lambda call, n=name: golden(call, layout=n))  # type: ignore[misc]
    yield from _interleaved()
    for pairs in ("halves", "neighbours"):
        for table in ("bfloat16", "float32", "float16"):
            for words, kind, steps in (
                ("each product rounded", "double_rounding", _rounded),
                ("in float32", "missing_rounding", _float32),
                ("rounded once", "missing_rounding", _once),
            ):
                named = "layout" if pairs == "neighbours" else "missing_rounding" if table != "bfloat16" else kind
                detail = f"pairs are {pairs}, {words}, a table in {table}"
                yield Hypothesis(named, detail, _turned("rotate_half", steps, table, pairs))
                backward = _turned("rotate_half", _other_way(steps), table, pairs)
                yield Hypothesis("layout", f"{detail}, turned backward", backward)


def _angles(change: Callable[[Array, Array], Array]) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        given = full_arguments(call)
        angle = real(change(np.asarray(given["positions"]), np.asarray(given["frequencies"])))
        return _f32(np.cos(angle)), _f32(np.sin(angle))

    return predict


def _float32_table(call: Evidence) -> Any:
    given = full_arguments(call)
    angle = _f32(np.multiply.outer(_f32(given["positions"]), given["frequencies"]))
    return np.cos(angle), np.sin(angle)


def rope_table() -> Iterator[Hypothesis]:
    """All of rope_table."""
    outer = np.multiply.outer
    for kind, detail, change in (
        ("missing_rounding", "the angle is not rounded", lambda p, f: outer(real(p), real(f))),
        ("double_rounding", "the angle is rounded to bfloat16", lambda p, f: _bf16(outer(real(p), real(f)))),
        ("double_rounding", "the angle is rounded to float16",
         lambda p, f: round_to(outer(real(p), real(f)), "float16")),
        ("double_rounding", "positions are rounded to bfloat16", lambda p, f: _f32(widen(_bf16(real(p)))[:, None] * f)),
        ("double_rounding", "frequencies are rounded to bfloat16",
         lambda p, f: outer(_f32(p), widen(_bf16(f)))),
        ("layout", "positions begin with 1", lambda p, f: outer(_f32(p + 1), f)),
        ("layout", "positions are one less", lambda p, f: outer(_f32(p - 1), f)),
    ):  # fmt: skip
        yield Hypothesis(kind, detail, _angles(change))
    yield Hypothesis("double_rounding", "cosine and sine of a float32 library", _float32_table)
    yield Hypothesis("layout", "cosine and sine are swapped", lambda call: tuple(call.expected.values())[::-1])
    for name in ("bfloat16", "float16"):
        yield Hypothesis("double_rounding", f"the table is rounded to {name}", lambda call, n=name: tuple(
            widen(round_to(x, n)) for x in call.expected.values()))  # type: ignore[misc]  # fmt: skip


def rope_frequencies() -> Iterator[Hypothesis]:
    """All of rope_frequencies."""

    def power(given: dict[str, Any]) -> Array:
        return np.asarray(real(np.arange(0, given["head_dim"], 2)) / given["head_dim"])

    plain: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
        ("missing_rounding", "the power is not rounded"): lambda g: _f32(float(g["base"]) ** -power(g)),
        ("double_rounding", "float32 powers"): lambda g: _f32(1) / (_f32(g["base"]) ** _f32(power(g))),
        ("double_rounding", "float32 powers of a negative exponent"): lambda g: _f32(g["base"]) ** -_f32(power(g)),
        ("double_rounding", "by exp and log in float32"): lambda g: np.exp(-_f32(power(g)) * np.log(_f32(g["base"]))),
    }
    for (kind, detail), change in plain.items():

        def predict(call: Evidence, change: Any = change) -> Any:
            given = full_arguments(call)
            return change(given) if given["scaling"] is None else None

        yield Hypothesis(kind, detail, predict)
    yield Hypothesis("scale_rule", "the scaling is ignored", lambda call: golden(call, scaling=None))

    def linear(call: Evidence) -> Any:
        scaling = call.arguments.get("scaling")
        return golden(call) if scaling is None else golden(call, scaling=None) / _f32(scaling["factor"])

    def no_band(call: Evidence) -> Any:
        plain, scaled = golden(call, scaling=None), golden(call)
        scaling = call.arguments.get("scaling")
        if scaling is None or plain is None or scaled is None:
            return scaled
        return np.where((scaled != plain) & (scaled != plain / _f32(scaling["factor"])), plain, scaled)

    yield Hypothesis("scale_rule", "all frequencies are divided by the factor", linear)
    yield Hypothesis("scale_rule", "the middle band is not scaled", no_band)


# ---- attention ------------------------------------------------------------------------------------------------------


def _softmax(
    weights: Callable[[Array], Array] = lambda w: real(_bf16(w)),
    finish: Callable[[Array, Array], Array] = lambda n, d: n / d,
    score: Callable[[Array], Array] = lambda s: real(_f32(s)),
    group: Callable[[Array, int, int], Array] = lambda h, heads, kv: h // max(heads // kv, 1),
    shift: int = 0,
) -> Callable[[Evidence], Any]:
    """Attention in float64 with bfloat16 weights, one step replaced; only where golden's answer is finite."""

    def predict(call: Evidence) -> Any:
        given = full_arguments(call)
        (right,) = call.expected.values()
        if not right.size or not np.isfinite(real(right)).all() or given["accumulate"] != "exact":
            return None
        q, k, v = (real(given[name]) for name in "qkv")
        (t, heads, width), (length, kv, _) = q.shape, k.shape
        factor = score_factor(width, given["scale"])
        seen = _seen(given, t, length, shift)
        out = np.zeros_like(right)
        owner = group(np.arange(heads), heads, kv)
        for head in range(heads):
            s = real(_f32(score(q[:, head] @ k[:, owner[head]].T)) * factor)
            top = np.max(s, axis=1, keepdims=True, initial=-np.inf, where=seen)
            w = weights(np.exp2(np.where(seen, s - top, -np.inf)))
            out[:, head] = _bf16(finish(w @ v[:, owner[head]], w.sum(axis=1, keepdims=True)))
        return out

    return predict


def _seen(given: dict[str, Any], queries: int, keys: int, shift: int = 0) -> Array:
    """Which keys each query sees. [ATTN-VISIBLE]"""
    position = np.arange(keys - queries, keys)[:, None]
    if given["mask"] == "full":
        return np.ones((queries, keys), bool)
    first = position // given["chunk"] * given["chunk"] if given["mask"] == "chunked" else 0
    key = np.arange(keys)
    return np.asarray((key >= first) & (key <= position + shift))


def _chunked(first: Callable[[Array, int, int], Array], last: Callable[[Array, int], Array]) -> Callable[..., Any]:
    """Attention whose query at a position sees other keys, with chunks; first(position, chunk, prefix)."""

    def predict(call: Evidence) -> Any:
        given = full_arguments(call)
        if given["mask"] != "chunked":
            return None
        q, k, v, chunk = given["q"], given["k"], given["v"], min(given["chunk"], len(given["k"]) + 1)
        position = np.arange(len(k) - len(q), len(k))
        begin = np.clip(first(position, chunk, len(k) - len(q)), 0, None)
        rows = [
            golden(call, q=q[i : i + 1], k=k[a:b], v=v[a:b], mask="full", chunk=None)
            for i, (a, b) in enumerate(zip(begin, last(position, chunk) + 1, strict=True))
        ]
        return np.concatenate(rows) if rows else None

    return predict


CHUNKS: dict[str, tuple[Callable[[Array, int, int], Array], Callable[[Array, int], Array]]] = {
    "chunks are counted back from each query": (lambda p, c, before: p - c + 1, lambda p, c: p),
    "chunks are counted from the first query": (lambda p, c, before: before + (p - before) // c * c, lambda p, c: p),
    "chunks have one position more": (lambda p, c, before: p // (c + 1) * (c + 1), lambda p, c: p),
    "chunks have one position less": (lambda p, c, before: p // max(c - 1, 1) * max(c - 1, 1), lambda p, c: p),
    "chunks begin one position late": (lambda p, c, before: (p - 1) // c * c + 1, lambda p, c: p),
    "a query sees the chunk before its own": (lambda p, c, before: (p // c - 1) * c, lambda p, c: p),
    "a query sees all of its chunk": (lambda p, c, before: p // c * c, lambda p, c: p // c * c + c - 1),
    "blocks of keys are counted from the chunk": (lambda p, c, before: p // c * c, lambda p, c: p),
    "chunks are ignored": (lambda p, c, before: p * 0, lambda p, c: p),
}


def _prefix(call: Evidence) -> Any:
    given = full_arguments(call)
    t = len(given["q"])
    return None if given["mask"] == "full" else golden(call, k=given["k"][:t], v=given["v"][:t])


def _headless(count: int) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        q = np.array(call.arguments["q"])
        q[..., q.shape[-1] // count * count :] = q.dtype.type(0)
        return golden(call, q=q)

    return predict


def _keyless(count: int) -> Callable[[Evidence], Any]:
    def predict(call: Evidence) -> Any:
        given = full_arguments(call)
        length = len(given["k"])
        kept = length // count * count or length
        return golden(call, k=given["k"][:kept], v=given["v"][:kept]) if given["mask"] == "full" else None

    return predict


SOFTMAX: dict[tuple[str, str], dict[str, Any]] = {
    ("missing_rounding", "weights are not rounded to bfloat16"): {"weights": lambda w: w},
    ("missing_rounding", "weights are rounded to float32 alone"): {"weights": lambda w: real(_f32(w))},
    ("double_rounding", "weights are rounded to float16"): {"weights": lambda w: real(round_to(w, "float16"))},
    ("double_rounding", "weights are normalised before they are rounded"): {
        "weights": lambda w: real(_bf16(w / w.sum(axis=1, keepdims=True))), "finish": lambda n, d: n},
    ("missing_rounding", "weights are normalised first and not rounded"): {
        "weights": lambda w: w / w.sum(axis=1, keepdims=True), "finish": lambda n, d: n},
    ("double_rounding", "scores are rounded to bfloat16"): {"score": lambda s: real(_bf16(s))},
    ("double_rounding", "sums are rounded to bfloat16 before the division"): {
        "finish": lambda n, d: real(_bf16(n)) / d},
    ("reciprocal", "the division is a product with RN32(1/sum)"): {
        "finish": lambda n, d: _f32(n) * (_f32(1) / _f32(d))},
    ("layout", "query heads share keys by remainder"): {"group": lambda h, heads, kv: h % kv},
    ("layout", "the mask is one key too long"): {"shift": 1},
    ("layout", "the mask is one key too short"): {"shift": -1},
}  # fmt: skip


def attention() -> Iterator[Hypothesis]:
    """All of attention."""
    for name in (*MODES, "sm80_mma", "sm89_mma", "sm90_wgmma", "sm100_tcgen05"):
        yield Hypothesis("accumulator", name, lambda call, n=name: golden(call, accumulate=n))  # type: ignore[misc]
    for detail, (first, last) in CHUNKS.items():
        yield Hypothesis("layout", detail, _chunked(first, last))
    for detail, changes in {
        "the causal mask is missing": {"mask": "full", "chunk": None},
        "a causal mask is applied to all": {"mask": "causal", "chunk": None},
    }.items():
        yield Hypothesis("layout", detail, lambda call, c=changes: golden(call, **c))  # type: ignore[misc]
    yield Hypothesis("layout", "the mask ignores keys of earlier calls", _prefix)
    yield Hypothesis("layout", "the last key is left out, and the mask is that of one key less",
                     lambda call: golden(call, k=call.arguments["k"][:-1], v=call.arguments["v"][:-1])
                     if len(call.arguments["q"]) < len(call.arguments["k"]) else golden(call))  # fmt: skip
    for count in PADS:
        yield Hypothesis("k_tail", f"the last elements mod {count} of a head are not in the scores", _headless(count))
        yield Hypothesis("k_tail", f"the last keys mod {count} are left out, where there are more", _keyless(count))
    yield Hypothesis("scale_rule", "scale is ignored", lambda call: golden(call, scale=None))
    yield Hypothesis("scale_rule", "scores are not scaled", lambda call: golden(call, scale=1.0))
    yield Hypothesis("layout", "keys and values are swapped",
                     lambda call: golden(call, k=call.arguments["v"], v=call.arguments["k"]))  # fmt: skip
    for (kind, detail), steps in SOFTMAX.items():
        yield Hypothesis(kind, detail, _softmax(**steps))
