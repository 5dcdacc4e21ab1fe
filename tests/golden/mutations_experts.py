# SPDX-License-Identifier: Apache-2.0
"""The witness of Llama 4's and Mllama's operations with one mistake: each changes what its name says, for a test."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import mpmath
from pytest import MonkeyPatch

from golden.mutations import mutation
from witness import attention, residual, rope, route, temperature
from witness.arithmetic import add, divide, is_number, multiply, rounded, total, via_fp32
from witness.formats import BF16, FP32, Value, decode, encode, encode_real

# ---- route ----


def _choose(patch: MonkeyPatch, key: Any) -> None:
    """The first of the largest keys is chosen, k times."""

    def sample(logits: Any, fmt: Any) -> int:
        keys = [key(i, decode(fmt, bits)) for i, bits in enumerate(logits)]
        return keys.index(max(keys))

    patch.setattr(route, "sample", sample)


@mutation("route")
def the_last_of_equal_logits_is_chosen(patch: MonkeyPatch) -> None:
    _choose(patch, lambda i, x: (1, 0, i) if x != x else (0, x, i))


@mutation("route")
def nan_is_below_every_number(patch: MonkeyPatch) -> None:
    _choose(patch, lambda i, x: (0, 0, -i) if x != x else (1, x, -i))


@mutation("route")
def chosen_by_score(patch: MonkeyPatch) -> None:
    def sample(logits: Any, fmt: Any) -> int:
        keys = [decode(BF16, route.score(bits)) for bits in logits]
        order = [(1, 0) if key != key else (0, key) for key in keys]
        return order.index(max(order))

    patch.setattr(route, "sample", sample)


@mutation("route")
def scores_are_a_softmax(patch: MonkeyPatch) -> None:
    right = route.route

    def softmax(logits: Any, top_k: int) -> tuple[list[int], list[int]]:
        experts, scores = right(logits, top_k)
        numbers = [decode(BF16, logits[e]) for e in experts]
        if not all(map(is_number, numbers)):
            return experts, scores
        shares = []
        for x in numbers:
            with mpmath.workprec(100):
                powers = [mpmath.exp(mpmath.mpf(float(y)) - mpmath.mpf(float(x))) for y in numbers]
                shares.append(encode(BF16, Fraction(str(1 / mpmath.fsum(powers)))))
        return experts, shares

    patch.setattr(route, "route", softmax)


@mutation("route")
def the_score_is_that_of_the_negative_logit(patch: MonkeyPatch) -> None:
    right = route.sigmoid
    patch.setattr(route, "score", lambda bits: encode(BF16, decode(FP32, right(bits ^ 0x8000))))


@mutation("route")
def the_score_multiplies_the_output(patch: MonkeyPatch) -> None:
    patch.setattr(route, "_product", lambda x, y: encode(BF16, decode(BF16, x)))


@mutation("route")
def products_are_cut(patch: MonkeyPatch) -> None:
    def product(x: int, y: int) -> int:
        return encode(BF16, multiply(decode(BF16, x), decode(BF16, y)), toward_zero=True)

    patch.setattr(route, "_product", product)


@mutation("route")
def pairs_of_an_expert_are_in_the_order_of_choices(patch: MonkeyPatch) -> None:
    right = route.dispatch

    def by_choice(x: Any, experts: Any, scores: Any, num_experts: int) -> Any:
        inputs, order, offsets = right(x, experts, scores, num_experts)
        k = len(experts[0]) if experts else 1
        rows = []
        for start, end in pairwise(offsets):
            rows += sorted(range(start, end), key=lambda r: (order[r] % k, order[r]))
        return [inputs[r] for r in rows], [order[r] for r in rows], offsets

    patch.setattr(route, "dispatch", by_choice)


@mutation("route")
def offsets_are_those_of_the_next_expert(patch: MonkeyPatch) -> None:
    right = route.dispatch

    def late(*arguments: Any) -> Any:
        inputs, order, offsets = right(*arguments)
        return inputs, order, [*offsets[1:], offsets[-1]]

    patch.setattr(route, "dispatch", late)


@mutation("route")
def the_sum_is_not_rounded_to_bfloat16(patch: MonkeyPatch) -> None:
    patch.setattr(route, "rounded", lambda fmt, value: value)


@mutation("route")
def the_sum_is_not_rounded_to_float32(patch: MonkeyPatch) -> None:
    """Midpoints of bfloat16 show it: what lies beside one is rounded to it first."""
    patch.setattr(route, "via_fp32", lambda value: value)


@mutation("route")
def sums_are_float32(patch: MonkeyPatch) -> None:
    def in_turn(terms: Any) -> Value:
        found: Value = Fraction(0)
        for term in terms:
            found = via_fp32(add(found, term))
        return found

    patch.setattr(route, "total", in_turn)


@mutation("route")
def a_single_minus_zero_stays(patch: MonkeyPatch) -> None:
    def kept(terms: Any) -> Value:
        values = list(terms)
        return values[0] if len(values) == 1 else total(values)

    patch.setattr(route, "total", kept)


# ---- temperature ----


@mutation("temperature")
def the_floor_is_left_out(patch: MonkeyPatch) -> None:
    def steps(position: int, floor_scale: float) -> Value:
        return via_fp32(divide(Fraction(position + 1), via_fp32(Fraction(floor_scale))))

    def log1p(n: Value) -> Value:
        if n == 0 or not is_number(n):
            return n
        return decode(FP32, encode_real(FP32, lambda: mpmath.log1p(mpmath.mpf(n.numerator) / n.denominator)))

    patch.setattr(temperature, "steps", steps)
    patch.setattr(temperature, "log1p", log1p)


@mutation("temperature")
def the_quotient_is_not_rounded(patch: MonkeyPatch) -> None:
    def steps(position: int, floor_scale: float) -> Value:
        quotient = Fraction(position + 1) / Fraction(via_fp32(Fraction(floor_scale)))
        return via_fp32(Fraction(quotient.numerator // quotient.denominator))

    patch.setattr(temperature, "steps", steps)


@mutation("temperature")
def positions_begin_with_zero(patch: MonkeyPatch) -> None:
    right = temperature.steps
    patch.setattr(temperature, "steps", lambda position, floor_scale: right(position - 1, floor_scale))


@mutation("temperature")
def the_logarithm_is_that_of_n(patch: MonkeyPatch) -> None:
    right = temperature.log1p
    patch.setattr(temperature, "log1p", lambda n: right(n - 1) if n != 0 and is_number(n) else n)


@mutation("temperature")
def the_product_is_not_rounded_before_one_is_added(patch: MonkeyPatch) -> None:
    def factor(position: int, floor_scale: float, attn_scale: float) -> int:
        log = temperature.log1p(temperature.steps(position, floor_scale))
        return encode(FP32, add(multiply(log, via_fp32(Fraction(attn_scale))), Fraction(1)))

    patch.setattr(temperature, "temperature_factor", factor)


@mutation("temperature")
def the_product_is_rounded_once(patch: MonkeyPatch) -> None:
    def product(x: int, factor: int) -> int:
        return encode(BF16, multiply(decode(BF16, x), decode(FP32, factor)))

    patch.setattr(temperature, "temperature", product)


@mutation("temperature")
def factors_are_bfloat16(patch: MonkeyPatch) -> None:
    def product(x: int, factor: int) -> int:
        return encode(BF16, multiply(decode(BF16, x), rounded(BF16, decode(FP32, factor))))

    patch.setattr(temperature, "temperature", product)


# ---- the gated residual, interleaved rope, chunked attention ----


@mutation("residual")
def tanh_is_left_out(patch: MonkeyPatch) -> None:
    patch.setattr(residual, "tanh", lambda gate: decode(BF16, gate))


@mutation("residual")
def tanh_is_not_rounded(patch: MonkeyPatch) -> None:
    def tanh(gate: int) -> Value:
        g = decode(BF16, gate)
        if g == 0 or not is_number(g) or abs(g) > 100:
            return residual_tanh(gate)
        return decode(FP32, encode_real(FP32, lambda: mpmath.tanh(mpmath.mpf(g.numerator) / g.denominator)))

    residual_tanh = residual.tanh
    patch.setattr(residual, "tanh", tanh)


@mutation("residual")
def the_gated_product_is_not_rounded(patch: MonkeyPatch) -> None:
    patch.setattr(residual, "rounded", lambda fmt, value: value)


@mutation("rope")
def interleaved_products_are_fused(patch: MonkeyPatch) -> None:
    """via_fp32 acts on products first, then on sums: the products keep all bits."""
    right = rope.via_fp32

    def fused(value: Value) -> Value:
        return value if is_number(value) and Fraction(value).denominator > 1 << 22 else right(value)

    patch.setattr(rope, "via_fp32", fused)


@mutation("rope")
def interleaved_tables_are_bfloat16(patch: MonkeyPatch) -> None:
    right = rope.rotate_interleaved

    def narrow(x: Any, cos: Any, sin: Any) -> list[int]:
        tables = [[encode(FP32, rounded(BF16, decode(FP32, t))) for t in table] for table in (cos, sin)]
        return right(x, *tables)

    patch.setattr(rope, "rotate_interleaved", narrow)


@mutation("rope")
def layouts_are_swapped(patch: MonkeyPatch) -> None:
    half, neighbours = rope.rotate, rope.rotate_interleaved
    patch.setattr(rope, "rotate", neighbours)
    patch.setattr(rope, "rotate_interleaved", half)


@mutation("attention")
def chunks_are_counted_back_from_the_query(patch: MonkeyPatch) -> None:
    _see(patch, lambda position, chunk, key: position - chunk < key <= position)


@mutation("attention")
def chunks_are_one_key_longer(patch: MonkeyPatch) -> None:
    _see(patch, lambda position, chunk, key: position // (chunk + 1) * (chunk + 1) <= key <= position)


@mutation("attention")
def chunks_are_not_causal(patch: MonkeyPatch) -> None:
    _see(patch, lambda position, chunk, key: position // chunk == key // chunk)


@mutation("attention")
def chunks_are_ignored(patch: MonkeyPatch) -> None:
    _see(patch, lambda position, chunk, key: key <= position)


def _see(patch: MonkeyPatch, rule: Any) -> None:
    right = attention.sees

    def sees(mask: str, position: int, chunk: int | None, key: int) -> bool:
        return rule(position, chunk, key) if mask == "chunked" else right(mask, position, chunk, key)

    patch.setattr(attention, "sees", sees)
