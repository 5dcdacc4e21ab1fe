# SPDX-License-Identifier: Apache-2.0
"""The witness with one mistake in it: each function changes what its name says, for the time of a test."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
from pytest import MonkeyPatch

from witness import attention, formats, llama, rmsnorm, rope, scaled_mm, silu_mul
from witness.arithmetic import add, divide, dot, is_number, multiply, negate, rounded, via_fp32
from witness.formats import BF16, FP32, decode, encode

MUTATIONS: list[tuple[str, Callable[[MonkeyPatch], None]]] = []


def mutation(stem: str) -> Callable[[Callable[[MonkeyPatch], None]], Callable[[MonkeyPatch], None]]:
    """Register a mutation of an operation."""

    def register(change: Callable[[MonkeyPatch], None]) -> Callable[[MonkeyPatch], None]:
        MUTATIONS.append((stem, change))
        return change

    return register


def _encode_through_fp32(fmt: formats.Format, value: Any, *policy: Any) -> int:
    return encode(fmt, via_fp32(value), *policy)


@mutation("e4m3")
def codes_round_through_fp32(patch: MonkeyPatch) -> None:
    patch.setattr(formats, "encode", _encode_through_fp32)


@mutation("e4m3")
def policies_are_swapped(patch: MonkeyPatch) -> None:
    other = {"saturate": "nan", "nan": "saturate"}
    patch.setattr(
        formats, "encode", lambda fmt, value, policy="infinity": encode(fmt, value, other.get(policy, policy))
    )


@mutation("scaled_mm")
def output_skips_fp32(patch: MonkeyPatch) -> None:
    right = scaled_mm.epilogue

    def skips(acc: Any, a_scale: Any, b_scale: Any, bias: Any, out: formats.Format, order: str) -> int:
        if order != "a_b":
            return right(acc, a_scale, b_scale, bias, out, order)
        y = multiply(a_scale, via_fp32(multiply(b_scale, acc)))
        return encode(out, y if bias is None else add(y, bias))

    patch.setattr(scaled_mm, "epilogue", skips)


@mutation("rmsnorm")
def normed_value_skips_fp32(patch: MonkeyPatch) -> None:
    def skips(x: list[int], weight: list[int] | None, eps: float) -> list[int]:
        mean = via_fp32(divide(via_fp32(dot(BF16, x, BF16, x)), Fraction(len(x))))
        factor = rmsnorm.inverse_root(via_fp32(add(mean, via_fp32(Fraction(eps)))))
        normed = [rounded(BF16, multiply(decode(BF16, v), factor)) for v in x]
        weights = (
            normed if weight is None else [multiply(y, decode(BF16, w)) for y, w in zip(normed, weight, strict=True)]
        )
        return [encode(BF16, value) for value in weights]

    patch.setattr(rmsnorm, "rmsnorm", skips)


@mutation("rope")
def rotation_is_fused(patch: MonkeyPatch) -> None:
    def fused(x: list[int], cos: list[int], sin: list[int]) -> list[int]:
        half = len(x) // 2
        c, s = ([rounded(BF16, decode(FP32, t)) for t in table] for table in (cos, sin))
        pairs = [(decode(BF16, x[i]), decode(BF16, x[i + half])) for i in range(half)]
        first = [add(multiply(a, c[i]), negate(multiply(b, s[i]))) for i, (a, b) in enumerate(pairs)]
        second = [add(multiply(b, c[i]), multiply(a, s[i])) for i, (a, b) in enumerate(pairs)]
        return [encode(BF16, value) for value in first + second]

    patch.setattr(rope, "rotate", fused)


@mutation("rope")
def wavelength_has_more_of_pi(patch: MonkeyPatch) -> None:
    patch.setattr(rope, "_two_pi", lambda: 2 * formats.exact(+mpmath.pi))


def _rounded_weight(bits: int, toward_zero: bool = False) -> Callable[[Fraction], tuple[int, int]]:
    def weight(t: Fraction) -> tuple[int, int]:
        whole = t.numerator // t.denominator
        with mpmath.workprec(120):
            power = mpmath.power(2, mpmath.mpf((t - whole).numerator) / (t - whole).denominator)
            scaled = mpmath.ldexp(power, bits - 1)
            return int(mpmath.floor(scaled) if toward_zero else mpmath.nint(scaled)), whole - bits + 1

    return weight


@mutation("attention")
def weights_are_truncated(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "weight", _rounded_weight(8, toward_zero=True))


@mutation("attention")
def weights_are_those_of_an_fp32_softmax(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "weight", _rounded_weight(24))


@mutation("attention")
def small_weights_underflow(patch: MonkeyPatch) -> None:
    def underflow(weights: list[tuple[int, int]]) -> list[Fraction]:
        top = max(exponent for _, exponent in weights)
        return [formats.dyadic(m, e - top) if e - top > -126 else Fraction(0) for m, e in weights]

    patch.setattr(attention, "_close_gaps", underflow)


@mutation("attention")
def scores_are_bf16(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "dot", lambda *operands: rounded(BF16, dot(*operands)))


@mutation("attention")
def scale_is_rounded_before_log2_e(patch: MonkeyPatch) -> None:
    def twice(head_dim: int, scale: float | None) -> Any:
        factor = via_fp32(Fraction(head_dim**-0.5 if scale is None else scale))
        return via_fp32(multiply(factor, via_fp32(formats.exact(1 / mpmath.log(2)))))

    patch.setattr(attention, "scale_constant", twice)


@mutation("attention")
def quotient_rounds_through_fp32(patch: MonkeyPatch) -> None:
    patch.setattr(attention, "encode", lambda fmt, value: encode(fmt, via_fp32(value) if fmt is BF16 else value))


@mutation("attention")
def sums_are_float64(patch: MonkeyPatch) -> None:
    column = attention._column

    def inexact(weights: list[Fraction], values: list[Any], denominator: Fraction) -> int:
        if not all(is_number(v) for v in values):
            return column(weights, values, denominator)
        numerator = sum(float(w) * float(v) for w, v in zip(weights, values, strict=True))
        return encode(BF16, Fraction(numerator) / denominator)

    patch.setattr(attention, "_column", inexact)


@mutation("llama")
def positions_begin_anew(patch: MonkeyPatch) -> None:
    table = llama.rope_table
    patch.setattr(llama, "rope_table", lambda positions, frequencies: table(range(len(positions)), frequencies))


@mutation("llama")
def gate_and_up_are_swapped(patch: MonkeyPatch) -> None:
    patch.setattr(llama, "silu_mul", lambda gate, up: silu_mul.silu_mul(up, gate))


@mutation("llama")
def cache_is_forgotten(patch: MonkeyPatch) -> None:
    def attend(q, k, v, **how):
        return attention.attention(q, k[-len(q) :], v[-len(q) :], **how)

    patch.setattr(llama, "attention", attend)
