# SPDX-License-Identifier: Apache-2.0
"""The loop of greedy generation, the same for every backend. [LLAMA-GENERATE]"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OpError
from ..golden.llama import LlamaConfig, check_tokens

Forward = Callable[..., NDArray[np.float32]]


def generate(
    config: LlamaConfig,
    forward: Forward,
    reset: Callable[[], None],
    sample: Callable[[Any], NDArray[np.int64]],
    tokens: Sequence[int] | NDArray[Any],
    max_new_tokens: int,
    on_token: Callable[[int], None] | None = None,
) -> list[int]:
    """New ids after a prompt, until an EOS id (which is the last of them), the number asked for, or the last position.

    Args:
        config: for EOS ids, the vocabulary and ``max_position_embeddings``, which prompt and new ids together respect.
        forward: ``forward(tokens, logits_rows)``; appends to a cache.
        reset: empties that cache.
        sample: logits to ids.
        tokens: the prompt's ids.
        max_new_tokens: 0 or more.
        on_token: called with each new id as soon as it is known.

    Raises:
        OpError: the prompt is empty, too long or has an unknown id, or ``max_new_tokens`` is below 0.
    """
    ids = check_tokens(config, tokens)
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int | np.integer) or max_new_tokens < 0:
        raise OpError(f"llama: max_new_tokens must be an integer of at least 0, got {max_new_tokens!r}")
    count = min(int(max_new_tokens), config.max_position_embeddings - ids.size)
    out: list[int] = []
    reset()
    feed: Sequence[int] | NDArray[np.int64] = ids
    while len(out) < count and not (out and out[-1] in config.eos_token_ids):
        token = int(sample(forward(feed, 1))[0])
        out.append(token)
        feed = [token]
        if on_token is not None:
            on_token(token)
    return out
