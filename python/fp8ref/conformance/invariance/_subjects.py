# SPDX-License-Identifier: Apache-2.0
"""What invariances are checked on: operands of many rows, in which an order of sums or scales shows, and their axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...golden._args import LAYOUTS
from ...golden._rules import RULES
from ..cases import Case
from ..cases._stream import BFLOAT16, FLOAT8, Array, Stream
from ..claim import BOUND_ONLY
from ..derive import DERIVED, derived
from ..outcome import Arrays

M, N, K = 130, 16, 200  # beyond the tiles of kernels; K is an interval of promotion and a tail of two steps and 8
OFFSETS = (3, 20, 20, 84, 85, 127)  # of 5 experts, one of them without rows
Arguments = dict[str, Any]


class NotDefined(Exception):
    """Why a check says nothing of a function under its claim."""


@dataclass(frozen=True)
class Axis:
    """What is parallel to an axis of the results: arguments with the axis of each, and that of the results."""

    arguments: Mapping[str, int]
    result: int = 0

    def take(self, arguments: Mapping[str, Any], index: Any) -> Arguments:
        """The arguments for some places of the axis, in the order of ``index``."""
        kept = {name: np.take(arguments[name], index, axis) for name, axis in self.arguments.items()}
        return {**arguments, **kept}

    def size(self, arguments: Mapping[str, Any]) -> int:
        """How many places it has."""
        name, axis = next(iter(self.arguments.items()))
        return int(np.shape(arguments[name])[axis])

    def of(self, results: Arrays, index: Any, size: int) -> Arrays:
        """The results at these places; what has no such axis, such as a scale that was given, stays."""
        return {
            name: np.take(x, index, self.result) if x.ndim > self.result and x.shape[self.result] == size else x
            for name, x in results.items()
        }


@dataclass(frozen=True)
class Subject:
    """One call whose results are known to keep something."""

    function: str
    label: str
    arguments: Arguments
    rows: Axis
    others: tuple[Axis, ...] = ()  # further axes whose order is that of the results: columns, heads
    policies: Mapping[str, str] = field(default_factory=dict)

    def finished(self, arguments: Mapping[str, Any]) -> Arguments:
        """The arguments under the claimed policies: scales of rows become scales of blocks where an order needs them.

        Raises:
            NotDefined: golden has no such combination.
        """
        if not set(self.policies) & set(DERIVED):
            return {**arguments, **self.policies}
        # What has a bound and no bits is named to nobody, and takes the operands that exact does.
        named = {key: value for key, value in self.policies.items() if value not in BOUND_ONLY}
        known = {key: named.get(key, "exact") for key in self.policies}
        found = derived(Case(self.label, self.function, {**arguments, **known}), known)
        if found is None:
            raise NotDefined(f"golden has no {', '.join(self.policies.values())} with these operands")
        return {key: value for key, value in found.items() if key in named or key not in known}


def _values(values: Any) -> Array:
    return np.asarray(values, np.float32).astype(FLOAT8)


def product(rows: int = M, seed: str = "") -> Arguments:
    """A scaled product in which large terms cancel over all of K, and vLLM's witness of the order of scales."""
    s = Stream(f"invariance/product{seed}")
    a, b = (_values(s.normal((size, K), np.dtype(np.float32), exponent=-2)) for size in (rows, N))
    a[:, 0], a[:, K - 1], b[:, 0], b[:, K - 1] = (_values([x])[0] for x in (448, -448, 448, 448))
    a_scale, b_scale = s.scales((rows, 1), -3, 3), s.scales((N, 1), -9, -3)
    parts = _values([448, 448, 448, 448, 15, 0.5, -0.0078125])  # 1807.4921875: the orders of scales round apart
    b[0], b_scale[0] = _values([1.0])[0], 0.0007170428289100528
    for row in range(1, rows, 9):
        a[row] = _values([0.0])[0]
        a[row, 3 : 3 + len(parts)], a_scale[row] = parts, 0.003779232269152999
    return {"a": a, "b": b, "a_scale": a_scale, "b_scale": b_scale}


def _scaled_mm(policies: Mapping[str, str]) -> Iterator[Subject]:
    rows, columns = Axis({"a": 0, "a_scale": 0}), Axis({"b": 0, "b_scale": 0}, 1)
    for out_dtype in ("float32", "bfloat16"):
        yield Subject("scaled_mm", out_dtype, {**product(), "out_dtype": out_dtype}, rows, (columns,), policies)


def _grouped_mm(policies: Mapping[str, str]) -> Iterator[Subject]:
    one = product()
    s = Stream("invariance/experts")
    b = np.stack([one["b"]] + [s.pick(one["b"].ravel(), one["b"].shape) for _ in range(len(OFFSETS) - 2)])
    scales = np.stack([one["b_scale"]] * len(b)) * np.arange(1, 1 + len(b), dtype=np.float32)[:, None, None]
    rest = {"b": b, "b_scale": scales, "offsets": np.array(OFFSETS, np.int32)}
    rows, columns = Axis({"a": 0, "a_scale": 0}), Axis({"b": 1, "b_scale": 1}, 1)
    for out_dtype in ("float32", "bfloat16"):
        arguments = {**one, **rest, "out_dtype": out_dtype}
        yield Subject("grouped_mm", out_dtype, arguments, rows, (columns,), policies)


def _linear(policies: Mapping[str, str]) -> Iterator[Subject]:
    s = Stream("invariance/linear")
    x, weight = s.normal((M, K)), s.normal((N, K), exponent=-3)
    x[:, 0], x[:, K - 1], weight[:, 0], weight[:, K - 1] = 2.0**14, -(2.0**14), 1, 1
    arguments = {"x": x, "weight": weight, "bias": s.normal((N,), np.dtype(np.float32))}
    columns = Axis({"weight": 0, "bias": 0}, 1)
    yield Subject("linear", "bfloat16", arguments, Axis({"x": 0}), (columns,), policies)


def _quantize(policies: Mapping[str, str]) -> Iterator[Subject]:
    rule = RULES[policies.get("rule", "vllm.per_token")]
    for label, dtype in (("bfloat16", BFLOAT16), ("float32", np.dtype(np.float32))):
        s = Stream(f"invariance/quantize/{label}")
        x = np.ldexp(s.normal((M, K), np.dtype(np.float32)), s.integers((M, 1), -6, 6)).astype(dtype)
        arguments: Arguments = {"x": x, "rule": rule.name}
        if rule.given:
            arguments["scale"] = np.float32(0.0123456789)
        yield Subject("quantize", label, arguments, Axis({"x": 0}), (), policies)


def _rmsnorm(policies: Mapping[str, str]) -> Iterator[Subject]:
    s = Stream("invariance/rmsnorm")
    x = np.ldexp(s.normal((M, 96), np.dtype(np.float32)), s.integers((M, 1), -6, 6)).astype(BFLOAT16)
    arguments = {"x": x, "weight": s.normal((96,)), "eps": 1e-5}
    yield Subject("rmsnorm", "bfloat16", arguments, Axis({"x": 0}), (), policies)


def _pairs(function: str, first: str, second: str) -> Callable[[Mapping[str, str]], Iterator[Subject]]:
    def subjects(policies: Mapping[str, str]) -> Iterator[Subject]:
        s = Stream(f"invariance/{function}")
        arguments = {first: s.normal((M, 65)), second: s.normal((M, 65))}
        both = Axis({first: 0, second: 0}), Axis({first: 1, second: 1}, 1)
        yield Subject(function, "bfloat16", arguments, both[0], both[1:], policies)

    return subjects


def _rope(policies: Mapping[str, str]) -> Iterator[Subject]:
    s = Stream("invariance/rope")
    cos, sin = (np.ldexp(s.normal((M, 8), np.dtype(np.float32)), -3) for _ in range(2))
    arguments = {"x": s.normal((M, 3, 16)), "cos": cos, "sin": sin}
    for layout in LAYOUTS:
        given = {**arguments, "layout": layout}
        yield Subject("rope", layout, given, Axis({"x": 0, "cos": 0, "sin": 0}), (Axis({"x": 1}, 1),), policies)


def _gated_residual(policies: Mapping[str, str]) -> Iterator[Subject]:
    for subject in _pairs("gated_residual", "x", "y")(policies):
        gate = np.array([0.6], np.float32).astype(BFLOAT16)
        yield replace(subject, arguments={**subject.arguments, "gate": gate})


def _temperature_factors(policies: Mapping[str, str]) -> Iterator[Subject]:
    arguments = {"positions": np.arange(M) * 3001, "floor_scale": 8192.0, "attn_scale": 0.1}
    yield Subject("temperature_factors", "float32", arguments, Axis({"positions": 0}), (), policies)


def _temperature(policies: Mapping[str, str]) -> Iterator[Subject]:
    s = Stream("invariance/temperature")
    factors = 1 + np.abs(np.ldexp(s.normal((M,), np.dtype(np.float32)), -2))
    arguments = {"x": s.normal((M, 3, 16)), "factors": factors}
    yield Subject("temperature", "bfloat16", arguments, Axis({"x": 0, "factors": 0}), (Axis({"x": 1}, 1),), policies)


def _route(policies: Mapping[str, str]) -> Iterator[Subject]:
    """Logits of few values: ties in most rows."""
    logits = Stream("invariance/route").integers((M, 16), -3, 3).astype(np.float32).astype(BFLOAT16)
    yield Subject("route", "bfloat16", {"logits": logits, "top_k": 3}, Axis({"logits": 0}), (), policies)


def _dispatch(policies: Mapping[str, str]) -> Iterator[Subject]:
    """By column: a row's place depends on all tokens."""
    s = Stream("invariance/dispatch")
    arguments = {"x": s.normal((9, M)), "experts": s.integers((9, 2), 0, 5), "scores": s.normal((9, 2))}
    yield Subject("dispatch", "columns", {**arguments, "num_experts": 5}, Axis({"x": 1}, 1), (), policies)


def _combine(policies: Mapping[str, str]) -> Iterator[Subject]:
    """By column, for the same reason; terms of which most cancel."""
    s = Stream("invariance/combine")
    half = s.spread((9, M), -30, 30)
    arguments = {
        "routed": np.concatenate([half, -half, s.normal((9, M))])[np.argsort(s.words((27,)))],
        "order": np.argsort(s.words((27,))),
        "shared": s.normal((9, M)),
    }
    yield Subject("combine", "columns", arguments, Axis({"routed": 1, "shared": 1}, 1), (), policies)


def _attention(policies: Mapping[str, str]) -> Iterator[Subject]:
    heads = Axis({"q": 1, "k": 1, "v": 1}, 1)
    for mask, chunk in (("full", None), ("causal", None), ("chunked", 48)):
        s = Stream(f"invariance/attention/{mask}")
        q, k, v = (s.normal((M, 3, 16)) for _ in range(3))
        arguments = {"q": q, "k": k, "v": v, "scale": 0.25, "mask": mask, "chunk": chunk}
        yield Subject("attention", mask, arguments, Axis({"q": 0}), (heads,), policies)


SUBJECTS: dict[str, Callable[[Mapping[str, str]], Iterator[Subject]]] = {
    "scaled_mm": _scaled_mm,
    "grouped_mm": _grouped_mm,
    "linear": _linear,
    "quantize": _quantize,
    "rmsnorm": _rmsnorm,
    "rope": _rope,
    "temperature_factors": _temperature_factors,
    "temperature": _temperature,
    "attention": _attention,
    "route": _route,
    "dispatch": _dispatch,
    "combine": _combine,
    "silu_mul": _pairs("silu_mul", "gate", "up"),
    "residual": _pairs("residual", "x", "y"),
    "gated_residual": _gated_residual,
}
