# SPDX-License-Identifier: Apache-2.0
"""``rope_frequencies``, ``rope_table`` and ``rope`` in C++. spec/rope.md"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _ext
from ...golden._args import float32_array, position_array, positive, rope_arrays, rope_head, rope_scaling
from ._arrays import BFLOAT16, Array, bits

Float32 = NDArray[np.float32]


def rope_frequencies(head_dim: int, base: float, scaling: Mapping[str, float] | None = None) -> Float32:
    """The angle per position of each pair of a head, in radians, as :func:`fp8ref.rope_frequencies`.

    Args:
        head_dim: even, >= 2.
        base: ``rope_theta``, a finite number > 0, taken exactly.
        scaling: None, or the four numbers of llama3 scaling: factor, low_freq_factor, high_freq_factor,
            original_max_position_embeddings. Other keys are ignored.

    Returns:
        float32, shape (head_dim // 2,).

    Raises:
        OpError: an odd head_dim, or a number that is not finite or not positive.

    Example:
        >>> import fp8ref
        >>> fp8ref.backend("cpu").rope_frequencies(4, 10000.0).tolist()
        [1.0, 0.009999999776482582]
    """
    inverse = np.empty(rope_head(head_dim) // 2, np.float32)
    number = positive("rope_frequencies", "base", base, "float64")
    factors = None if scaling is None else rope_scaling(scaling)
    _ext.rope_frequencies(2 * inverse.size, number, factors, inverse)
    return inverse


def rope_table(positions: Any, frequencies: Any) -> tuple[Float32, Float32]:
    """Cosines and sines of position * frequency, correctly rounded, as :func:`fp8ref.rope_table`.

    Args:
        positions: integers in [0, 2**24), shape (T,).
        frequencies: float32, shape (head_dim // 2,).

    Returns:
        (cos, sin), each float32 of shape (T, head_dim // 2).

    Raises:
        OpError: positions that are no such integers, or frequencies of another dtype or shape.

    Example:
        >>> import fp8ref, numpy as np
        >>> cos, sin = fp8ref.backend("cpu").rope_table([0, 1], np.ones(1, np.float32))
        >>> cos.tolist(), sin.tolist()
        ([[1.0], [0.5403022766113281]], [[0.0], [0.8414709568023682]])
    """
    index = position_array("rope_table", positions)
    inverse = float32_array("rope_table", "frequencies", frequencies, 1)
    cos, sin = (np.empty((index.size, inverse.size), np.float32) for _ in range(2))
    _ext.rope_table(bits(index), bits(inverse), cos, sin)
    return cos, sin


def rope(x: Any, cos: Any, sin: Any, layout: str = "rotate_half") -> Array:
    """Rotates the pairs of every head by its token's angles, as :func:`fp8ref.rope`.

    Args:
        x: bfloat16, shape (T, heads, d), d even.
        cos: float32, shape (T, d // 2), from :func:`rope_table`.
        sin: the same.
        layout: ``rotate_half`` for pairs (x[i], x[i + d/2]) in bfloat16, ``interleaved`` for (x[2i], x[2i + 1]) in
            float32.

    Returns:
        bfloat16, shape (T, heads, d).

    Raises:
        OpError: a wrong dtype or shape, or an unknown layout.

    Example:
        >>> import fp8ref, numpy as np, ml_dtypes
        >>> cpu = fp8ref.backend("cpu")
        >>> x = np.array([[[1.0, 2.0]]], ml_dtypes.bfloat16)
        >>> cpu.rope(x, *cpu.rope_table([1], np.ones(1, np.float32))).astype(float).tolist()
        [[[-1.140625, 1.921875]]]
    """
    array, cosines, sines = rope_arrays(x, cos, sin, layout)
    out = np.empty(array.shape, BFLOAT16)
    _ext.rope(bits(array), bits(cosines), bits(sines), layout, bits(out))
    return out
