# SPDX-License-Identifier: Apache-2.0
"""The Llama 3 text model as a composition of the operations. spec/llama.md

Every step is one public operation, taken from a table (``ops``), so that the same composition runs on any backend.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import attention, linear, quantize, residual, rmsnorm, rope, scaled_mm, silu_mul
from ._args import BFLOAT16, Array, choice, fail
from ._llama_config import LayerKind as LayerKind
from ._llama_config import LlamaConfig as LlamaConfig
from ._llama_config import MoeConfig as MoeConfig
from ._llama_config import RopeScaling as RopeScaling
from ._llama_config import Temperature as Temperature
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
Trace = Callable[[str, Array], None]

GOLDEN = SimpleNamespace(
    quantize=quantize.quantize,
    scaled_mm=scaled_mm.scaled_mm,
    linear=linear.linear,
    rmsnorm=rmsnorm.rmsnorm,
    rope_frequencies=rope.rope_frequencies,
    rope_table=rope.rope_table,
    rope=rope.rope,
    attention=attention.attention,
    silu_mul=silu_mul.silu_mul,
    residual=residual.residual,
)


@dataclass
class KVCache:
    """Keys (after RoPE) and values of the tokens so far, bfloat16, one pair of arrays a layer. [LLAMA-CACHE]

    ``length`` counts the tokens of finished forwards; a forward that fails leaves it as it was.
    """

    config: LlamaConfig
    length: int = 0
    _keys: list[Array] = field(default_factory=list, repr=False)
    _values: list[Array] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        shape = (0, self.config.num_key_value_heads, self.config.head_dim)
        self._keys = [np.empty(shape, BFLOAT16) for _ in range(self.config.num_hidden_layers)]
        self._values = list(self._keys)

    def reset(self) -> None:
        """Forget all tokens."""
        self.length = 0

    def store(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Write the new tokens behind the old ones; returns keys and values of all of them, (length + T, heads, d)."""
        end = self.length + k.shape[0]
        for kept, new in ((self._keys, k), (self._values, v)):
            if kept[layer].shape[0] < end:
                capacity = min(max(end, 2 * kept[layer].shape[0]), self.config.max_position_embeddings)
                larger = np.empty((capacity, *new.shape[1:]), BFLOAT16)
                larger[: self.length] = kept[layer][: self.length]
                kept[layer] = larger
            kept[layer][self.length : end] = new
        return self._keys[layer][:end], self._values[layer][:end]


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
    if low < 0 or high >= config.vocab_size:
        outside = low if low < 0 else high
        raise fail(OP, f"token id {outside} is outside of the vocabulary [0, {config.vocab_size})")
    if length + ids.size > config.max_position_embeddings:
        total = f"{length} tokens so far and {ids.size} new ones"
        raise fail(OP, f"{total} exceed max_position_embeddings={config.max_position_embeddings}")
    return ids.astype(np.int64)


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
        for name, value in (vars(layer) | vars(layer.mlp)).items():
            if isinstance(value, Fp8Linear):
                raise fail(OP, f"accumulate={accumulate!r} has no FP8 matrix product, but layers.{index}.{name} is FP8")


@dataclass(frozen=True)
class _Run:
    """One forward pass: what stays the same for all its layers."""

    config: LlamaConfig
    ops: Any
    fp8: str | None  # the accumulator of FP8 matrix products [LLAMA-MODES]
    mode: str  # of the others, and of attention
    cache: KVCache
    cos: Float32
    sin: Float32
    trace: Trace | None

    def record(self, name: str, value: Array) -> Array:
        """Hand an intermediate to the trace as (T, columns). [LLAMA-TRACE]"""
        if self.trace is not None:
            self.trace(name, value.reshape(value.shape[0], -1))
        return value

    def project(self, name: str, projection: Linear, x: Array) -> Array:
        """One projection, bfloat16 in and out. [LLAMA-LINEAR]"""
        if isinstance(projection, Bf16Linear):
            return self.record(name, self.linear(x, projection))
        static = projection.input_scale is not None
        rule = "vllm.per_tensor_static" if static else "vllm.per_token"
        codes, scale = self.ops.quantize(x, rule, projection.input_scale)
        self.record(f"{name}.input_codes", codes.view(np.uint8))
        self.record(f"{name}.input_scale", np.reshape(scale, (-1, 1)))
        out = self.ops.scaled_mm(
            codes,
            projection.weight,
            scale,
            projection.weight_scale,
            bias=projection.bias,
            out_dtype="bfloat16",
            accumulate=self.fp8,
            epilogue="a_b",
        )
        return self.record(name, out)

    def attend(self, index: int, layer: LayerWeights, x: Array) -> Array:
        """The attention half of a layer. [LLAMA-ATTENTION]"""
        prefix, d = f"layers.{index}.", self.config.head_dim
        h = self.record(prefix + "input_layernorm", self.norm(x, layer.input_layernorm))
        q, k, v = (self.project(prefix + n, getattr(layer, n), h) for n in ("q_proj", "k_proj", "v_proj"))
        q, k, v = (heads.reshape(x.shape[0], -1, d) for heads in (q, k, v))
        q = self.record(prefix + "q_rope", self.ops.rope(q, self.cos, self.sin))
        k = self.record(prefix + "k_rope", self.ops.rope(k, self.cos, self.sin))
        keys, values = self.cache.store(index, k, v)
        mixed = self.ops.attention(q, keys, values, mask="causal", accumulate=self.mode)
        self.record(prefix + "attention", mixed)
        out = self.project(prefix + "o_proj", layer.o_proj, mixed.reshape(x.shape[0], -1))
        return self.record(prefix + "attention_residual", self.ops.residual(x, out))

    def mlp(self, index: int, layer: LayerWeights, x: Array) -> Array:
        """The MLP half of a layer. [LLAMA-MLP]"""
        prefix = f"layers.{index}."
        h = self.record(prefix + "post_attention_layernorm", self.norm(x, layer.post_attention_layernorm))
        assert isinstance(layer.mlp, Mlp)
        gate = self.project(prefix + "gate_proj", layer.mlp.gate_proj, h)
        up = self.project(prefix + "up_proj", layer.mlp.up_proj, h)
        product = self.record(prefix + "silu_mul", self.ops.silu_mul(gate, up))
        out = self.project(prefix + "down_proj", layer.mlp.down_proj, product)
        return self.record(prefix + "mlp_residual", self.ops.residual(x, out))

    def linear(self, x: Array, projection: Bf16Linear) -> Array:
        """A bfloat16 projection. [LLAMA-LINEAR]"""
        out: Array = self.ops.linear(x, projection.weight, projection.bias, self.mode)
        return out

    def norm(self, x: Array, weight: Array) -> Array:
        """RMSNorm with the model's eps. [LLAMA-NORM]"""
        normed: Array = self.ops.rmsnorm(x, weight, self.config.rms_norm_eps)
        return normed


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
) -> Float32:
    """Append tokens to the cache and return the logits of the last of them. [LLAMA-FORWARD]

    Args:
        config: the model's numbers.
        weights: its weights; :func:`prepare` makes the golden operations fast.
        tokens: ids (T,), T >= 1; their positions begin at ``cache.length``.
        cache: keys and values so far; on success it holds T tokens more.
        ops: the operations, attributes named as in spec/ops.toml: golden ones, or ``fp8ref.backend(name)``.
        accumulate: the accumulator of FP8 projections, as ``scaled_mm`` names it, or the mode of the whole model, such
            as ``"sm90"``. [LLAMA-MODES]
        trace: called with the name and the (T, columns) array of every intermediate. [LLAMA-TRACE]
        logits_rows: how many of the last tokens get logits; None is all.

    Returns:
        float32 (logits_rows, vocab_size): bfloat16 outputs of ``lm_head``, widened. How tokens are cut into calls
        changes no bit. [LLAMA-CUT]

    Raises:
        OpError: tokens outside of the vocabulary or beyond the positions, an unknown accumulator, or a mode without FP8
            for weights that are FP8.

    Example:
        >>> cache = KVCache(config)                                             # doctest: +SKIP
        >>> forward(config, weights, [1, 2, 3], cache, logits_rows=1).shape     # doctest: +SKIP
        (1, 49152)

    Source: transformers ``modeling_llama.py``; rounding points as spec/llama.md.
    """
    ids = check_tokens(config, tokens, cache.length)
    rows = ids.size if logits_rows is None else logits_rows
    if not 0 <= rows <= ids.size:
        raise fail(OP, f"logits_rows must be from 0 to {ids.size}, got {logits_rows!r}")
    check_accumulate(weights, accumulate)
    fp8, mode = (MODES[accumulate].fp8, accumulate) if accumulate in MODES else (accumulate, "exact")
    positions = np.arange(cache.length, cache.length + ids.size)
    cos, sin = ops.rope_table(positions, _frequencies(ops.rope_frequencies, config))
    run = _Run(config, ops, fp8, mode, cache, cos, sin, trace)
    x = run.record("embed_tokens", weights.embed_tokens[ids])
    for index, layer in enumerate(weights.layers):
        x = run.mlp(index, layer, run.attend(index, layer, x))
    x = run.record("norm", run.norm(x, weights.norm))
    if rows:
        # [LINEAR-LOGITS]
        logits = widen(run.linear(x[ids.size - rows :], weights.lm_head))
        run.record("logits", logits)
    else:
        logits = np.empty((0, config.vocab_size), np.float32)
    cache.length += ids.size
    return logits
