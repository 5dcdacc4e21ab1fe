# SPDX-License-Identifier: Apache-2.0
"""One forward pass of a Llama: what all its steps share. spec/llama.md"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import Array
from ._llama_cache import KVCache
from ._llama_config import LlamaConfig
from ._llama_weights import Bf16Linear, Fp8Linear, Linear

Float32 = NDArray[np.float32]
Trace = Callable[[str, Array], None]

RULES = {"token": "vllm.per_token", "static": "vllm.per_tensor_static", "group": "vllm.group_128"}


@dataclass(frozen=True)
class Run:
    """What stays the same for all layers, and the steps that more than one kind of layer has."""

    config: LlamaConfig
    ops: Any
    fp8: str | None  # the accumulator of FP8 matrix products [LLAMA-MODES]
    mode: str  # of the others, and of attention
    cache: KVCache
    cos: Float32
    sin: Float32
    factors: Float32 | None  # of the attention temperature
    vision: Array | None  # vision states that came with this forward, (N, H)
    image: dict[int, tuple[Array, Array]]  # keys and values of the image, of this forward or of one before it
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
        codes, scale = self.ops.quantize(x, RULES[projection.activations], projection.input_scale)
        self.record(f"{name}.input_codes", codes.view(np.uint8))
        self.record(f"{name}.input_scale", scale if scale.ndim else scale.reshape(1, 1))
        out = self.ops.scaled_mm(
            codes,
            projection.weight,
            scale,
            projection.weight_scale,
            bias=projection.bias,
            out_dtype="bfloat16",
            accumulate=self.fp8,
            epilogue=self._epilogue(projection),
        )
        return self.record(name, out)

    def _epilogue(self, projection: Fp8Linear) -> str:
        """[LLAMA-LINEAR]: a tensor core adds blocks one by one."""
        return "deepgemm" if projection.activations == "group" and self.fp8 != "exact" else "a_b"

    def heads(self, x: Array) -> Array:
        """(T, heads, d) of the columns of a projection. [LLAMA-ATTENTION]"""
        return x.reshape(x.shape[0], -1, self.config.head_dim)

    def linear(self, x: Array, projection: Bf16Linear) -> Array:
        """A bfloat16 projection. [LLAMA-LINEAR]"""
        out: Array = self.ops.linear(x, projection.weight, projection.bias, self.mode)
        return out

    def norm(self, x: Array, weight: Array | None) -> Array:
        """RMSNorm with the model's eps. [LLAMA-NORM]"""
        normed: Array = self.ops.rmsnorm(x, weight, self.config.rms_norm_eps)
        return normed

    def add(self, x: Array, y: Array, gate: Array | None) -> Array:
        """The residual addition, gated in layers of cross-attention. [LLAMA-CROSS]"""
        out: Array = self.ops.residual(x, y) if gate is None else self.ops.gated_residual(x, y, gate)
        return out
