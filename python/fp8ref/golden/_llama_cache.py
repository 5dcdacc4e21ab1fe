# SPDX-License-Identifier: Apache-2.0
"""What a Llama keeps from one forward to the next. spec/llama.md"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ._args import BFLOAT16, FLOAT8, Array
from ._llama_config import LlamaConfig

DTYPES = {"bfloat16": BFLOAT16, "float8_e4m3fn": FLOAT8}  # by LlamaConfig.kv_cache


@dataclass
class KVCache:
    """Keys (as attention takes them) and values of the tokens so far, one pair of arrays a layer. [LLAMA-CACHE]

    They are bfloat16, or FP8 codes. [LLAMA-KV] Layers of cross-attention have the image's instead. [LLAMA-VISION]
    ``length`` counts the tokens of finished forwards; a forward that fails leaves all as it was.
    """

    config: LlamaConfig
    length: int = 0
    _keys: list[Array] = field(default_factory=list, repr=False)
    _values: list[Array] = field(default_factory=list, repr=False)
    _image: dict[int, tuple[Array, Array]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        shape = (0, self.config.num_key_value_heads, self.config.head_dim)
        dtype = DTYPES[self.config.kv_cache]
        self._keys = [np.empty(shape, dtype) for _ in range(self.config.num_hidden_layers)]
        self._values = list(self._keys)

    def reset(self) -> None:
        """Forget all tokens, and the image."""
        self.length = 0
        self._image = {}

    def store(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """Write the new tokens behind the old ones; returns keys and values of all of them, (length + T, heads, d).

        They count from :meth:`commit` on.
        """
        end = self.length + k.shape[0]
        for kept, new in ((self._keys, k), (self._values, v)):
            if kept[layer].shape[0] < end:
                capacity = min(max(end, 2 * kept[layer].shape[0]), self.config.max_position_embeddings)
                larger = np.empty((capacity, *new.shape[1:]), kept[layer].dtype)
                larger[: self.length] = kept[layer][: self.length]
                kept[layer] = larger
            kept[layer][self.length : end] = new
        return self._keys[layer][:end], self._values[layer][:end]

    def image(self) -> dict[int, tuple[Array, Array]]:
        """Keys and values (N, heads, d) of the image by layer of cross-attention; empty where there is none."""
        return dict(self._image)

    def commit(self, tokens: int, image: Mapping[int, tuple[Array, Array]]) -> None:
        """A forward has ended: its tokens count from now on, and so does the image that it had."""
        self.length += tokens
        self._image = dict(image)
