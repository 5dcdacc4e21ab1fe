# SPDX-License-Identifier: Apache-2.0
"""Implementations whose results change where they must not: golden but for one mistake, each made anew for a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fp8ref

Array = Any


@dataclass(frozen=True)
class Broken:
    """``function`` as a careless kernel has it; made anew for each test, for some have a state."""

    function: str
    names: tuple[str, ...]
    make: Callable[[], Callable[..., Any]]
    claim: str = ""


BROKEN: dict[str, Broken] = {}


def broken(function: str, *names: str, claim: str = "") -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(make: Callable[[], Any]) -> Callable[[], Any]:
        BROKEN[make.__name__] = Broken(function, names, make, claim)
        return make

    return register


@broken("scaled_mm", "batch", claim="sm90_wgmma")
def few_rows_are_split_over_k() -> Any:
    def scaled_mm(a: Array, *args: Any, **more: Any) -> Array:
        parts = 2 if len(a) <= 16 else 1
        return fp8ref.scaled_mm(a, *args, **{**more, "accumulate": "sm90_wgmma", "split_k": parts})

    return scaled_mm


@broken("scaled_mm", "batch")
def few_rows_are_computed_transposed() -> Any:
    """vLLM's swap_ab, in a kernel that has bfloat16 outputs only."""

    def scaled_mm(a: Array, b: Array, a_scale: Any, b_scale: Any, bias: Any = None, out_dtype: str = "bfloat16") -> Any:
        if out_dtype != "bfloat16":
            raise NotImplementedError(out_dtype)
        return fp8ref.scaled_mm(a, b, a_scale, b_scale, bias, epilogue="b_a" if len(a) <= 64 else "a_b")

    return scaled_mm


@broken("scaled_mm", "run")
def the_buffer_of_the_last_call() -> Any:
    last: dict[tuple[int, ...], Array] = {}

    def scaled_mm(*args: Any, **more: Any) -> Array:
        out = fp8ref.scaled_mm(*args, **more)
        stale = last.get(out.shape, out)
        last[out.shape] = out
        return stale

    return scaled_mm


@broken("scaled_mm", "run")
def atomic_sums() -> Any:
    """Parts of K are added in another order in each call."""
    calls = iter(range(10**6))

    def scaled_mm(a: Array, b: Array, a_scale: Any, b_scale: Any, **more: Any) -> Array:
        order = np.roll(np.arange(4), next(calls))
        total = np.zeros((len(a), len(b)), np.float32)
        for part in order:
            rows = [x.astype(np.float32)[:, part::4] for x in (a, b)]
            total = total + rows[0] @ rows[1].T
        return (total * b_scale.T * a_scale).astype(more.get("out_dtype", "bfloat16"))

    return scaled_mm


@broken("scaled_mm", "run")
def an_empty_k_writes_nothing() -> Any:
    """... and what is written where does not start at zero afterwards."""
    carry = [0.0]

    def scaled_mm(a: Array, *args: Any, **more: Any) -> Array:
        carry[0] += not a.shape[1]
        out = fp8ref.scaled_mm(a, *args, **more)
        return (out.astype(np.float32) + np.float32(carry[0])).astype(out.dtype)

    return scaled_mm


@broken("scaled_mm", "rows")
def every_second_row_in_another_order() -> Any:
    def scaled_mm(*args: Any, **more: Any) -> Array:
        out = fp8ref.scaled_mm(*args, **more)
        out[1::2] = fp8ref.scaled_mm(*args, **more, epilogue="b_a")[1::2]
        return out

    return scaled_mm


@broken("scaled_mm", "rows")
def the_last_columns_by_a_tensor_core() -> Any:
    def scaled_mm(*args: Any, **more: Any) -> Array:
        out = fp8ref.scaled_mm(*args, **more)
        out[:, 8:] = fp8ref.scaled_mm(*args, **{**more, "accumulate": "sm90_wgmma"})[:, 8:]
        return out

    return scaled_mm


@broken("scaled_mm", "split_k")
def parts_of_k_in_float32() -> Any:
    def scaled_mm(*args: Any, split_k: int = 1, **more: Any) -> Array:
        accumulate = "exact" if split_k == 1 else "sm100_tcgen05"
        return fp8ref.scaled_mm(*args, **{**more, "accumulate": accumulate}, split_k=split_k)

    return scaled_mm


@broken("scaled_mm", "padding")
def a_fast_path_for_round_k() -> Any:
    def scaled_mm(a: Array, *args: Any, **more: Any) -> Array:
        accumulate = "sm90_wgmma" if a.shape[1] % 128 == 0 else "exact"
        return fp8ref.scaled_mm(a, *args, **{**more, "accumulate": accumulate})

    return scaled_mm


@broken("grouped_mm", "padding")
def rows_of_no_group_are_zeroed() -> Any:
    def grouped_mm(*args: Any, out: Any = None, **more: Any) -> Array:
        return fp8ref.grouped_mm(*args, **more)

    return grouped_mm


@broken("grouped_mm", "padding")
def rows_of_no_group_leak() -> Any:
    """A NaN that lies in front of the groups reaches the first of them."""

    def grouped_mm(a: Array, *args: Any, **more: Any) -> Array:
        out = fp8ref.grouped_mm(a, *args, **more)
        start = int(args[3][0])
        out[start] += out.dtype.type(0) * a[start - 1, 0].astype(out.dtype)
        return out

    return grouped_mm


@broken("grouped_mm", "padding")
def empty_experts_are_not_counted() -> Any:
    def grouped_mm(a: Array, b: Array, a_scale: Array, b_scale: Array, offsets: Array, **more: Any) -> Array:
        full = np.flatnonzero(np.diff(offsets))
        bounds = np.array([offsets[0], *(offsets[e + 1] for e in full)], np.int32)
        return fp8ref.grouped_mm(a, b[: len(full)], a_scale, b_scale[: len(full)], bounds, **more)

    return grouped_mm


@broken("grouped_mm", "rows", "batch")
def the_first_token_of_an_expert_by_the_one_before() -> Any:
    def grouped_mm(a: Array, b: Array, a_scale: Array, b_scale: Array, offsets: Array, **more: Any) -> Array:
        late = np.array(offsets)
        late[1:-1] = np.minimum(late[1:-1] + 1, late[-1])
        return fp8ref.grouped_mm(a, b, a_scale, b_scale, late, **more)

    return grouped_mm


@broken("linear", "batch")
def a_matrix_vector_kernel() -> Any:
    def linear(x: Array, weight: Array, bias: Any = None) -> Array:
        return fp8ref.linear(x, weight, bias, accumulate="sm80_mma" if len(x) == 1 else "exact")

    return linear


@broken("quantize", "batch", claim="vllm.per_token")
def one_scale_for_large_batches() -> Any:
    def quantize(x: Array) -> Any:
        if len(x) <= 64:
            return fp8ref.quantize(x, "vllm.per_token")
        codes, scale = fp8ref.quantize(x, "vllm.per_tensor")
        return codes, np.full((len(x), 1), scale)

    return quantize


@broken("quantize", "padding", claim="vllm.group_128")
def the_last_group_reads_beyond_the_row() -> Any:
    """Where it is short, the scale is that of the group before it."""

    def quantize(x: Array) -> Any:
        codes, scale = fp8ref.quantize(x, "vllm.group_128")
        tail = x.shape[1] % 128
        if tail:
            codes[:, -tail:] = fp8ref.quantize(np.concatenate([x[:, -tail:], x[:, :128]], axis=1), "vllm.per_token")[0][
                :, :tail
            ]
        return codes, scale

    return quantize


@broken("quantize", "run", claim="vllm.per_token")
def a_maximum_that_is_not_reset() -> Any:
    largest = [np.float32(0)]

    def quantize(x: Array) -> Any:
        largest[0] = max(largest[0], np.abs(x.astype(np.float32)).max() * np.float32(1.0 + 2.0**-7))
        return fp8ref.quantize(x, "vllm.per_token", scale_ub=largest[0] / np.float32(1.5 + len(x) % 2))

    return quantize


@broken("rmsnorm", "batch")
def float32_sums_of_many_rows() -> Any:
    def rmsnorm(x: Array, weight: Any, eps: float) -> Array:
        if len(x) <= 64:
            return fp8ref.rmsnorm(x, weight, eps)
        wide = x.astype(np.float32)
        mean = (wide * wide).mean(axis=-1, keepdims=True, dtype=np.float32) * np.float32(1 + 2.0**-20)
        return (wide / np.sqrt(mean + np.float32(eps)) * weight.astype(np.float32)).astype(x.dtype)

    return rmsnorm


@broken("attention", "batch")
def a_query_that_sees_the_next_key() -> Any:
    """The chunk's length in the place of the number of keys, where a prefix is cached."""

    def attention(q: Array, k: Array, v: Array, **more: Any) -> Array:
        if more.get("mask", "causal") == "causal" and len(q) < len(k):
            k, v = k[: len(k) - 1], v[: len(v) - 1]
        return fp8ref.attention(q, k, v, **more)

    return attention


@broken("attention", "rows")
def a_head_with_the_keys_of_another() -> Any:
    def attention(q: Array, k: Array, v: Array, **more: Any) -> Array:
        return fp8ref.attention(q, k[:, [0, 0, 2]], v, **more)

    return attention


@broken("silu_mul", "batch")
def the_last_row_of_an_odd_batch() -> Any:
    def silu_mul(gate: Array, up: Array) -> Array:
        out = fp8ref.silu_mul(gate, up)
        out[len(out) - len(out) % 2 :] = 0
        return out

    return silu_mul


@broken("residual", "rows", "batch")
def rows_in_blocks_of_64_only() -> Any:
    def residual(x: Array, y: Array) -> Array:
        out = fp8ref.residual(x, y)
        out[len(out) // 64 * 64 :] = x[len(out) // 64 * 64 :]
        return out

    return residual


@broken("rope", "rows")
def positions_from_the_first_head() -> Any:
    def rope(x: Array, cos: Array, sin: Array) -> Array:
        out = fp8ref.rope(x, cos, sin)
        out[:, 0] = x[:, 0]
        return out

    return rope


@broken("rope", "rows")
def the_angles_of_the_first_tokens() -> Any:
    def rope(x: Array, cos: Array, sin: Array, layout: str = "rotate_half") -> Array:
        if layout == "interleaved":
            cos, sin = (np.concatenate([np.sort(table[:64], axis=0), table[64:]]) for table in (cos, sin))
        return fp8ref.rope(x, cos, sin, layout)

    return rope


@broken("attention", "batch")
def chunks_counted_from_the_first_query() -> Any:
    def attention(q: Array, k: Array, v: Array, mask: str = "causal", chunk: Any = None, **more: Any) -> Array:
        if mask == "chunked" and len(q) < len(k):
            start = (len(k) - len(q)) % chunk
            k, v = k[start:], v[start:]
        return fp8ref.attention(q, k, v, mask=mask, chunk=chunk, **more)

    return attention


@broken("route", "batch")
def a_tie_that_depends_on_the_batch() -> Any:
    """Of equal logits the last one, where a block of tokens is not full."""

    def route(logits: Array, top_k: int = 1) -> Any:
        if len(logits) % 64 == 2:
            return fp8ref.route(logits, top_k)
        experts, scores = fp8ref.route(logits[:, ::-1], top_k)
        return logits.shape[1] - 1 - experts, scores

    return route


@broken("dispatch", "rows")
def columns_in_vectors_of_8() -> Any:
    def dispatch(x: Array, experts: Array, scores: Array, num_experts: int) -> Any:
        inputs, order, offsets = fp8ref.dispatch(x, experts, scores, num_experts)
        inputs[:, inputs.shape[1] // 8 * 8 :] = 0
        return inputs, order, offsets

    return dispatch


@broken("combine", "rows")
def a_column_that_sums_in_float32() -> Any:
    def combine(routed: Array, order: Array, shared: Array) -> Array:
        out = fp8ref.combine(routed, order, shared)
        out[:, 0] = shared[:, 0]
        return out

    return combine


@broken("temperature", "rows")
def the_factor_of_the_first_head() -> Any:
    def temperature(x: Array, factors: Array) -> Array:
        out = fp8ref.temperature(x, factors)
        out[:, 1:] = x[:, 1:]
        return out

    return temperature


@broken("temperature_factors", "batch")
def positions_counted_from_the_first() -> Any:
    def temperature_factors(positions: Array, floor_scale: float, attn_scale: float) -> Array:
        return fp8ref.temperature_factors(positions - positions[0], floor_scale, attn_scale)

    return temperature_factors


@broken("gated_residual", "batch")
def a_gate_for_large_batches_only() -> Any:
    def gated_residual(x: Array, y: Array, gate: Array) -> Array:
        return fp8ref.gated_residual(x, y, gate if len(x) > 64 else gate * 0)

    return gated_residual
