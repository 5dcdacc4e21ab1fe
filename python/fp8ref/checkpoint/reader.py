# SPDX-License-Identifier: Apache-2.0
"""The weights of a Llama out of a checkpoint: every tensor checked, none copied. [CKPT-NAMES] to [CKPT-ACTIVATIONS]"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from ..golden.llama import (
    Bf16Linear,
    Cross,
    Fp8Linear,
    LayerKind,
    LayerWeights,
    Linear,
    LlamaConfig,
    LlamaWeights,
    Mlp,
    Moe,
)
from .config import llama_config
from .folder import Checkpoint
from .layout import ATTENTION, EXPERTS, MLP_PROJECTIONS, Shape, attention_shapes, expert_shapes, mlp_shapes
from .scheme import BLOCK, Quantization, quantization
from .tensors import SCALAR_SHAPES, Tensors

# Where the scales of a layer's FP8 cache may be, below ``self_attn.``: of k, of v. [CKPT-KV-SCALES]
KV_SCALES = (
    ("k_scale", "v_scale"),
    ("kv_scale", "kv_scale"),
    ("k_proj.output_scale", "v_proj.output_scale"),
    ("k_proj.k_scale", "v_proj.v_scale"),
)


class Experts(Sequence[Mlp]):
    """The experts of a layer, each made of views when it is asked for. [CKPT-STREAM]"""

    def __init__(self, count: int, make: Callable[[int], Mlp]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Mlp: ...
    @overload
    def __getitem__(self, index: slice) -> list[Mlp]: ...
    def __getitem__(self, index: int | slice) -> Mlp | list[Mlp]:
        picked = range(self._count)[index]
        return self._make(picked) if isinstance(picked, int) else [self._make(i) for i in picked]


def _kind(projection: Linear) -> tuple[Any, ...]:
    """What must be the same of all experts. [CKPT-EXPERTS]"""
    if isinstance(projection, Bf16Linear):
        return ("BF16",)
    return "FP8", projection.activations, projection.weight_scale.shape


class LlamaReader:
    """Reads one model.

    Attributes:
        checkpoint: the opened folder.
        tensors: its tensors by their plain names.
        config: the model's numbers.
        quantization: the quantization config.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.quantization: Quantization = quantization(checkpoint.config)
        self.config: LlamaConfig = llama_config(
            checkpoint.config, checkpoint.generation_config, self.quantization.kv_cache
        )
        self.tensors = Tensors(checkpoint)

    def _bias(self, module: str, rows: int) -> NDArray[Any] | None:
        """The bias of a projection, where the config gives its half of the layer biases."""
        has_bias = self.config.attention_bias if ".self_attn." in module else self.config.mlp_bias
        return self.tensors.take(f"{module}.bias", (rows,)) if has_bias else None

    def _weight_scale(self, name: str, shape: Shape, blocks: bool) -> NDArray[np.float32]:
        """() or (out, 1), or a scale for each block. [CKPT-SCALE]"""
        rows = shape[0]
        if blocks:
            return self.tensors.scale(name, (tuple(-(-size // BLOCK) for size in shape),))
        values = self.tensors.scale(name, (*SCALAR_SHAPES, (rows,), (rows, 1)))
        return values.reshape(()) if values.size == 1 else values.reshape(rows, 1)

    def projection(self, module: str, shape: Shape) -> Linear:
        """One projection with its scales and bias. [CKPT-SCALE], [CKPT-ACTIVATIONS]"""
        tensors, bias = self.tensors, self._bias(module, shape[0])
        name, scale, input_scale = (f"{module}.{part}" for part in ("weight", "weight_scale", "input_scale"))
        weight = tensors.take(name, shape, ("BF16", "F8_E4M3"))
        if not tensors.is_fp8(module):
            for extra in (scale, input_scale):
                if extra in tensors:
                    raise tensors.unsupported(extra, "a scale, but the weight is BF16: a fake-quantized checkpoint")
            return Bf16Linear(weight, bias)
        activations = self.quantization.of_fp8(module).activations
        if scale not in tensors:
            raise tensors.damaged(name, f"is F8_E4M3, but {scale!r} is missing")
        weight_scale = self._weight_scale(scale, shape, activations == "group")
        if activations != "static":
            if input_scale in tensors:
                dynamic = f"config.json says that activations are quantized per {activations}"
                raise tensors.damaged(input_scale, f"is here, but {dynamic}")
            return Fp8Linear(weight, weight_scale, None, bias, activations)
        if input_scale not in tensors:
            raise tensors.damaged(name, f"activations are static, but {input_scale!r} is missing")
        return Fp8Linear(weight, weight_scale, tensors.scalar(input_scale), bias, activations)

    def _projections(self, prefix: str, shapes: dict[str, Shape]) -> dict[str, Linear]:
        """Projections by the last part of their names."""
        return {path.rpartition(".")[2]: self.projection(prefix + path, shape) for path, shape in shapes.items()}

    def is_fused(self, index: int) -> bool:
        """Whether a layer's experts are two large tensors. [CKPT-EXPERTS]"""
        return any(f"model.layers.{index}.{EXPERTS}.{name}" in self.tensors for name in ("gate_up_proj", "down_proj"))

    def _fused(self, prefix: str) -> Callable[[int], Mlp]:
        """Experts of two tensors, multiplied as x @ W: each weight is a transposed view. [CKPT-EXPERTS]"""
        moe, h = self.config.moe, self.config.hidden_size
        assert moe is not None
        count, wide = moe.num_local_experts, moe.intermediate_size
        both = self.tensors.take(f"{prefix}{EXPERTS}.gate_up_proj", (count, h, 2 * wide))
        down = self.tensors.take(f"{prefix}{EXPERTS}.down_proj", (count, wide, h))

        def make(expert: int) -> Mlp:
            weights = (both[expert, :, :wide].T, both[expert, :, wide:].T, down[expert].T)
            return Mlp(*(Bf16Linear(weight) for weight in weights))

        return make

    def _one_by_one(self, prefix: str) -> Callable[[int], Mlp]:
        """Experts of projections of their own. [CKPT-EXPERTS]"""
        return lambda expert: Mlp(**self._projections(prefix, expert_shapes(self.config, expert)))

    def _experts(self, index: int) -> Experts:
        """A layer's experts; names, shapes, dtypes and scales of all of them are checked here."""
        assert self.config.moe is not None
        prefix = f"model.layers.{index}."
        make = self._fused(prefix) if self.is_fused(index) else self._one_by_one(prefix)
        experts = Experts(self.config.moe.num_local_experts, make)
        first = experts[0]
        for number, expert in enumerate(experts):
            for name in MLP_PROJECTIONS:
                found, wanted = _kind(getattr(expert, name)), _kind(getattr(first, name))
                if found != wanted:
                    weight = f"{prefix}{EXPERTS}.{number}.{name}.weight"
                    raise self.tensors.unsupported(weight, f"is {found}, but that of expert 0 is {wanted}")
        return experts

    def _mlp(self, index: int, kind: LayerKind) -> Mlp | Moe:
        """A layer's MLP, or its experts with their router."""
        prefix = f"model.layers.{index}."
        if kind.mlp == "dense":
            return Mlp(**self._projections(prefix, mlp_shapes(self.config, kind)))
        assert self.config.moe is not None
        shape = (self.config.moe.num_local_experts, self.config.hidden_size)
        router = Bf16Linear(self.tensors.take(f"{prefix}feed_forward.router.weight", shape))
        experts = self._experts(index)
        return Moe(router, experts, Mlp(**self._projections(prefix, mlp_shapes(self.config, kind))))

    def _cross(self, prefix: str) -> Cross:
        """What cross-attention has besides its projections. [CKPT-NAMES]"""
        norms = (f"{prefix}cross_attn.{name}.weight" for name in ("q_norm", "k_norm"))
        gates = (f"{prefix}cross_attn_{name}" for name in ("attn_gate", "mlp_gate"))
        d = self.config.head_dim
        return Cross(*(self.tensors.take(n, (d,)) for n in norms), *(self.tensors.take(n, (1,)) for n in gates))

    def kv_scale_names(self, index: int) -> list[tuple[str, str]]:
        """The pairs of names, of k and of v, of which a layer has at least one. [CKPT-KV-SCALES]"""
        path = f"model.layers.{index}.{ATTENTION['self']}."
        pairs = [(path + k, path + v) for k, v in KV_SCALES]
        return [pair for pair in pairs if any(name in self.tensors for name in pair)]

    def _kv_scales(self, index: int) -> dict[str, Any]:
        """The scales of a layer's FP8 cache, 1 where there are none; nothing where the cache is not FP8."""
        found = self.kv_scale_names(index)
        for name in itertools.chain(*found):
            self.tensors.skip(name)
        if self.config.kv_cache == "bfloat16":
            return {}
        for pair in found:
            for name, other in itertools.permutations(pair):
                if name not in self.tensors:
                    raise self.tensors.damaged(other, f"is here, but {name!r} is missing")
        if len(found) > 1:
            raise self.tensors.damaged(found[1][0], f"the scale is also here as {self.tensors.stored(found[0][0])!r}")
        k, v = map(self.tensors.scalar, found[0]) if found else (np.ones((), np.float32),) * 2
        return {"k_scale": k, "v_scale": v}

    def layer(self, index: int) -> LayerWeights:
        """One decoder layer."""
        config, prefix = self.config, f"model.layers.{index}."
        kind = config.layer(index)
        parts: dict[str, Any] = dict(self._projections(prefix, attention_shapes(config, kind)))
        parts["mlp"] = self._mlp(index, kind)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            parts[norm] = self.tensors.take(f"{prefix}{norm}.weight", (config.hidden_size,))
        if kind.attention == "cross":
            return LayerWeights(**parts, cross=self._cross(prefix))
        self.tensors.skip(f"{prefix}self_attn.rotary_emb.inv_freq")
        return LayerWeights(**parts, **self._kv_scales(index))

    def weights(self) -> LlamaWeights:
        """All weights; afterwards every tensor of the checkpoint is accounted for."""
        self.checkpoint.expect("scattered")  # scales and norms, between weights that nobody asked for [CKPT-STREAM]
        weights = self._weights()
        self.checkpoint.expect("whole")
        return weights

    def _weights(self) -> LlamaWeights:
        config, take = self.config, self.tensors.take
        embed = take("model.embed_tokens.weight", (config.token_ids, config.hidden_size))
        layers = tuple(self.layer(index) for index in range(config.num_hidden_layers))
        norm = take("model.norm.weight", (config.hidden_size,))
        if config.tie_word_embeddings:
            self.tensors.skip("lm_head.weight")
            head = embed
        else:
            head = take("lm_head.weight", (config.vocab_size, config.hidden_size))
        self.tensors.check_leftovers()
        return LlamaWeights(embed, layers, norm, Bf16Linear(head))
