# SPDX-License-Identifier: Apache-2.0
"""How far a result may lie from the exact one, and how far it does: bounds, statistics and units in the last place.

Three questions, in the order in which to ask them:

- :func:`ulp`: are the bits right, and if not, by how many numbers of the format?
- :func:`bound`: could a named accumulator have given this at all? A bound that is never exceeded. [BOUND-CHAIN]
- :func:`contract`: are the errors those of that accumulator? At a large K the bound is wide, so this is the sharp
  test: rms and mean error of every tile against the accumulator's own. [BOUND-STATISTICS]

Example:
    >>> import numpy as np, fp8ref
    >>> a, b = np.array([[0x68, 0x68, 0x3C]], np.uint8), np.array([[0x68, 0x68, 0x38]], np.uint8)  # 64, 64, 1.5 or 1
    >>> result = fp8ref.scaled_mm(a, b, 1.0, 1.0, out_dtype="float32", accumulate="sm90_wgmma")
    >>> fp8ref.compare.exact_values(a, b) - result
    array([[0.5]])
    >>> print(fp8ref.compare.bound(a, b, accumulate="sm90_wgmma").astype(np.float32))
    [[0.5]]

Definitions and proofs: spec/compare.md
"""

from ._bound import bound, exact_values
from ._contract import Statistics, Tile, contract, statistics
from ._sequential import sequential
from ._ulp import ulp
from ._units import ACCUMULATORS

__all__ = ["ACCUMULATORS", "Statistics", "Tile", "bound", "contract", "exact_values", "sequential", "statistics", "ulp"]
