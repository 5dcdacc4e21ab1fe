# SPDX-License-Identifier: Apache-2.0
"""A model that runs: load a checkpoint, compute logits, generate; and text to tokens and back."""

from __future__ import annotations

from .llama import Model, load
from .tokenizer import TextStream, Tokenizer

__all__ = ["Model", "TextStream", "Tokenizer", "load"]
