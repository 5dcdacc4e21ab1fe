# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds, as data: for ``fp8ref inspect`` and for programs. Rendering is elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..golden.llama import LlamaConfig
from .config import model_dtype
from .folder import Checkpoint
from .layout import projections
from .reader import LlamaReader
from .scheme import Quantization, Scheme

UNQUANTIZED = "bf16"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FileReport:
    """One safetensors file."""

    name: str
    nbytes: int
    tensors: int


@dataclass(frozen=True)
class ModuleReport:
    """One projection.

    Attributes:
        name: the module's name, ``model.layers.0.self_attn.q_proj``.
        shape: (out, in).
        dtype: the weight's dtype, as safetensors names it.
        scheme: ``bf16``, or for example ``fp8 channel weights, token activations``.
        weight_scale: dtype and shape of the scale, ``BF16 [576, 1]``; None if there is none.
        input_scale: the static scale of the activations; None if there is none.
    """

    name: str
    shape: tuple[int, int]
    dtype: str
    scheme: str
    weight_scale: str | None = None
    input_scale: float | None = None


@dataclass(frozen=True)
class Report:
    """Everything that ``inspect`` finds out.

    Attributes:
        path: the folder.
        model: the model's numbers.
        dtype: ``dtype`` (``torch_dtype``) of config.json; None if it says nothing.
        method: ``none``, ``compressed-tensors`` or ``fp8`` (AutoFP8).
        groups: a line per group of the quantization config.
        ignore: entries of its ignore list.
        files: the safetensors files.
        modules: the projections of the decoder layers, in order.
        schemes: how many projections have which scheme.
        parameters: elements of weights, biases and norms (scales are not parameters).
        nbytes: bytes of all tensors.
        warnings: contradictions that do not keep the model from loading. [CKPT-WARN]
    """

    path: Path
    model: LlamaConfig
    dtype: str | None
    method: str
    groups: tuple[str, ...]
    ignore: tuple[str, ...]
    files: tuple[FileReport, ...]
    modules: tuple[ModuleReport, ...]
    schemes: dict[str, int]
    parameters: int
    nbytes: int
    warnings: tuple[str, ...]


def _scheme_text(scheme: Scheme) -> str:
    return f"fp8 {scheme.weights} weights, {scheme.activations} activations"


def _groups(config: Quantization) -> tuple[str, ...]:
    lines = []
    for group in config.groups:
        targets = "all linear layers" if group.targets is None else ", ".join(group.targets.entries)
        lines.append(f"{group.name}: {_scheme_text(group.scheme)}; targets {targets}")
    return tuple(lines)


def _module(reader: LlamaReader, name: str, shape: tuple[int, ...]) -> tuple[ModuleReport, list[str]]:
    """One row of the table, and where tensor and config contradict each other. [CKPT-WARN]"""
    checkpoint = reader.checkpoint
    out, columns = shape
    dtype = checkpoint.entry(f"{name}.weight").dtype
    configured = reader.quantization.configured(name)
    if not reader.tensors.is_fp8(name):
        asks = configured is not None
        warnings = [f"{name}: config.json asks for FP8, but the weight is {dtype}; the tensor decides"] if asks else []
        return ModuleReport(name, (out, columns), dtype, UNQUANTIZED), warnings
    warnings = []
    if configured is None:
        warnings.append(f"{name}: config.json leaves it alone, but the weight is {dtype}; the tensor decides")
    scale = checkpoint.entry(f"{name}.weight_scale")
    activations = reader.quantization.of_fp8(name).activations
    weights = "channel" if scale.shape[:1] == (out,) else "tensor"
    wanted = reader.quantization.of_fp8(name).weights
    if weights != wanted and out != 1:
        shown = f"weight_scale has shape {list(scale.shape)}"
        warnings.append(f"{name}: config.json asks for {wanted} scales, but {shown}; the tensor decides")
    nan = int(((checkpoint.array(f"{name}.weight").view(np.uint8) & 0x7F) == 0x7F).sum())
    if nan:
        warnings.append(f"{name}: the weight holds {nan} NaN codes (0x7F or 0xFF)")
    static = reader.tensors.scalar(f"{name}.input_scale") if activations == "static" else None
    report = ModuleReport(
        name,
        (out, columns),
        dtype,
        _scheme_text(Scheme(weights, activations)),
        f"{scale.dtype} {list(scale.shape)}",
        None if static is None else float(static),
    )
    return report, warnings


def inspect(path: str | Path, on_progress: Progress | None = None) -> Report:
    """Check a checkpoint completely and say what it holds.

    Args:
        path: the folder.
        on_progress: called as ``on_progress(done, total)`` after each projection; every weight is read.

    Raises:
        CheckpointError: it is damaged; the message names the file and the tensor or key.
        UnsupportedError: it asks for something that fp8ref does not implement.

    Example:
        >>> report = inspect("SmolLM2-135M-Instruct-FP8")   # doctest: +SKIP
        >>> report.schemes                                  # doctest: +SKIP
        {'fp8 channel weights, token activations': 210}
    """
    checkpoint = Checkpoint(path)
    reader = LlamaReader(checkpoint)
    reader.weights()  # all checks
    dtype = model_dtype(checkpoint.config)
    warnings: list[str] = []
    if dtype not in (None, "bfloat16"):
        warnings.append(f"config.json says dtype {dtype}, but the unquantized tensors are BF16")
    rows = tuple(projections(reader.config))
    modules = []
    for done, (name, shape) in enumerate(rows, start=1):
        module, found = _module(reader, name, shape)
        modules.append(module)
        warnings += found
        if on_progress is not None:
            on_progress(done, len(rows))
    entries = [entry for file in checkpoint.files for entry in file.entries.values()]
    scales = (".weight_scale", ".input_scale")
    return Report(
        path=checkpoint.path,
        model=reader.config,
        dtype=dtype,
        method=reader.quantization.method,
        groups=_groups(reader.quantization),
        ignore=reader.quantization.ignore.entries if reader.quantization.ignore else (),
        files=tuple(FileReport(f.path.name, f.path.stat().st_size, len(f.entries)) for f in checkpoint.files),
        modules=tuple(modules),
        schemes=dict(Counter(module.scheme for module in modules)),
        parameters=sum(int(np.prod(e.shape, dtype=object)) for e in entries if not e.name.endswith(scales)),
        nbytes=sum(entry.nbytes for entry in entries),
        warnings=tuple(warnings),
    )
