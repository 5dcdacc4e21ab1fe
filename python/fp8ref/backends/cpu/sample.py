# SPDX-License-Identifier: Apache-2.0
"""``sample`` in C++. spec/sample.md"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import _ext
from ...golden._args import logits_array
from ._arrays import bits


def sample(logits: Any) -> NDArray[np.int64]:
    """The greedy choice: the index of the largest logit of each row, as :func:`fp8ref.sample`.

    Args:
        logits: float32 or bfloat16, shape (..., vocabulary), vocabulary >= 1.

    Returns:
        int64, shape (...).

    Raises:
        OpError: wrong dtype, no dimension, or an empty vocabulary.

    Example:
        >>> import fp8ref, numpy as np
        >>> fp8ref.backend("cpu").sample(np.array([[-0.0, 0.0], [1.0, np.nan]], np.float32)).tolist()
        [0, 1]
    """
    array = logits_array(logits)
    rows = array.astype(np.float32, copy=False).reshape(-1, array.shape[-1])  # exact: bfloat16 widens
    ids = np.empty(array.shape[:-1], np.int64)
    _ext.sample(bits(rows), ids)
    return ids
