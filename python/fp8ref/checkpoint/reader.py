# SPDX-License-Identifier: Apache-2.0
"""The weights of a Llama out of a checkpoint: every tensor checked, none copied. [CKPT-NAMES] to [CKPT-ACTIVATIONS]"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError, UnsupportedError
from ..golden.llama import Bf16Linear, Fp8Linear, LayerWeights, Linear, LlamaConfig, LlamaWeights, Mlp
from .config import llama_config
from .folder import Checkpoint
from .scheme import Quantization, quantization

Shape = tuple[int, ...]
SCALE_DTYPES = ("F32", "BF16", "F16")


def projection_shapes(config: LlamaConfig) -> dict[str, Shape]:
    """(out, in) of a layer's projections, by their path below ``model.layers.{i}.``."""
    h, wide = config.hidden_size, config.intermediate_size
    q, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    return {
        "self_attn.q_proj": (q, h),
        "self_attn.k_proj": (kv, h),
        "self_attn.v_proj": (kv, h),
        "self_attn.o_proj": (h, q),
        "mlp.gate_proj": (wide, h),
        "mlp.up_proj": (wide, h),
        "mlp.down_proj": (h, wide),
    }


def projections(config: LlamaConfig) -> Iterator[tuple[str, Shape]]:
    """Names and shapes of all projections of the decoder layers, in order. Lazy: a layer count is not trusted."""
    for index in range(config.num_hidden_layers):
        for path, shape in projection_shapes(config).items():
            yield f"model.layers.{index}.{path}", shape


class LlamaReader:
    """Reads the tensors of one model and remembers which, so that those left over can be named.

    Attributes:
        checkpoint: the opened folder.
        config: the model's numbers.
        quantization: the quantization config.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.config = llama_config(checkpoint.config, checkpoint.generation_config)
        self.quantization: Quantization = quantization(checkpoint.config)
        self._used: set[str] = set()

    def damaged(self, name: str, message: str) -> CheckpointError:
        """A CheckpointError that names the file and the tensor."""
        return CheckpointError(f"{self.checkpoint.file_of(name)}: tensor {name!r}: {message}")

    def unsupported(self, name: str, message: str) -> UnsupportedError:
        """An UnsupportedError that names the file and the tensor."""
        return UnsupportedError(f"{self.checkpoint.file_of(name)}: tensor {name!r}: {message}")

    def tensor(self, name: str, shape: Shape, dtypes: tuple[str, ...] = ("BF16",)) -> NDArray[Any]:
        """A tensor of the given shape and one of the dtypes. [CKPT-NAMES], [CKPT-DTYPES]"""
        entry = self.checkpoint.entry(name)
        if entry.shape != shape:
            raise self.damaged(name, f"has shape {list(entry.shape)}, config.json asks for {list(shape)}")
        if entry.dtype not in dtypes:
            raise self.unsupported(name, f"dtype {entry.dtype} is not supported here; supported: {', '.join(dtypes)}")
        self._used.add(name)
        return self.checkpoint.array(name)

    def scale(self, name: str, rows: int) -> NDArray[np.float32]:
        """A scale widened exactly to float32, shape () or (rows, 1). [CKPT-SCALE]"""
        entry = self.checkpoint.entry(name)
        shapes = {(), (1,), (rows,), (rows, 1)}
        if entry.shape not in shapes:
            allowed = ", ".join(str(list(shape)) for shape in sorted(shapes))
            raise self.damaged(name, f"a scale has one of the shapes {allowed}, got {list(entry.shape)}")
        stored = self.tensor(name, entry.shape, SCALE_DTYPES)
        with np.errstate(invalid="ignore"):
            values = stored.astype(np.float32)
        if np.isnan(values).any():
            raise self.damaged(name, "the scale is NaN")
        if np.isinf(values).any():
            raise self.damaged(name, "the scale is infinite")
        if np.signbit(values).any():
            raise self.damaged(name, "the scale is negative")
        return values.reshape(()) if values.size == 1 else values.reshape(rows, 1)

    def is_fp8(self, module: str) -> bool:
        """Whether a projection is FP8: the tensor decides. [CKPT-DTYPES]"""
        return self.checkpoint.entry(f"{module}.weight").dtype == "F8_E4M3"

    def bias(self, module: str, rows: int) -> NDArray[Any] | None:
        """The bias of a projection, where the config gives its half of the layer biases."""
        has_bias = self.config.attention_bias if ".self_attn." in module else self.config.mlp_bias
        return self.tensor(f"{module}.bias", (rows,)) if has_bias else None

    def projection(self, module: str, shape: Shape) -> Linear:
        """One projection with its scales and bias."""
        bias = self.bias(module, shape[0])
        weight = self.tensor(f"{module}.weight", shape, ("BF16", "F8_E4M3"))
        scale, input_scale = f"{module}.weight_scale", f"{module}.input_scale"
        if not self.is_fp8(module):
            for name in (scale, input_scale):
                if name in self.checkpoint:
                    raise self.unsupported(name, "a scale, but the weight is BF16: a fake-quantized checkpoint")
            return Bf16Linear(weight, bias)
        activations = self.quantization.of_fp8(module).activations
        if scale not in self.checkpoint:
            raise self.damaged(f"{module}.weight", f"is F8_E4M3, but {scale!r} is missing")
        weight_scale = self.scale(scale, shape[0])
        if activations == "token":
            if input_scale in self.checkpoint:
                raise self.damaged(
                    input_scale, "is here, but config.json says that activations are quantized per token"
                )
            return Fp8Linear(weight, weight_scale, None, bias)
        if input_scale not in self.checkpoint:
            raise self.damaged(f"{module}.weight", f"activations are static, but {input_scale!r} is missing")
        static = self.scale(input_scale, 1)
        if not static > 0:
            raise self.damaged(input_scale, "the scale is zero")
        return Fp8Linear(weight, weight_scale, static, bias, "static")

    def layer(self, index: int) -> LayerWeights:
        """One decoder layer."""
        config, prefix = self.config, f"model.layers.{index}."
        blocks: dict[str, dict[str, Linear]] = {"self_attn": {}, "mlp": {}}
        for path, shape in projection_shapes(config).items():
            block, name = path.split(".")
            blocks[block][name] = self.projection(prefix + path, shape)
        parts: dict[str, Any] = {**blocks["self_attn"], "mlp": Mlp(**blocks["mlp"])}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            parts[norm] = self.tensor(f"{prefix}{norm}.weight", (config.hidden_size,))
        return LayerWeights(**parts)

    def weights(self) -> LlamaWeights:
        """All weights; afterwards every tensor of the checkpoint is accounted for."""
        config = self.config
        table = (config.vocab_size, config.hidden_size)
        embed = self.tensor("model.embed_tokens.weight", table)
        layers = tuple(self.layer(index) for index in range(config.num_hidden_layers))
        norm = self.tensor("model.norm.weight", (config.hidden_size,))
        lm_head = embed if config.tie_word_embeddings else self.tensor("lm_head.weight", table)
        self._check_leftovers()
        return LlamaWeights(embed, layers, norm, Bf16Linear(lm_head))

    def _check_leftovers(self) -> None:
        """A tensor that nothing reads means another model than the config describes. [CKPT-EXTRA]"""
        for name in self.checkpoint.names:
            ignorable = name.endswith(".self_attn.rotary_emb.inv_freq") or (
                name == "lm_head.weight" and self.config.tie_word_embeddings
            )
            if name not in self._used and not ignorable:
                raise self.unsupported(name, "the model that config.json describes has no use for it")
