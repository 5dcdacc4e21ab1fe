# SPDX-License-Identifier: Apache-2.0
"""The text models of Llama 3, Llama 4 and Llama 3.2 Vision as a composition of the operations. spec/llama.md

Every step is one public operation, taken from a table (``ops``), so that the same composition runs on any backend. The
layers are in ``_llama_attention.py`` and ``_llama_mlp.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import attention, linear, quantize, residual, rmsnorm, rope, route, scaled_mm, silu_mul, temperature
from ._args import Array, bf16_array, choice, describe, fail
from ._llama_attention import ATTENTION
from ._llama_cache import KVCache as KVCache
from ._llama_config import LayerKind as LayerKind
from ._llama_config import LlamaConfig as LlamaConfig
from ._llama_config import MoeConfig as MoeConfig
from ._llama_config import RopeScaling as RopeScaling
from ._llama_config import Temperature as Temperature
from ._llama_mlp import MLP
from ._llama_run import Run
from ._llama_run import Trace as Trace
from ._llama_weights import Bf16Linear as Bf16Linear
from ._llama_weights import Cross as Cross
from ._llama_weights import Fp8Linear as Fp8Linear
from ._llama_weights import LayerWeights as LayerWeights
from ._llama_weights import Linear as Linear
from ._llama_weights import LlamaWeights as LlamaWeights
from ._llama_weights import Mlp as Mlp
from ._llama_weights import Moe as Moe
from ._llama_weights import prepare as prepare
from ._round import widen
from ._units import ACCUMULATORS as FP8_ACCUMULATORS
from ._units import MODES

OP = "llama"
ACCUMULATORS = (*MODES, *FP8_ACCUMULATORS)  # what a model can be loaded with [LLAMA-MODES]

Float32 = NDArray[np.float32]

GOLDEN = SimpleNamespace(
    quantize=quantize.quantize,
    dequantize=quantize.dequantize,
    scaled_mm=scaled_mm.scaled_mm,
    linear=linear.linear,
    rmsnorm=rmsnorm.rmsnorm,
    rope_frequencies=rope.rope_frequencies,
    rope_table=rope.rope_table,
    rope=rope.rope,
    temperature_factors=temperature.temperature_factors,
    temperature=temperature.temperature,
    attention=attention.attention,
    silu_mul=silu_mul.silu_mul,
    route=route.route,
    dispatch=route.dispatch,
    combine=route.combine,
    residual=residual.residual,
    gated_residual=residual.gated_residual,
)


def check_tokens(config: LlamaConfig, tokens: Any, length: int = 0) -> NDArray[np.int64]:
    """Token ids as int64 (T,), checked against the vocabulary and the positions that are left. [LLAMA-TOKENS]

    Raises:
        OpError: no tokens, not integers, an id outside of the vocabulary, or more tokens than positions.
    """
    ids = np.asarray(tokens)
    if ids.ndim != 1 or ids.size == 0:
        raise fail(OP, f"tokens must be a list of at least one id, got shape {ids.shape}")
    if ids.dtype.kind not in "iu":
        raise fail(OP, f"tokens must be integers, got dtype {ids.dtype.name}")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= config.token_ids:
        outside = low if low < 0 else high
        raise fail(OP, f"token id {outside} is outside of the vocabulary [0, {config.token_ids})")
    if length + ids.size > config.max_position_embeddings:
        total = f"{length} tokens so far and {ids.size} new ones"
        raise fail(OP, f"{total} exceed max_position_embeddings={config.max_position_embeddings}")
    return ids.astype(np.int64)


def check_vision(config: LlamaConfig, vision_states: Any) -> Array | None:
    """Vision states as bfloat16 (N, H), checked against the model; None stays None. [LLAMA-VISION]

    Raises:
        OpError: the model takes no image, or they are not bfloat16 (1, N, hidden_size) with N >= 1.
    """
    if vision_states is None:
        return None
    if config.family != "mllama":
        raise fail(OP, f"vision_states are for mllama, not for {config.family}")
    states = bf16_array(OP, "vision_states", vision_states)
    if states.ndim != 3 or states.shape[0] != 1 or states.shape[1] < 1 or states.shape[2] != config.hidden_size:
        wanted = f"(1, N, {config.hidden_size}) with N >= 1"
        raise fail(OP, f"vision_states must have shape {wanted}, got {describe(states)}")
    return np.ascontiguousarray(states[0])


@functools.lru_cache(maxsize=16)
def _frequencies(rope_frequencies: Callable[..., Float32], config: LlamaConfig) -> Float32:
    """The model's frequencies, computed once per backend. [LLAMA-ROPE]"""
    scaling = None if config.rope_scaling is None else asdict(config.rope_scaling)
    return rope_frequencies(config.head_dim, config.rope_theta, scaling)


def check_accumulate(weights: LlamaWeights, accumulate: str) -> None:
    """[LLAMA-MODES]

    Raises:
        OpError: ``accumulate`` is unknown, or it has no FP8 matrix product and the model needs one.
    """
    choice(OP, "accumulate", accumulate, ACCUMULATORS)
    if accumulate not in MODES or MODES[accumulate].fp8 is not None:
        return
    for index, layer in enumerate(weights.layers):
        for name, value in _parts(layer):
            if isinstance(value, Fp8Linear):
                raise fail(OP, f"accumulate={accumulate!r} has no FP8 matrix product, but layers.{index}.{name} is FP8")


def _parts(layer: LayerWeights) -> Iterator[tuple[str, Any]]:
    """The weights of a layer by their names in the trace; the first expert stands for all. [CKPT-EXPERTS]"""
    yield from vars(layer).items()
    if isinstance(layer.mlp, Mlp):
        yield from vars(layer.mlp).items()
        return
    for block, weights in (("shared_expert", layer.mlp.shared_expert), ("experts", layer.mlp.experts[0])):
        for name, value in vars(weights).items():
            yield f"{block}.{name}", value


def _layer(run: Run, index: int, layer: LayerWeights, x: Array) -> Array:
    """One decoder layer. [LLAMA-FORWARD] [LLAMA-CROSS]"""
    at, kind = f"layers.{index}.", run.config.layer(index)
    if kind.attention == "cross" and run.vision is None and index not in run.image:
        return x
    gates = (None, None) if layer.cross is None else (layer.cross.attn_gate, layer.cross.mlp_gate)
    h = run.record(at + "input_layernorm", run.norm(x, layer.input_layernorm))
    heads = run.record(at + "attention", ATTENTION[kind.attention](run, index, layer, kind, h))
    out = run.project(at + "o_proj", layer.o_proj, heads.reshape(len(x), -1))
    x = run.record(at + "attention_residual", run.add(x, out, gates[0]))
    h = run.record(at + "post_attention_layernorm", run.norm(x, layer.post_attention_layernorm))
    out = MLP[kind.mlp](run, at, layer.mlp, h)
    return run.record(at + "mlp_residual", run.add(x, out, gates[1]))


def forward(
    config: LlamaConfig,
    weights: LlamaWeights,
    tokens: Sequence[int] | NDArray[Any],
    cache: KVCache,
    *,
    ops: Any = GOLDEN,
    accumulate: str = "exact",
    trace: Trace | None = None,
    logits_rows: int | None = None,
    vision_states: Any = None,
) -> Float32:
    """Append tokens to the cache and return the logits of the last of them. [LLAMA-FORWARD]

    Args:
        config: the model's numbers.
        weights: its weights; :func:`prepare` makes the golden operations fast.
        tokens: ids (T,), T >= 1; their positions begin at ``cache.length``.
        cache: keys and values so far; on success it holds T tokens more, else it is as it was.
        ops: the operations, attributes named as in spec/ops.toml: golden ones, or ``fp8ref.backend(name)``.
        accumulate: the accumulator of FP8 projections, as ``scaled_mm`` names it, or the mode of the whole model, such
            as ``"sm90"``. [LLAMA-MODES]
        trace: called with the name and the (T, columns) array of every intermediate. [LLAMA-TRACE]
        logits_rows: how many of the last tokens get logits; None is all.
        vision_states: bfloat16 (1, N, hidden_size), what the multimodal projector of a Llama 3.2 Vision gives: these
            and later tokens see them, in the place of those before. None keeps what the cache has. [LLAMA-VISION]

    Returns:
        float32 (logits_rows, vocab_size): bfloat16 outputs of ``lm_head``, widened. How tokens are cut into calls
        changes no bit. [LLAMA-CUT]

    Raises:
        OpError: tokens outside of the vocabulary or beyond the positions, vision states of another shape or for a model
            without cross-attention, an unknown accumulator, or a mode without FP8 for weights that are FP8.

    Example:
        >>> cache = KVCache(config)                                             # doctest: +SKIP
        >>> forward(config, weights, [1, 2, 3], cache, logits_rows=1).shape     # doctest: +SKIP
        (1, 49152)

    Source: transformers ``modeling_llama.py``; rounding points as spec/llama.md.
    """
    ids, vision = check_tokens(config, tokens, cache.length), check_vision(config, vision_states)
    rows = ids.size if logits_rows is None else logits_rows
    if not 0 <= rows <= ids.size:
        raise fail(OP, f"logits_rows must be from 0 to {ids.size}, got {logits_rows!r}")
    check_accumulate(weights, accumulate)
    run = _run(config, ops, accumulate, cache, ids.size, vision, trace)
    x = run.record("embed_tokens", weights.embed_tokens[ids])
    for index, layer in enumerate(weights.layers):
        x = _layer(run, index, layer, x)
    x = run.record("norm", run.norm(x, weights.norm))
    if rows:
        # [LINEAR-LOGITS]
        logits = widen(run.linear(x[ids.size - rows :], weights.lm_head))
        run.record("logits", logits)
    else:
        logits = np.empty((0, config.vocab_size), np.float32)
    cache.commit(ids.size, run.image)
    return logits


def _run(
    config: LlamaConfig,
    ops: Any,
    accumulate: str,
    cache: KVCache,
    tokens: int,
    vision: Array | None,
    trace: Trace | None,
) -> Run:
    """What all layers share; new vision states begin without the old ones' keys and values."""
    fp8, mode = (MODES[accumulate].fp8, accumulate) if accumulate in MODES else (accumulate, "exact")
    positions, factors = np.arange(cache.length, cache.length + tokens), None
    cos, sin = ops.rope_table(positions, _frequencies(ops.rope_frequencies, config))
    if config.temperature is not None:
        factors = ops.temperature_factors(positions, config.temperature.floor_scale, config.temperature.attn_scale)
    image = cache.image() if vision is None else {}
    return Run(config, ops, fp8, mode, cache, cos, sin, factors, vision, image, trace)
