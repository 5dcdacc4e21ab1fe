# SPDX-License-Identifier: Apache-2.0
"""What ``inspect`` finds out, as data. Rendering is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..golden.llama import LlamaConfig
from .ranges import Ranges


@dataclass(frozen=True)
class FileReport:
    """One safetensors file."""

    name: str
    nbytes: int
    tensors: int


@dataclass(frozen=True)
class PartReport:
    """Tensors of one purpose and dtype.

    Attributes:
        name: ``attention``, ``mlp``, ``experts``, ``embeddings``, ..., ``scales``, or ``vision``, which is not read.
        dtype: as safetensors names it.
        tensors: how many.
        elements: in all of them.
        nbytes: of all of them.
    """

    name: str
    dtype: str
    tensors: int
    elements: int
    nbytes: int


@dataclass(frozen=True)
class ModuleReport:
    """One projection, or the same projection of all experts of a layer.

    Attributes:
        name: the module's name, ``model.layers.0.self_attn.q_proj``, whatever prefixes the file has; the number of an
            expert is ``*``.
        shape: (out, in).
        dtype: the weight's dtype, as safetensors names it.
        scheme: ``bf16``, or for example ``fp8 channel weights, token activations``.
        weight_scale: dtype and shape of the scale, ``BF16 [576, 1]``; None if there is none.
        input_scale: the static scale of the activations, the largest of all experts; None if there is none.
        count: how many projections this is: 1, or the number of experts.
        weight_rule: the rule by which the config says that the weight was quantized; None if it does not say.
        activation_rule: the rule by which activations are quantized; None in BF16.
        ranges: of weights and scales.
    """

    name: str
    shape: tuple[int, int]
    dtype: str
    scheme: str
    weight_scale: str | None = None
    input_scale: float | None = None
    count: int = 1
    weight_rule: str | None = None
    activation_rule: str | None = None
    ranges: Ranges = field(default_factory=Ranges)


@dataclass(frozen=True)
class LayerReport:
    """One decoder layer.

    Attributes:
        index: its number.
        attention: ``self`` or ``cross``.
        rope: ``rotate_half``, ``interleaved`` or ``none``.
        chunk: positions of a chunk of attention; None where a token sees all before it.
        qk_norm: ``none``, ``weightless`` or ``weighted``.
        temperature: ``attn_scale`` of the attention temperature; None if there is none.
        mlp: ``dense`` or ``moe``.
        experts: how many routed experts; 0 in a dense layer.
        experts_layout: ``fused`` or ``one_by_one``; None in a dense layer.
        schemes: the scheme of each part, ``attention``, ``mlp``, ``shared_expert`` and ``experts``.
        kv_scales: of k and v in an FP8 cache; None in a bfloat16 cache.
        ranges: of all FP8 projections of the layer.
    """

    index: int
    attention: str
    rope: str
    chunk: int | None
    qk_norm: str
    temperature: float | None
    mlp: str
    experts: int
    experts_layout: str | None
    schemes: dict[str, str]
    kv_scales: tuple[float, float] | None
    ranges: Ranges


@dataclass(frozen=True)
class Report:
    """Everything that ``inspect`` finds out.

    Attributes:
        path: the folder.
        scan: ``values`` if every weight was read, ``headers`` if not.
        model: the model's numbers.
        dtype: ``dtype`` (``torch_dtype``) of config.json; None if it says nothing.
        method: ``none``, ``compressed-tensors`` or ``fp8`` (AutoFP8).
        kv_cache: dtype of the KV cache.
        groups: a line per group of the quantization config.
        ignore: entries of its ignore list.
        files: the safetensors files.
        parts: the tensors by purpose and dtype.
        layers: the decoder layers.
        modules: the projections of the decoder layers, in order.
        schemes: how many projections have which scheme.
        parameters: elements of weights, biases and norms (scales and what is not read are no parameters).
        nbytes: bytes of all tensors.
        warnings: contradictions that do not keep the model from loading. [CKPT-WARN]
    """

    path: Path
    scan: str
    model: LlamaConfig
    dtype: str | None
    method: str
    kv_cache: str
    groups: tuple[str, ...]
    ignore: tuple[str, ...]
    files: tuple[FileReport, ...]
    parts: tuple[PartReport, ...]
    layers: tuple[LayerReport, ...]
    modules: tuple[ModuleReport, ...]
    schemes: dict[str, int]
    parameters: int
    nbytes: int
    warnings: tuple[str, ...]
