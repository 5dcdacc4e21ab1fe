# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about linear, rmsnorm, rope, attention, silu_mul, residual and sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from ...golden._round import round_to, widen
from ...golden._units import MODES
from ...golden.rmsnorm import reciprocal_sqrt, sum_of_squares
from ...golden.silu_mul import silu
from ._accumulators import in_types
from ._broadcast import PADS
from ._evidence import Array, Evidence
from ._golden import full_arguments, golden, real
from ._rounding import finishes
from ._try import Hypothesis

Given = Mapping[str, Any]


def _f32(x: Any) -> Array:
    return np.asarray(x, np.float32)


def _bf16(x: Array) -> Array:
    return round_to(x, "bfloat16")


def _of(change: Callable[[dict[str, Any]], Any]) -> Callable[[Evidence], Any]:
    return lambda call: change(full_arguments(call))


def _finished(wide: Callable[[dict[str, Any]], Array | None], name: str = "bfloat16") -> Iterator[Hypothesis]:
    """Other last roundings of what is known before it."""
    for kind, detail, last in finishes():

        def change(given: dict[str, Any], last: Any = last) -> Any:
            value = wide(given)
            return None if value is None else last(value, name, None)

        yield Hypothesis(kind, detail, _of(change))


# ---- linear ---------------------------------------------------------------------------------------------------------


def _sums(given: Given) -> Array:
    return real(given["x"]) @ real(given["weight"]).T


def _bias(given: Given) -> Any:
    return 0.0 if given["bias"] is None else real(given["bias"])


def linear() -> Iterator[Hypothesis]:
    """All of linear."""
    for name in (*MODES, "sm80_mma", "sm89_mma", "sm90_mma_sync", "sm90_wgmma", "sm100_tcgen05", "sm120_mma"):
        yield Hypothesis("accumulator", name, lambda call, n=name: golden(call, accumulate=n))  # type: ignore[misc]
    plain: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
        ("missing_rounding", "the sum is not rounded to float32"): lambda g: _bf16(_sums(g) + _bias(g)),
        ("epilogue_order", "the bias is added to the rounded output"): lambda g: _bf16(
            widen(_bf16(round_to(_sums(g), "float32"))) + _f32(_bias(g))),
        ("epilogue_order", "the bias is added after a rounding to float32"): lambda g: _bf16(
            round_to(_sums(g), "float32") + _f32(_bias(g))),
        ("epilogue_order", "the bias is ignored"): lambda g: _bf16(round_to(_sums(g), "float32")),
        ("double_rounding", "the bias is rounded to bfloat16"): lambda g: _bf16(
            round_to(_sums(g) + real(_bf16(np.asarray(_bias(g)))), "float32")),
        ("accumulator", "float64, rounded to float32 with the bias"): lambda g: _bf16(_f32(_sums(g) + _bias(g))),
        ("accumulator", "float32 matrix product and sum"): lambda g: _bf16(
            widen(g["x"]) @ widen(g["weight"]).T + _f32(_bias(g))),
        ("layout", "weight is read in the other storage order"): lambda g: _bf16(round_to(
            real(g["x"]) @ real(np.ascontiguousarray(g["weight"]).reshape(g["weight"].shape[::-1])) + _bias(g),
            "float32")),
    }  # fmt: skip
    for (kind, detail), change in plain.items():
        yield Hypothesis(kind, detail, _of(change))
    yield from _finished(lambda g: round_to(_sums(g) + _bias(g), "float32"))
    for detail, wave, how in in_types():

        def summed(g: dict[str, Any], how: Any = how) -> Any:
            acc = how(g["x"], g["weight"])
            return None if acc is None else _bf16(acc if g["bias"] is None else acc + _f32(_bias(g)))

        yield Hypothesis("accumulator", detail, _of(summed), wave)
    for count in PADS:

        def cut(call: Evidence, count: int = count) -> Any:
            k = call.arguments["x"].shape[1] // count * count
            return golden(call, x=call.arguments["x"][:, :k], weight=call.arguments["weight"][:, :k])

        yield Hypothesis("k_tail", f"the last K mod {count} elements of K are left out", cut)


# ---- rmsnorm --------------------------------------------------------------------------------------------------------


def _rms(
    given: dict[str, Any],
    mean: Callable[[Array], Array] | None = None,
    root: Callable[[Array, Any], Array] | None = None,
    finish: Callable[[Array, Array, Array], Array] | None = None,
) -> Array | None:
    x = given["x"]
    if not x.size:
        return None
    rows, eps = widen(x.reshape(-1, x.shape[-1])), _f32(given["eps"])
    v = sum_of_squares(rows) / _f32(rows.shape[1]) if mean is None else mean(rows)
    r = reciprocal_sqrt(_f32(v) + eps) if root is None else _f32(root(v, eps))
    w = _f32(1) if given["weight"] is None else widen(given["weight"])
    if finish is not None:
        y = finish(rows, r[:, None], w)
    else:
        y = _bf16(rows * r[:, None])
        y = y if given["weight"] is None else _bf16(real(y) * real(w))
    return np.asarray(y).reshape(x.shape)


def _tailless(count: int) -> Callable[[Array], Array]:
    """The mean of squares without the last K mod ``count``, where K is larger."""

    def mean(x: Array) -> Array:
        k = x.shape[1]
        kept = k // count * count or k
        return _f32(sum_of_squares(np.ascontiguousarray(x[:, :kept])) / _f32(k))

    return mean


def _sequential(x: Array, name: str) -> Array:
    total = np.zeros(len(x))
    for column in x.T:
        total = real(round_to(total + real(column) ** 2, name))
    return _f32(total) / _f32(x.shape[1])


RMS: dict[tuple[str, str], dict[str, Any]] = {
    ("epilogue_order", "eps is added to the root, not under it"): {"root": lambda v, e: 1 / (np.sqrt(real(v)) + e)},
    ("epilogue_order", "eps is left out"): {"root": lambda v, e: 1 / np.sqrt(real(v))},
    ("epilogue_order", "eps is the least mean"): {"root": lambda v, e: 1 / np.sqrt(real(np.maximum(v, e)))},
    ("double_rounding", "the root is rounded before it is divided by"): {"root": lambda v, e: _f32(1) / np.sqrt(v + e)},
    ("missing_rounding", "mean + eps is not rounded"): {"root": lambda v, e: 1 / np.sqrt(real(v) + float(e))},
    ("double_rounding", "1/root is rounded to bfloat16"): {
        "root": lambda v, e: widen(_bf16(reciprocal_sqrt(v + e)))},
    ("reciprocal", "the mean is a product with RN32(1/K)"): {
        "mean": lambda x: sum_of_squares(x) * _f32(1 / x.shape[1])},
    ("missing_rounding", "the normalised value is not rounded before the weight"): {
        "finish": lambda x, r, w: _bf16(_f32(x * r) * w)},
    ("missing_rounding", "nothing is rounded before the end"): {
        "finish": lambda x, r, w: _bf16(real(x) * real(r) * real(w))},
    ("missing_rounding", "x * r is not rounded to float32"): {
        "finish": lambda x, r, w: _bf16(real(_bf16(real(x) * real(r))) * real(w))},
    ("epilogue_order", "the weight is multiplied first"): {"finish": lambda x, r, w: _bf16(_f32(x * w) * r)},
    ("epilogue_order", "1 is added to the weight"): {
        "finish": lambda x, r, w: _bf16(real(_bf16(x * r)) * (1 + real(w)))},
    ("epilogue_order", "the weight is ignored"): {"finish": lambda x, r, w: _bf16(x * r)},
    ("accumulator", "float32, one square after the other"): {"mean": lambda x: _sequential(x, "float32")},
    ("accumulator", "float32, as numpy adds"): {"mean": lambda x: np.mean(x * x, axis=1)},
    ("accumulator", "float32 sum of numpy"): {"mean": lambda x: np.sum(x * x, axis=1) / _f32(x.shape[1])},
    ("accumulator", "bfloat16, one square after the other"): {"mean": lambda x: _sequential(x, "bfloat16")},
    ("accumulator", "float16, one square after the other"): {"mean": lambda x: _sequential(x, "float16")},
    ("double_rounding", "the mean of squares is rounded to bfloat16"): {
        "mean": lambda x: widen(_bf16(np.mean(real(x) ** 2, axis=1)))},
    ("missing_rounding", "the mean of squares is not rounded"): {
        "mean": lambda x: np.mean(real(x) ** 2, axis=1)[:],
        "root": lambda v, e: 1 / np.sqrt(v + float(e))},
    ("double_rounding", "squares are rounded to bfloat16"): {
        "mean": lambda x: _f32(real(_bf16(real(x) ** 2)).sum(axis=1)) / _f32(x.shape[1])},
    ("epilogue_order", "the mean is not divided by K but by K - 1"): {
        "mean": lambda x: sum_of_squares(x) / _f32(max(x.shape[1] - 1, 1))},
    ("epilogue_order", "the mean is subtracted, as layer norm does"): {
        "mean": lambda x: _f32(np.var(real(x), axis=1))},
    ("epilogue_order", "the sum of squares is not divided by K"): {"mean": sum_of_squares},
}  # fmt: skip


def rmsnorm() -> Iterator[Hypothesis]:
    """All of rmsnorm."""
    for (kind, detail), changes in RMS.items():
        yield Hypothesis(kind, detail, _of(lambda g, c=changes: _rms(g, **c)))  # type: ignore[misc]
    for count in PADS:
        words = f"the sum of squares misses the last K mod {count} elements"
        yield Hypothesis("k_tail", words, _of(partial(_rms, mean=_tailless(count))))
    for kind, detail, last in finishes():
        yield Hypothesis(kind, detail, _of(partial(_rms, finish=partial(_end, last=last))))
        words = f"before the weight, {detail}"
        yield Hypothesis(kind, words, _of(partial(_rms, finish=partial(_first, last=last))))


def _end(x: Array, r: Array, w: Array, last: Any) -> Array:
    return np.asarray(last(real(_bf16(x * r)) * real(w), "bfloat16", None))


def _first(x: Array, r: Array, w: Array, last: Any) -> Array:
    return _bf16(real(last(x * r, "bfloat16", None)) * real(w))


# ---- silu_mul, residual, sample --------------------------------------------------------------------------------------


def _fast_silu(g: Array) -> Array:
    g = widen(g)
    return np.asarray(g / (_f32(1) + np.exp(-g)))


SILU: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
    ("missing_rounding", "silu is not rounded to bfloat16"): lambda g: _bf16(
        real(silu(real(g["gate"]))) * real(g["up"])),
    ("missing_rounding", "silu is not rounded to bfloat16, the product is rounded to float32"): lambda g: _bf16(
        silu(real(g["gate"])) * widen(g["up"])),
    ("missing_rounding", "silu is not rounded to bfloat16, in float32 steps"): lambda g: _bf16(
        real(_fast_silu(g["gate"])) * real(g["up"])),
    ("missing_rounding", "float32 steps, rounded to bfloat16 at the end alone"): lambda g: _bf16(
        _fast_silu(g["gate"]) * widen(g["up"])),
    ("double_rounding", "silu in float32 steps"): lambda g: _bf16(
        real(_bf16(_fast_silu(g["gate"]))) * real(g["up"])),
    ("double_rounding", "silu in float32 steps, by the sigmoid"): lambda g: _bf16(
        real(_bf16(widen(g["gate"]) * (_f32(1) / (_f32(1) + np.exp(-widen(g["gate"])))))) * real(g["up"])),
    ("double_rounding", "the sigmoid is rounded to bfloat16"): lambda g: _bf16(real(_bf16(
        real(g["gate"]) * real(_bf16(1 / (1 + np.exp(-real(g["gate"]))))))) * real(g["up"])),
    ("double_rounding", "silu is rounded to float16"): lambda g: _bf16(
        real(round_to(silu(real(g["gate"])), "float16")) * real(g["up"])),
    ("layout", "gate and up are swapped"): lambda g: _bf16(real(_bf16(silu(real(g["up"])))) * real(g["gate"])),
    ("epilogue_order", "up is ignored"): lambda g: _bf16(silu(real(g["gate"]))),
    ("epilogue_order", "gate is multiplied without silu"): lambda g: _bf16(real(g["gate"]) * real(g["up"])),
}  # fmt: skip


def silu_mul() -> Iterator[Hypothesis]:
    """All of silu_mul."""
    for (kind, detail), change in SILU.items():
        yield Hypothesis(kind, detail, _of(change))
    zero = lambda g: np.where(np.isneginf(real(g["gate"])), real(g["up"]) * -0.0, np.nan)  # noqa: E731
    for words, value in (("gives zero", zero), ("gives +0", lambda g: np.zeros(g["gate"].shape))):

        def limited(call: Evidence, value: Any = value) -> Any:
            given = full_arguments(call)
            low = np.isneginf(real(given["gate"]))
            return {name: np.where(low, _bf16(value(given)), y) for name, y in call.expected.items()}

        yield Hypothesis("special_values", f"-infinity of gate {words}", limited)
    yield from _finished(lambda g: real(_bf16(silu(real(g["gate"])))) * real(g["up"]))


def residual() -> Iterator[Hypothesis]:
    """All of residual."""
    yield from _finished(lambda g: real(g["x"]) + real(g["y"]))
    yield Hypothesis("epilogue_order", "y is subtracted", _of(lambda g: _bf16(real(g["x"]) - real(g["y"]))))
    for name in "xy":
        yield Hypothesis("epilogue_order", f"only {name} is kept", _of(lambda g, n=name: g[n]))  # type: ignore[misc]


def _argmax(given: dict[str, Any], change: Callable[[Array], Array], last: str = "") -> Any:
    z = change(real(given["logits"]))
    if last:
        return z.shape[-1] - 1 - np.argmax(z[..., ::-1], axis=-1)
    return np.asarray(np.argmax(z, axis=-1), np.int64)


SAMPLE: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
    ("tie_rule", "the last of equal logits wins"): lambda g: _argmax(g, lambda z: z, "last"),
    ("special_values", "NaN is skipped"): lambda g: _argmax(g, lambda z: np.where(np.isnan(z), -np.inf, z)),
    ("special_values", "NaN is skipped, and the last of equal logits wins"): lambda g: _argmax(
        g, lambda z: np.where(np.isnan(z), -np.inf, z), "last"),
    ("special_values", "-0 is less than +0"): lambda g: _argmax(
        g, lambda z: np.where(z == 0, np.where(np.signbit(z), -5e-324, 0.0), z)),
    ("special_values", "infinity is skipped"): lambda g: _argmax(g, lambda z: np.where(np.isinf(z), -np.inf, z)),
    ("subnormal_flush", "subnormal logits are zeros"): lambda g: _argmax(
        g, lambda z: np.where(np.abs(z) < 2.0**-126, 0.0, z)),
    ("double_rounding", "logits are rounded to bfloat16"): lambda g: _argmax(g, lambda z: real(_bf16(z))),
    ("double_rounding", "logits are rounded to float16"): lambda g: _argmax(g, lambda z: real(round_to(z, "float16"))),
    ("layout", "the largest magnitude wins"): lambda g: _argmax(g, np.abs),
    ("layout", "the smallest logit wins"): lambda g: _argmax(g, np.negative),
    ("k_tail", "the last logit is left out"): lambda g: _argmax(
        g, lambda z: z[..., :-1] if z.shape[-1] > 1 else z),
    ("layout", "indices begin with 1"): lambda g: _argmax(g, lambda z: z) + 1,
}  # fmt: skip


def sample() -> Iterator[Hypothesis]:
    """All of sample."""
    for (kind, detail), change in SAMPLE.items():
        yield Hypothesis(kind, detail, _of(change))
