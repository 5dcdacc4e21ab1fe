# SPDX-License-Identifier: Apache-2.0
"""The C++ Llama. spec/llama.md

It reads the checkpoint by itself and keeps weights, cache and intermediates in C++; only tokens and logits pass through
here. :func:`fp8ref.load` wraps it, and checks tokens first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _ext
from ...errors import OpError
from ._arrays import BFLOAT16, Array

Trace = Callable[[str, Array], None]


class Llama:
    """A Llama with its KV cache, in C++. Use :meth:`load`.

    Example:
        >>> model = Llama.load("SmolLM2-135M-Instruct-FP8", "exact")                        # doctest: +SKIP
        >>> model.forward(np.array([1, 9690, 198]), logits_rows=1).shape                    # doctest: +SKIP
        (1, 49152)
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.config: dict[str, Any] = model.config
        self._vocab_size: int = self.config["vocab_size"]

    @classmethod
    def load(cls, folder: str | os.PathLike[str], accumulate: str, weights: str = "mapped") -> Llama:
        """Open a checkpoint folder by the C++ reader.

        Args:
            folder: as spec/checkpoint.md says.
            accumulate: the accumulator of FP8 matrix products, or the mode of the whole model. [LLAMA-MODES]
            weights: ``"mapped"`` or ``"streamed"``. [LLAMA-STREAM]

        Raises:
            CheckpointError, UnsupportedError: as the Python reader, by the same rules.
            OpError: a word is unknown, or the model needs what the mode does not have.
        """
        return cls(cls.extension().Llama(os.fsencode(folder), accumulate, weights))

    @staticmethod
    def extension() -> Any:
        """The extension module that has the model."""
        return _ext

    @property
    def length(self) -> int:
        """Tokens in the KV cache."""
        length: int = self._model.length
        return length

    def reset(self) -> None:
        """Forget them, and the vision states."""
        self._model.reset()

    def forward(
        self, tokens: Any, logits_rows: int, trace: Trace | None = None, vision_states: NDArray[Any] | None = None
    ) -> NDArray[np.float32]:
        """Append tokens to the cache.

        Args:
            tokens: (T,) ids.
            logits_rows: how many of the last tokens get logits.
            trace: called with the name and the (T, columns) array of every intermediate. [LLAMA-TRACE]
            vision_states: bfloat16 (N, hidden_size) for these tokens and those after them, or None. [LLAMA-VISION]

        Returns:
            float32 (logits_rows, vocab_size).

        Raises:
            OpError: [LLAMA-TOKENS] rules the tokens out, [LLAMA-VISION] the vision states, or the model runs in another
                thread.
            KeyboardInterrupt: Ctrl-C; the cache is as before.
        """
        logits = np.empty((logits_rows, self._vocab_size), np.float32)
        image = self._image(vision_states)
        self._model.forward(_ids(tokens), logits, None if trace is None else _typed(trace), image)
        return logits

    def generate(
        self,
        tokens: Any,
        max_new_tokens: int,
        on_token: Callable[[int], None] | None = None,
        vision_states: NDArray[Any] | None = None,
    ) -> list[int]:
        """Greedy generation from an empty cache, wholly in C++. [LLAMA-GENERATE]

        Args:
            tokens: (T,) ids of the prompt.
            max_new_tokens: stop after so many.
            on_token: called with each new id.
            vision_states: as for :meth:`forward`, with the prompt.

        Returns:
            The new ids only.

        Raises:
            OpError: as for :meth:`forward`, or ``max_new_tokens`` is below 0.
            KeyboardInterrupt: Ctrl-C.
        """
        ids: list[int] = self._model.generate(_ids(tokens), max_new_tokens, on_token, self._image(vision_states))
        return ids

    def _image(self, vision_states: NDArray[Any] | None) -> NDArray[np.uint16] | None:
        """The bit patterns of vision states, checked so that C++ may read them."""
        if vision_states is None:
            return None
        array, hidden = np.asarray(vision_states), self.config["hidden_size"]
        if array.dtype != BFLOAT16 or array.ndim != 2 or array.shape[1] != hidden:
            raise OpError(f"llama: vision_states must be bfloat16 (N, {hidden}), got {array.dtype.name} {array.shape}")
        return np.ascontiguousarray(array).view(np.uint16)


def _ids(tokens: Any) -> NDArray[np.int64]:
    return np.ascontiguousarray(tokens, np.int64)


def _typed(trace: Trace) -> Trace:
    """bfloat16 comes out of the extension as bit patterns, the only uint16 there."""

    def typed(name: str, value: Array) -> None:
        trace(name, value.view(BFLOAT16) if value.dtype == np.uint16 else value)

    return typed
