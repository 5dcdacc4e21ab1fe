# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders: read, check, describe, write. spec/checkpoint.md

Needs numpy, and for writing the package ``safetensors``.
"""

from __future__ import annotations

from .folder import Checkpoint
from .inspect import inspect
from .quantize import quantize_checkpoint
from .reader import LlamaReader
from .report import LayerReport, ModuleReport, Report
from .writer import write_checkpoint

__all__ = [
    "Checkpoint",
    "LayerReport",
    "LlamaReader",
    "ModuleReport",
    "Report",
    "inspect",
    "quantize_checkpoint",
    "write_checkpoint",
]
