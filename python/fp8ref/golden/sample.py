# SPDX-License-Identifier: Apache-2.0
"""The choice of the next token from logits. See spec/sample.md."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import logits_array
from ._round import widen


def sample(logits: Any) -> NDArray[np.int64]:
    """The greedy choice: the index of the largest logit of each row. [SAMPLE-GREEDY]

    Args:
        logits: float32 or bfloat16, shape (..., vocabulary), vocabulary >= 1. [SAMPLE-SHAPES]

    Returns:
        int64, shape (...). A NaN counts as larger than every number, -0 equals +0, and of equal logits the lowest
        index wins. [SAMPLE-ORDER]

    Raises:
        OpError: wrong dtype, no dimension, or an empty vocabulary.

    Source: ``torch.argmax`` on the CPU, as greedy search in transformers uses it.

    Example:
        >>> import numpy as np, fp8ref
        >>> fp8ref.sample(np.array([[-0.0, 0.0], [1.0, np.nan]], np.float32)).tolist()
        [0, 1]
    """
    values = widen(logits_array(logits))
    nan = np.isnan(values)
    largest = np.argmax(np.where(nan, -np.inf, values), axis=-1)  # the first of equals, and -0 == +0
    return np.asarray(np.where(nan.any(axis=-1), np.argmax(nan, axis=-1), largest), np.int64)
