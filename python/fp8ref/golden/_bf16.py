# SPDX-License-Identifier: Apache-2.0
"""One bfloat16 operation, one rounding: the steps that rmsnorm, rope, silu_mul and residual are made of.

Arguments are arrays whose values are bfloat16 numbers, whatever the dtype that holds them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._round import Array, round_to, widen


def widen64(x: Array) -> NDArray[np.float64]:
    """Float64 values of bfloat16 ones, exactly (signalling NaNs do not warn)."""
    with np.errstate(invalid="ignore"):
        return widen(x).astype(np.float64)


def add(x: Any, y: Any) -> Array:
    """RNbf(x + y). [ROUND-ONCE]

    Rounding to float32 on the way changes nothing: a sum that this rounds has one term below 2**-16 of the other, so it
    lies that near to a bfloat16 number and far from any midpoint; and a sum in the subnormal range is exact.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return round_to(np.asarray(x, np.float32) + np.asarray(y, np.float32), "bfloat16")


def multiply(x: Any, y: Any) -> Array:
    """RNbf(x * y). [ROUND-ONCE] [RMSNORM-PRODUCT]

    The product has 16 bits, so float64 holds it exactly.
    """
    with np.errstate(invalid="ignore"):
        return round_to(np.asarray(x, np.float64) * np.asarray(y, np.float64), "bfloat16")
