# SPDX-License-Identifier: Apache-2.0
"""The C++ Llama on a CUDA device. spec/llama.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ..cpu import llama as cpu


class Llama(cpu.Llama):
    """A Llama with its weights and KV cache on the device in use: ``backends.cpu.llama.Llama``, bit for bit.

    Example:
        >>> model = Llama.load("SmolLM2-135M-Instruct-FP8", "sm90")                         # doctest: +SKIP
    """

    @staticmethod
    def extension() -> Any:
        """The extension module that has the model."""
        return _cuda
