# SPDX-License-Identifier: Apache-2.0
"""``load``: one object for a Llama on any backend. spec/llama.md"""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..backends import BACKENDS
from ..backends import backend as functions
from ..checkpoint.folder import Checkpoint
from ..checkpoint.reader import LlamaReader
from ..errors import BackendError, OpError
from ..golden import llama as golden
from ..golden._args import choice
from ..golden.llama import ACCUMULATORS, LlamaConfig, Trace
from ..golden.sample import sample
from .generate import generate

WEIGHTS = ("mapped", "streamed")  # [LLAMA-STREAM]

Float32 = NDArray[np.float32]
Tokens = Sequence[int] | NDArray[Any]


class Engine(Protocol):
    """What a backend's model can do; tokens and vision states are checked before they reach it.

    The C++ model is one: ``backends.cpu.llama.Llama.load(folder, accumulate, weights)``.
    """

    @property
    def length(self) -> int:
        """Tokens in the KV cache."""

    def reset(self) -> None:
        """Forget them, and the vision states."""

    def forward(
        self, tokens: NDArray[np.int64], logits_rows: int, trace: Trace | None, vision_states: NDArray[Any] | None
    ) -> Float32:
        """Append tokens; logits (logits_rows, vocab_size) of the last ones; ``trace`` sees the intermediates.

        ``vision_states`` is C-contiguous bfloat16 (N, hidden_size), or None: those of an earlier forward hold.
        """


class GoldenEngine:
    """golden/llama.py with its weights and cache."""

    def __init__(self, reader: LlamaReader, accumulate: str) -> None:
        self._config, self._accumulate = reader.config, accumulate
        weights = reader.weights()
        golden.check_accumulate(weights, accumulate)
        self._weights = golden.prepare(weights)
        self._cache = golden.KVCache(self._config)

    @property
    def length(self) -> int:
        """Tokens in the KV cache."""
        return self._cache.length

    def reset(self) -> None:
        """Forget them, and the vision states."""
        self._cache.reset()

    def forward(
        self, tokens: NDArray[np.int64], logits_rows: int, trace: Trace | None, vision_states: NDArray[Any] | None
    ) -> Float32:
        """Append tokens; logits (logits_rows, vocab_size) of the last ones."""
        return golden.forward(
            self._config,
            self._weights,
            tokens,
            self._cache,
            accumulate=self._accumulate,
            trace=trace,
            logits_rows=logits_rows,
            vision_states=None if vision_states is None else vision_states[None],
        )


class Model:
    """A loaded Llama.

    Attributes:
        config: its numbers.
        backend: the name of the backend that runs it.
        accumulate: the accumulator of its FP8 matrix products, or its mode. [LLAMA-MODES]
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
        """Forget all tokens, and the vision states."""
        self._engine.reset()

    def forward(
        self,
        tokens: Tokens,
        logits_rows: int | None = None,
        trace: Trace | None = None,
        vision_states: Any = None,
    ) -> Float32:
        """Append tokens to those in the KV cache.

        Args:
            tokens: ids (T,), T >= 1.
            logits_rows: how many of the last tokens get logits; None is all.
            trace: called with name and (T, columns) array of every intermediate. [LLAMA-TRACE]
            vision_states: an image for a Llama 3.2 Vision, bfloat16 (1, N, hidden_size) of numpy or torch: what the
                multimodal projector gives. It holds for these tokens and those after them, until another comes or
                the cache is reset; without one, layers with cross-attention are left out. [LLAMA-VISION]

        Returns:
            float32 (logits_rows, vocab_size).

        Raises:
            OpError: no tokens, an id outside of the vocabulary, more tokens than ``max_position_embeddings``; vision
                states of another shape or dtype, or for a model that takes none. The cache stays as it was.
        """
        ids, image = self._checked(tokens, vision_states, self.length)
        rows = ids.size if logits_rows is None else logits_rows
        if not 0 <= rows <= ids.size:
            raise OpError(f"llama: logits_rows must be from 0 to {ids.size}, got {logits_rows!r}")
        return self._engine.forward(ids, rows, trace, image)

    def _checked(
        self, tokens: Tokens, vision_states: Any, length: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[Any] | None]:
        """Tokens (T,) and vision states (N, H), before anything is done with them."""
        return golden.check_tokens(self.config, tokens, length), golden.check_vision(self.config, vision_states)

    def logits(self, tokens: Tokens, chunk: int | None = None, vision_states: Any = None) -> Float32:
        """Logits of every token of a prompt, from an empty cache.

        Args:
            tokens: ids (T,).
            chunk: feed the prompt in pieces of so many tokens; no bit depends on it. [LLAMA-CUT]
            vision_states: an image, as for :meth:`forward`; every token sees it.

        Returns:
            float32 (T, vocab_size).

        Raises:
            OpError: as for :meth:`forward`, or ``chunk`` is below 1.

        Example:
            >>> model.logits([1, 9690, 198]).shape  # doctest: +SKIP
            (3, 49152)
            >>> vision.logits([128256, 128000, 791], vision_states=states).shape  # doctest: +SKIP
            (3, 128256)
        """
        ids, _ = self._checked(tokens, vision_states)
        size = ids.size if chunk is None else chunk
        if size < 1:
            raise OpError(f"llama: chunk must be at least 1, got {chunk!r}")
        self.reset()
        pieces = zip(range(0, ids.size, size), _once(vision_states), strict=False)
        return np.concatenate([self.forward(ids[at : at + size], vision_states=image) for at, image in pieces])

    def trace(self, tokens: Tokens, vision_states: Any = None) -> dict[str, NDArray[Any]]:
        """Every intermediate of a prompt, from an empty cache, by the names of [LLAMA-TRACE].

        Args:
            tokens: ids (T,).
            vision_states: an image, as for :meth:`forward`.

        Raises:
            OpError: as for :meth:`forward`.
        """
        ids, _ = self._checked(tokens, vision_states)
        values: dict[str, NDArray[Any]] = {}
        self.reset()
        self.forward(ids, None, lambda name, value: values.update({name: np.array(value)}), vision_states)
        return values

    def generate(
        self,
        tokens: Tokens,
        max_new_tokens: int,
        on_token: Callable[[int], None] | None = None,
        vision_states: Any = None,
    ) -> list[int]:
        """Greedy generation from an empty cache. [LLAMA-GENERATE]

        Args:
            tokens: the prompt's ids.
            max_new_tokens: stop after so many, 0 or more.
            on_token: called with each new id as soon as it is known.
            vision_states: an image, as for :meth:`forward`; prompt and new tokens see it.

        Returns:
            The new ids only. The last one is an EOS id if that ended it.

        Raises:
            OpError: as for :meth:`forward`, or ``max_new_tokens`` is below 0.

        Example:
            >>> model.generate([1, 9690, 198], max_new_tokens=8)  # doctest: +SKIP
        """
        self._checked(tokens, vision_states)
        images = _once(vision_states)

        def forward(ids: Tokens, rows: int) -> Float32:
            return self.forward(ids, rows, vision_states=next(images))

        return generate(self.config, forward, self.reset, sample, tokens, max_new_tokens, on_token)


def _once(vision_states: Any) -> Iterator[Any]:
    """The vision states for the first of many forwards, and None for the others: they hold."""
    return itertools.chain([vision_states], itertools.repeat(None))


def _engine(reader: LlamaReader, backend: str, accumulate: str, weights: str) -> Engine:
    if backend == "golden":
        if weights != "mapped":
            raise OpError(f"llama: weights of golden are 'mapped', got {weights!r}")
        return GoldenEngine(reader, accumulate)
    functions(backend)  # or the error that says what is missing
    engine: Engine = importlib.import_module(f"{BACKENDS[backend]}.llama").Llama.load(
        reader.checkpoint.path, accumulate, weights
    )
    return engine


def load(
    path: str | os.PathLike[str], backend: str = "cpu", accumulate: str = "exact", weights: str = "mapped"
) -> Model:
    """Open a checkpoint folder as a model.

    Args:
        path: the folder; spec/checkpoint.md says what it may hold.
        backend: ``"cpu"`` (C++), ``"cuda"`` (its weights on the device in use) or ``"golden"`` (numpy).
        accumulate: the accumulator of FP8 matrix products, as :func:`fp8ref.scaled_mm` has it; or the mode of the whole
            model: ``"sm90"``, ``"sm89"`` or ``"sm80"``. [LLAMA-MODES]
        weights: ``"mapped"``, or ``"streamed"``: pages of the files are given back as soon as they have been used, so
            that a checkpoint of any size takes little memory. No bit depends on it. [LLAMA-STREAM]

    Raises:
        CheckpointError: the folder is damaged; the message names the file and the tensor or key.
        UnsupportedError: it asks for something that fp8ref does not implement.
        BackendError: the backend is unknown or not installed.
        OpError: a word is unknown, the mode has no FP8 matrix product and the model needs one, or golden is asked to
            stream.

    Example:
        >>> model = load("SmolLM2-135M-Instruct-FP8", backend="golden")  # doctest: +SKIP
        >>> model.generate([1, 9690, 198], max_new_tokens=8)             # doctest: +SKIP
    """
    if backend not in BACKENDS:
        raise BackendError(f"unknown backend {backend!r}; known: {', '.join(BACKENDS)}")
    choice("llama", "accumulate", accumulate, ACCUMULATORS)
    choice("llama", "weights", weights, WEIGHTS)
    reader = LlamaReader(Checkpoint(os.fspath(path)))
    return Model(_engine(reader, backend, accumulate, weights), reader.config, backend, accumulate)
