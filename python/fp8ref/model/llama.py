# SPDX-License-Identifier: Apache-2.0
"""``load``: one object for a Llama on any backend. spec/llama.md"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..backends import BACKENDS
from ..checkpoint.folder import Checkpoint
from ..checkpoint.reader import LlamaReader
from ..errors import BackendError, OpError
from ..golden import llama as golden
from ..golden._args import choice
from ..golden.llama import LlamaConfig, Trace
from ..golden.sample import sample
from ..golden.scaled_mm import ACCUMULATORS
from .generate import generate

Float32 = NDArray[np.float32]
Tokens = Sequence[int] | NDArray[Any]


class Engine(Protocol):
    """What a backend's model can do; tokens are checked before they reach it.

    The C++ model is one: ``backends.cpu.llama.Llama.load(folder, accumulate)``.
    """

    @property
    def length(self) -> int:
        """Tokens in the KV cache."""

    def reset(self) -> None:
        """Forget them."""

    def forward(self, tokens: NDArray[np.int64], logits_rows: int, trace: Trace | None) -> Float32:
        """Append tokens; logits (logits_rows, vocab_size) of the last ones; ``trace`` sees the intermediates."""


class GoldenEngine:
    """golden/llama.py with its weights and cache."""

    def __init__(self, reader: LlamaReader, accumulate: str) -> None:
        self._config, self._accumulate = reader.config, accumulate
        self._weights = golden.prepare(reader.weights())
        self._cache = golden.KVCache(self._config)

    @property
    def length(self) -> int:
        """Tokens in the KV cache."""
        return self._cache.length

    def reset(self) -> None:
        """Forget them."""
        self._cache.reset()

    def forward(self, tokens: NDArray[np.int64], logits_rows: int, trace: Trace | None) -> Float32:
        """Append tokens; logits (logits_rows, vocab_size) of the last ones."""
        arguments = (self._config, self._weights, tokens, self._cache)
        return golden.forward(*arguments, accumulate=self._accumulate, trace=trace, logits_rows=logits_rows)


class Model:
    """A loaded Llama.

    Attributes:
        config: its numbers.
        backend: the name of the backend that runs it.
        accumulate: the accumulator of its FP8 matrix products.
    """

    def __init__(self, engine: Engine, config: LlamaConfig, backend: str, accumulate: str) -> None:
        self._engine = engine
        self.config, self.backend, self.accumulate = config, backend, accumulate

    def __repr__(self) -> str:
        c = self.config
        size = f"{c.num_hidden_layers} layers, hidden {c.hidden_size}, vocabulary {c.vocab_size}"
        return f"<fp8ref model on {self.backend}, {self.accumulate}: {size}>"

    @property
    def length(self) -> int:
        """Tokens in the KV cache."""
        return self._engine.length

    def reset(self) -> None:
        """Forget all tokens."""
        self._engine.reset()

    def forward(self, tokens: Tokens, logits_rows: int | None = None, trace: Trace | None = None) -> Float32:
        """Append tokens to those in the KV cache.

        Args:
            tokens: ids (T,), T >= 1.
            logits_rows: how many of the last tokens get logits; None is all.
            trace: called with name and (T, columns) array of every intermediate. [LLAMA-TRACE]

        Returns:
            float32 (logits_rows, vocab_size).

        Raises:
            OpError: no tokens, an id outside of the vocabulary, more tokens than ``max_position_embeddings``.
        """
        ids = golden.check_tokens(self.config, tokens, self.length)
        rows = ids.size if logits_rows is None else logits_rows
        if not 0 <= rows <= ids.size:
            raise OpError(f"llama: logits_rows must be from 0 to {ids.size}, got {logits_rows!r}")
        return self._engine.forward(ids, rows, trace)

    def logits(self, tokens: Tokens, chunk: int | None = None) -> Float32:
        """Logits of every token of a prompt, from an empty cache.

        Args:
            tokens: ids (T,).
            chunk: feed the prompt in pieces of so many tokens; no bit depends on it. [LLAMA-CUT]

        Returns:
            float32 (T, vocab_size).

        Raises:
            OpError: as for :meth:`forward`, or ``chunk`` is below 1.

        Example:
            >>> model.logits([1, 9690, 198]).shape  # doctest: +SKIP
            (3, 49152)
        """
        ids = golden.check_tokens(self.config, tokens)
        size = ids.size if chunk is None else chunk
        if size < 1:
            raise OpError(f"llama: chunk must be at least 1, got {chunk!r}")
        self.reset()
        return np.concatenate([self.forward(ids[start : start + size]) for start in range(0, ids.size, size)])

    def trace(self, tokens: Tokens) -> dict[str, NDArray[Any]]:
        """Every intermediate of a prompt, from an empty cache, by the names of [LLAMA-TRACE].

        Raises:
            OpError: as for :meth:`forward`.
        """
        ids = golden.check_tokens(self.config, tokens)
        values: dict[str, NDArray[Any]] = {}
        self.reset()
        self.forward(ids, trace=lambda name, value: values.update({name: np.array(value)}))
        return values

    def generate(self, tokens: Tokens, max_new_tokens: int, on_token: Callable[[int], None] | None = None) -> list[int]:
        """Greedy generation from an empty cache. [LLAMA-GENERATE]

        Args:
            tokens: the prompt's ids.
            max_new_tokens: stop after so many, 0 or more.
            on_token: called with each new id as soon as it is known.

        Returns:
            The new ids only. The last one is an EOS id if that ended it.

        Raises:
            OpError: as for :meth:`forward`, or ``max_new_tokens`` is below 0.

        Example:
            >>> model.generate([1, 9690, 198], max_new_tokens=8)  # doctest: +SKIP
        """
        return generate(self.config, self.forward, self.reset, sample, tokens, max_new_tokens, on_token)


def _engine(reader: LlamaReader, backend: str, accumulate: str) -> Engine:
    if backend == "golden":
        return GoldenEngine(reader, accumulate)
    if backend != "cpu":
        raise BackendError(f"backend {backend!r} has no llama; known: golden, cpu")
    try:
        from ..backends.cpu.llama import Llama
    except ImportError as error:
        raise BackendError(f"backend 'cpu' is not available: {error} (pip install fp8ref builds it)") from error
    return Llama.load(reader.checkpoint.path, accumulate)


def load(path: str | os.PathLike[str], backend: str = "cpu", accumulate: str = "exact") -> Model:
    """Open a checkpoint folder as a model.

    Args:
        path: the folder; spec/checkpoint.md says what it may hold.
        backend: ``"cpu"`` (C++) or ``"golden"`` (numpy).
        accumulate: the accumulator of FP8 matrix products, as :func:`fp8ref.scaled_mm` has it.

    Raises:
        CheckpointError: the folder is damaged; the message names the file and the tensor or key.
        UnsupportedError: it asks for something that fp8ref does not implement.
        BackendError: the backend is unknown or not installed.
        OpError: the accumulator is unknown.

    Example:
        >>> model = load("SmolLM2-135M-Instruct-FP8", backend="golden")  # doctest: +SKIP
        >>> model.generate([1, 9690, 198], max_new_tokens=8)             # doctest: +SKIP
    """
    if backend not in BACKENDS:
        raise BackendError(f"unknown backend {backend!r}; known: {', '.join(BACKENDS)}")
    choice("llama", "accumulate", accumulate, ACCUMULATORS)
    reader = LlamaReader(Checkpoint(os.fspath(path)))
    return Model(_engine(reader, backend, accumulate), reader.config, backend, accumulate)
