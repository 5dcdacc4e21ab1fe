# SPDX-License-Identifier: Apache-2.0
"""Wrong models of Llama 4 and of Llama 3.2 Vision, and wrong uses of block scales and of an FP8 cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fp8ref.golden._llama_config import LayerKind
from fp8ref.golden._round import round_to
from fp8ref.golden.llama import GOLDEN, KVCache, LayerWeights, LlamaConfig, LlamaWeights, Moe, Temperature

from .defects import BF16, bf16, f32
from .wrong_llama import Wrong, kinds, layers, ops

Ops = Mapping[str, Callable[..., Any]]


# ---- experts ---------------------------------------------------------------------------------------------------------
def _score_on_the_output() -> Ops:
    kept: list[Any] = []

    def dispatch(x: Any, experts: Any, scores: Any, num_experts: int) -> Any:
        kept[:] = [scores]
        return GOLDEN.dispatch(x, experts, np.ones_like(scores), num_experts)

    def combine(routed: Any, order: Any, shared: Any) -> Any:
        return GOLDEN.combine(bf16(f32(routed) * f32(kept[0]).ravel()[order, None]), order, shared)

    return {"dispatch": dispatch, "combine": combine}


def _scores_are_a_softmax(logits: Any, top_k: int) -> Any:
    experts, _ = GOLDEN.route(logits, top_k)
    weights = np.exp(f32(logits) - f32(logits).max(axis=1, keepdims=True))
    return experts, bf16(np.take_along_axis(weights / weights.sum(axis=1, keepdims=True), experts, axis=1))


def _scores_are_normalised(logits: Any, top_k: int) -> Any:
    experts, scores = GOLDEN.route(logits, top_k)
    return experts, bf16(f32(scores) / f32(scores).sum(axis=1, keepdims=True))


def _one_expert_only(logits: Any, top_k: int) -> Any:
    experts, scores = GOLDEN.route(logits, top_k)
    return experts, np.concatenate([scores[:, :1], 0 * scores[:, 1:]], axis=1)


def _expert_beside(logits: Any, top_k: int) -> Any:
    experts, scores = GOLDEN.route(logits, top_k)
    return (experts + 1) % logits.shape[1], scores


def _unscored(x: Any, experts: Any, scores: Any, num_experts: int) -> Any:
    return GOLDEN.dispatch(x, experts, np.ones_like(scores), num_experts)


def _rows_in_order_of_tokens(routed: Any, order: Any, shared: Any) -> Any:
    return GOLDEN.combine(routed, np.arange(len(order)), shared)


def _shared_expert_is_scored() -> Ops:
    kept: list[Any] = []

    def route(logits: Any, top_k: int) -> Any:
        kept[:] = GOLDEN.route(logits, top_k)
        return tuple(kept)

    def combine(routed: Any, order: Any, shared: Any) -> Any:
        return GOLDEN.combine(routed, order, bf16(f32(shared) * f32(kept[1][:, :1])))

    return {"route": route, "combine": combine}


def _sum_rounds_at_each_expert(routed: Any, order: Any, shared: Any) -> Any:
    rows = np.empty_like(routed)
    rows[order] = routed
    out = np.asarray(shared)
    for part in np.swapaxes(rows.reshape(len(shared), -1, shared.shape[1]), 0, 1):
        out = GOLDEN.residual(out, part)
    return out


def _quantized_before_the_score() -> Ops:
    """The score joins the scale of FP8 activations."""
    kept: list[Any] = []

    def dispatch(x: Any, experts: Any, scores: Any, num_experts: int) -> Any:
        inputs, order, offsets = GOLDEN.dispatch(x, experts, np.ones_like(scores), num_experts)
        kept[:] = [(inputs, f32(scores).ravel()[order, None])]
        return inputs, order, offsets

    def scaled_mm(a: Any, b: Any, a_scale: Any, *rest: Any, **more: Any) -> Any:
        return GOLDEN.scaled_mm(a, b, a_scale, *rest, **more)

    def quantize(x: Any, rule: str, scale: Any = None) -> Any:
        codes, scales = GOLDEN.quantize(x, rule, scale)
        if kept and x.base is kept[0][0] and scales.ndim == 2:
            first = (x.ctypes.data - kept[0][0].ctypes.data) // x.strides[0]
            scales = round_to(scales * kept[0][1][first : first + len(x)], "float32")
        return codes, scales

    return {"dispatch": dispatch, "scaled_mm": scaled_mm, "quantize": quantize}


def _first_expert_for_all(layer: LayerWeights) -> LayerWeights:
    if not isinstance(layer.mlp, Moe):
        return layer
    return replace(layer, mlp=replace(layer.mlp, experts=layer.mlp.experts[:1] * len(layer.mlp.experts)))


EXPERTS: dict[str, Wrong] = {
    "score_on_the_output": Wrong(ops=_score_on_the_output),
    "scores_are_a_softmax": ops(route=_scores_are_a_softmax),
    "scores_are_normalised": ops(route=_scores_are_normalised),
    "scores_ignored": ops(dispatch=_unscored),
    "second_choice_ignored": ops(route=_one_expert_only),
    "the_expert_beside": ops(route=_expert_beside),
    "first_expert_for_all": layers(_first_expert_for_all),
    "rows_of_experts_not_put_back": ops(combine=_rows_in_order_of_tokens),
    "routed_experts_dropped": ops(combine=lambda routed, order, shared: shared),
    "shared_expert_dropped": ops(combine=lambda routed, order, shared: GOLDEN.combine(routed, order, 0 * shared)),
    "shared_expert_scored": Wrong(ops=_shared_expert_is_scored),
    "sum_of_experts_rounds_each_time": ops(combine=_sum_rounds_at_each_expert),
    "score_joins_the_scale": Wrong(ops=_quantized_before_the_score),
}


# ---- attention of Llama 4 --------------------------------------------------------------------------------------------
def _when(test: Callable[[LayerKind], bool], **change: Any) -> Wrong:
    return kinds(lambda kind: replace(kind, **change) if test(kind) else kind)


def _with_rope(kind: LayerKind) -> bool:
    return kind.rope == "interleaved"


def _without_rope(kind: LayerKind) -> bool:
    return kind.attention == "self" and kind.rope == "none"


def _window(q: Any, k: Any, v: Any, mask: str, chunk: int | None = None, **how: Any) -> Any:
    """The last ``chunk`` keys of each query."""
    if mask != "chunked":
        return GOLDEN.attention(q, k, v, mask=mask, **how)
    ends = range(len(k) - len(q) + 1, len(k) + 1)
    each = [slice(max(0, end - (chunk or 0)), end) for end in ends]
    rows = [GOLDEN.attention(q[i : i + 1], k[s], v[s], mask="full", **how) for i, s in enumerate(each)]
    return np.concatenate(rows)


def _chunks_of_the_forward(q: Any, k: Any, v: Any, mask: str, chunk: int | None = None, **how: Any) -> Any:
    """Chunks that begin at the forward's first token; what was before is seen."""
    if mask != "chunked":
        return GOLDEN.attention(q, k, v, mask=mask, **how)
    before, size = len(k) - len(q), chunk or 1
    starts = [0 if i < size else before + i // size * size for i in range(len(q))]
    each = [slice(start, before + i + 1) for i, start in enumerate(starts)]
    rows = [GOLDEN.attention(q[i : i + 1], k[s], v[s], mask="full", **how) for i, s in enumerate(each)]
    return np.concatenate(rows)


def _always_rotate_half(x: Any, cos: Any, sin: Any, layout: str) -> Any:
    del layout
    return GOLDEN.rope(x, cos, sin, "rotate_half")


def _norm_before_rope() -> Ops:
    def rope(x: Any, cos: Any, sin: Any, layout: str) -> Any:
        return GOLDEN.rope(GOLDEN.rmsnorm(x, None, 1e-5), cos, sin, layout)

    return {"rope": rope, "rmsnorm": lambda x, weight, eps: x if weight is None else GOLDEN.rmsnorm(x, weight, eps)}


def _positions_from_one(positions: Any, floor_scale: float, attn_scale: float) -> Any:
    """Without the 1 that is added to a position."""
    return GOLDEN.temperature_factors(np.maximum(np.asarray(positions) - 1, 0), floor_scale, attn_scale)


def _temperature_restarts(positions: Any, floor_scale: float, attn_scale: float) -> Any:
    return GOLDEN.temperature_factors(np.asarray(positions) - np.min(positions), floor_scale, attn_scale)


def _same_temperature(x: Any, factors: Any) -> Any:
    """The factor of the last token for all."""
    return GOLDEN.temperature(x, np.full_like(factors, factors[-1]))


ATTENTION: dict[str, Wrong] = {
    "rope_on_nope_layers": _when(_without_rope, rope="interleaved"),
    "no_rope_at_all": _when(_with_rope, rope="none"),
    "interleaved_as_rotate_half": ops(rope=_always_rotate_half),
    "qk_norm_left_out": _when(_with_rope, qk_norm="none"),
    "qk_norm_on_nope_layers": _when(_without_rope, qk_norm="weightless"),
    "qk_norm_before_rope": Wrong(ops=_norm_before_rope),
    "no_chunking": _when(_with_rope, chunk=None),
    "chunks_on_nope_layers": _when(_without_rope, chunk=3),
    "chunk_counted_from_the_query": ops(attention=_window),
    "chunks_begin_with_the_forward": ops(attention=_chunks_of_the_forward),
    "temperature_left_out": _when(_without_rope, temperature=None),
    "temperature_on_rope_layers": _when(_with_rope, temperature=Temperature(2.0, 0.3)),
    "temperature_counts_from_zero": ops(temperature_factors=_positions_from_one),
    "temperature_restarts_with_each_forward": ops(temperature_factors=_temperature_restarts),
    "one_temperature_for_all": ops(temperature=_same_temperature),
}


# ---- cross-attention -------------------------------------------------------------------------------------------------
class _OldImage(KVCache):
    """Keeps the first image."""

    def commit(self, tokens: int, image: Any) -> None:
        super().commit(tokens, self.image() or image)


class _NoImage(KVCache):
    """Forgets the image after its forward."""

    def commit(self, tokens: int, image: Any) -> None:
        super().commit(tokens, {})


def _gated(weight: Callable[[Any], Any]) -> Wrong:
    def gated_residual(x: Any, y: Any, gate: Any) -> Any:
        return GOLDEN.residual(x, bf16(f32(weight(gate)) * f32(y)))

    return ops(gated_residual=gated_residual)


def _cross(change: Callable[[Any], Any]) -> Wrong:
    return layers(lambda layer: layer if layer.cross is None else replace(layer, cross=change(layer.cross)))


def _skipping_norm(name: str) -> Wrong:
    """The norm of that name passes its input on."""
    skip = np.zeros(0, BF16)
    wrong = _cross(lambda cross: replace(cross, **{name: skip}))

    def rmsnorm(x: Any, weight: Any, eps: float) -> Any:
        return x if weight is skip else GOLDEN.rmsnorm(x, weight, eps)

    return replace(wrong, ops=lambda: {"rmsnorm": rmsnorm})


def _causal_over_the_image(q: Any, k: Any, v: Any, mask: str, chunk: int | None = None, **how: Any) -> Any:
    """Query i sees the image tokens up to i: what torch's ``is_causal`` does without a mask."""
    if mask != "full":
        return GOLDEN.attention(q, k, v, mask=mask, chunk=chunk, **how)
    rows = [GOLDEN.attention(q[i : i + 1], k[: i + 1], v[: i + 1], mask="full", **how) for i in range(len(q))]
    return np.concatenate(rows)


def _cross_left_out(config: LlamaConfig, weights: LlamaWeights) -> tuple[LlamaConfig, LlamaWeights]:
    kept = [i for i in range(config.num_hidden_layers) if i not in config.cross_attention_layers]
    if len(kept) == config.num_hidden_layers:
        return config, weights
    fewer = replace(config, num_hidden_layers=len(kept), cross_attention_layers=())
    return fewer, replace(weights, layers=tuple(weights.layers[i] for i in kept))


def _rows_wrap(config: LlamaConfig, weights: LlamaWeights) -> tuple[LlamaConfig, LlamaWeights]:
    """Ids beyond the vocabulary take the first rows."""
    rows = np.arange(len(weights.embed_tokens)) % config.vocab_size
    return config, replace(weights, embed_tokens=weights.embed_tokens[rows])


CROSS: dict[str, Wrong] = {
    "tanh_left_out": _gated(lambda gate: gate),
    "gates_ignored": _gated(np.ones_like),
    "gates_exchanged": _cross(lambda cross: replace(cross, attn_gate=cross.mlp_gate, mlp_gate=cross.attn_gate)),
    "q_norm_left_out": _skipping_norm("q_norm"),
    "k_norm_left_out": _skipping_norm("k_norm"),
    "cross_norms_exchanged": _cross(lambda cross: replace(cross, q_norm=cross.k_norm, k_norm=cross.q_norm)),
    "cross_attention_is_causal": ops(attention=_causal_over_the_image),
    "cross_attention_left_out": Wrong(model=_cross_left_out),
    "first_image_stays": Wrong(cache=_OldImage),
    "image_forgotten_after_its_forward": Wrong(cache=_NoImage),
    "image_tokens_wrap": Wrong(model=_rows_wrap),
}


# ---- scales ----------------------------------------------------------------------------------------------------------
def _unscaled_codes(codes: Any, scale: Any, out_dtype: str) -> Any:
    del scale
    return GOLDEN.dequantize(codes, 1.0, out_dtype)


def _new_tokens_are_not_codes() -> Ops:
    """Attention sees the new tokens as they were before the cache took them."""
    waiting: list[Any] = []

    def quantize(x: Any, rule: str, scale: Any = None) -> Any:
        if rule == "vllm.kv_cache":
            waiting.append(x)
        return GOLDEN.quantize(x, rule, scale)

    def dequantize(codes: Any, scale: Any, out_dtype: str) -> Any:
        new = waiting.pop(0)
        return np.concatenate([GOLDEN.dequantize(codes, scale, out_dtype)[: -len(new)], new])

    return {"quantize": quantize, "dequantize": dequantize}


def _kv(change: Callable[[LayerWeights], dict[str, Any]]) -> Wrong:
    return layers(lambda layer: replace(layer, **change(layer)))


def _by(accumulate: str, epilogue: str) -> Wrong:
    def scaled_mm(*arguments: Any, **more: Any) -> Any:
        if more["epilogue"] == "deepgemm":
            more |= {"epilogue": epilogue, "accumulate": accumulate or more["accumulate"]}
        return GOLDEN.scaled_mm(*arguments, **more)

    return ops(scaled_mm=scaled_mm)


def _first_block_for_all(a: Any, b: Any, a_scale: Any, b_scale: Any, **more: Any) -> Any:
    if np.ndim(b_scale) == 2 and b_scale.shape[1] > 1:
        b_scale = np.repeat(b_scale[:, :1], b_scale.shape[1], axis=1)
    return GOLDEN.scaled_mm(a, b, a_scale, b_scale, **more)


def _whole_row_as_a_group(x: Any, rule: str, scale: Any = None) -> Any:
    if rule != "vllm.group_128":
        return GOLDEN.quantize(x, rule, scale)
    codes, scales = GOLDEN.quantize(x, "vllm.per_token")
    return codes, np.repeat(scales, -(-x.shape[1] // 128), axis=1)


KV: dict[str, Wrong] = {
    "kv_scales_left_out": _kv(lambda layer: {"k_scale": None, "v_scale": None}),
    "kv_scales_exchanged": _kv(lambda layer: {"k_scale": layer.v_scale, "v_scale": layer.k_scale}),
    "kv_codes_not_scaled_back": ops(dequantize=_unscaled_codes),
    "kv_codes_of_old_tokens_only": Wrong(ops=_new_tokens_are_not_codes),
    "kv_cache_stays_bfloat16": Wrong(model=lambda config, weights: (replace(config, kv_cache="bfloat16"), weights)),
}
BLOCKS: dict[str, Wrong] = {
    "blocks_added_as_triton_does": _by("", "triton"),
    "blocks_always_exact": _by("exact", "a_b"),
    "first_block_for_all": ops(scaled_mm=_first_block_for_all),
    "whole_row_as_a_group": ops(quantize=_whole_row_as_a_group),
}

# By the word in the names of the cases that they concern.
FAMILIES = {"llama4": EXPERTS | ATTENTION, "mllama": CROSS, "kv": KV, "blocks": BLOCKS}
