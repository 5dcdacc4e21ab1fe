# SPDX-License-Identifier: Apache-2.0
"""Cases of greedy sampling: ties, signed zeros, NaN above everything, all minus infinity, odd shapes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._case import BF16_SPECIAL, Case
from ._stream import BFLOAT16, FLOAT32, Stream


def cases(level: str) -> Iterator[Case]:
    """Rows of logits; the answer is an index, so each trap is one row."""
    inf, nan = np.inf, np.nan
    rows = [
        [1, 3, 3, 2], [-0.0, 0.0, -1, -2], [0.0, -0.0, -1, -2], [-inf, -inf, -inf, -inf], [1, inf, inf, 2],
        [inf, nan, 1, nan], [nan, nan, 0, 0], [-nan, 5, nan, inf], [-1, -2, -3, -4], [0, 0, 0, 1e-45], [5, 4, 3, nan],
        [-inf, -inf, -3e38, -inf], [1, 1 + 2.0**-23, 1, 1], [-1, -1 + 2.0**-24, -1, -1],
    ]  # fmt: skip
    traps = np.array(rows, dtype=np.float32)
    yield Case("traps/fp32", "sample", {"logits": traps})
    yield Case("traps/bf16", "sample", {"logits": traps.astype(BFLOAT16)})
    s = Stream("sample")
    yield Case("bits/fp32", "sample", {"logits": s.bits((64, 33), FLOAT32)})
    # Few distinct values and every NaN pattern: ties in every row.
    yield Case("ties", "sample", {"logits": s.pick(BF16_SPECIAL, (256, 7))})
    finite = BF16_SPECIAL[~np.isnan(BF16_SPECIAL.astype(np.float32))]
    yield Case("ties/finite", "sample", {"logits": s.pick(finite, (256, 3))})
    yield Case("one_row", "sample", {"logits": s.normal((49152,), FLOAT32)})
    yield Case("shape_3d", "sample", {"logits": s.normal((2, 3, 5))})
    yield Case("vocabulary_of_one", "sample", {"logits": s.normal((4, 1))})
    yield Case("no_rows", "sample", {"logits": s.normal((0, 5))})
    if level == "full":
        yield Case("vocabulary", "sample", {"logits": s.normal((64, 128256))})
    yield Case("error/empty_vocabulary", "sample", {"logits": s.normal((2, 0))})
