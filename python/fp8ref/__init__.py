# SPDX-License-Identifier: Apache-2.0
"""A bit-exact reference for FP8 E4M3 inference.

The functions here are the golden model's: importing ``fp8ref`` is importing the oracle, with numpy and ml_dtypes as its
only needs. ``fp8ref.backend("cpu")`` has the same functions in C++, ``fp8ref.load`` opens a checkpoint on either, and
``spec/`` says in words what every bit is.

Example:
    >>> import ml_dtypes, numpy as np, fp8ref
    >>> x = np.array([[0.5, -3.0, 7.0, 0.0]], dtype=ml_dtypes.bfloat16)
    >>> codes, scale = fp8ref.quantize(x, rule="vllm.per_token")
    >>> y = fp8ref.scaled_mm(codes, codes, scale, scale)
    >>> y.dtype.name, y.shape
    ('bfloat16', (1, 1))
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING

from . import errors
from .backends import Backend, backend
from .golden._rules import rules
from .golden.attention import attention
from .golden.e4m3 import decode, encode
from .golden.grouped_mm import grouped_mm
from .golden.linear import linear
from .golden.mma import mma
from .golden.quantize import dequantize, quantize
from .golden.residual import gated_residual, residual
from .golden.rmsnorm import rmsnorm
from .golden.rope import rope, rope_frequencies, rope_table
from .golden.route import combine, dispatch, route
from .golden.sample import sample
from .golden.scaled_mm import scaled_mm
from .golden.silu_mul import silu_mul
from .golden.temperature import temperature, temperature_factors
from .table import include_folder

if TYPE_CHECKING:
    from . import compare
    from .model import Model

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "__version__",
    "attention",
    "backend",
    "combine",
    "compare",
    "decode",
    "dequantize",
    "dispatch",
    "encode",
    "errors",
    "gated_residual",
    "grouped_mm",
    "include_folder",
    "linear",
    "load",
    "mma",
    "quantize",
    "residual",
    "rmsnorm",
    "rope",
    "rope_frequencies",
    "rope_table",
    "route",
    "rules",
    "sample",
    "scaled_mm",
    "silu_mul",
    "temperature",
    "temperature_factors",
]


def __getattr__(name: str) -> ModuleType:
    """``fp8ref.compare`` is loaded when it is first used."""
    if name == "compare":
        return importlib.import_module(".compare", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    checkpoint: str | os.PathLike[str], backend: str = "cpu", accumulate: str = "exact", weights: str = "mapped"
) -> Model:
    """Open a checkpoint folder as a model.

    Args:
        checkpoint: a folder with config.json and safetensors of a Llama 3, a Llama 4 or a Llama 3.2 Vision (their text
            models): compressed-tensors ``float-quantized``, AutoFP8 static or plain bf16; spec/checkpoint.md says what
            it may hold.
        backend: ``cpu`` (C++), ``cuda`` (a GPU) or ``golden`` (numpy, the specification).
        accumulate: the accumulator of every FP8 matrix multiply, as :func:`scaled_mm` has it; or ``"sm90"``,
            ``"sm89"`` or ``"sm80"``: the whole model in the arithmetic of that tensor core.
        weights: ``"mapped"``, or ``"streamed"`` (not on golden): memory is given back while the model runs, for a
            checkpoint larger than memory; the same bits.

    Returns:
        A model with ``logits(tokens) -> float32 (T, V)`` and ``generate(tokens, max_new_tokens=...) -> list[int]``; for
        a Llama 3.2 Vision both also take ``vision_states``, bfloat16 (1, N, hidden_size).

    Raises:
        CheckpointError: the folder is damaged; UnsupportedError: it asks for something unknown; BackendError: no such
            backend here.

    Example:
        >>> import fp8ref
        >>> model = fp8ref.load("SmolLM2-135M-Instruct-FP8")  # doctest: +SKIP
        >>> model.generate([1, 9690, 198], max_new_tokens=8)  # doctest: +SKIP
        >>> vision = fp8ref.load("Llama-3.2-11B-Vision-Instruct-FP8-dynamic")         # doctest: +SKIP
        >>> vision.logits([128256, 128000, 791], vision_states=states).shape          # doctest: +SKIP
        (3, 128256)
    """
    from .model import load as load_model

    return load_model(checkpoint, backend=backend, accumulate=accumulate, weights=weights)
