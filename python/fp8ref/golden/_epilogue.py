# SPDX-License-Identifier: Apache-2.0
"""What follows the accumulators of a scaled product: scales, bias and the output type. spec/scaled_mm.md, step 2"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import e4m3
from ._exact import round_odd, two_sum
from ._round import Array, round_to

Float32 = NDArray[np.float32]


def fused(x: Any, y: Any, z: Any) -> Float32:
    """RN32(x * y + z) of float32 numbers, with IEEE 754's rules for zeros, infinities and NaN. [ROUND-ONCE]"""
    product = np.asarray(x, np.float64) * np.asarray(y, np.float64)  # exact: 48 bits, far from float64's limits
    return np.asarray(round_to(round_odd(*two_sum(product, z)), "float32"))


def scale_then_bias(scale: Float32, y: Float32, bias: Float32 | None) -> Float32:
    """RN32(scale * y), or RN32(scale * y + bias) with one rounding. [MM-BIAS]"""
    return scale * y if bias is None else fused(scale, y, bias)


def _a_b(acc: Float32, a_scale: Float32, b_scale: Float32, bias: Float32 | None) -> Float32:
    """RN32(a_scale * RN32(b_scale * acc) + bias). [MM-EPILOGUE-A-B]"""
    return scale_then_bias(a_scale, b_scale.T * acc, bias)


def _b_a(acc: Float32, a_scale: Float32, b_scale: Float32, bias: Float32 | None) -> Float32:
    """RN32(b_scale * RN32(a_scale * acc) + bias). [MM-EPILOGUE-B-A]"""
    return scale_then_bias(b_scale.T, a_scale * acc, bias)


def _ab(acc: Float32, a_scale: Float32, b_scale: Float32, bias: Float32 | None) -> Float32:
    """RN32(RN32(a_scale * b_scale) * acc + bias). [MM-EPILOGUE-AB]"""
    return scale_then_bias(a_scale * b_scale.T, acc, bias)


Epilogue = Callable[[Float32, Float32, Float32, Float32 | None], Float32]
EPILOGUES: dict[str, Epilogue] = {"a_b": _a_b, "b_a": _b_a, "ab": _ab}


@dataclass(frozen=True)
class Output:
    """The output type, and for E4M3 the multiplier and the overflow policy. [MM-OUT], [MM-OUT-E4M3]"""

    dtype: str
    scale: Float32 | None
    overflow: str | None

    def round(self, z: Float32) -> Array:
        """RN_out(z), or RN8(RN32(z * out_scale))."""
        if self.scale is None or self.overflow is None:
            return round_to(z, self.dtype)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return e4m3.encode(z * self.scale, self.overflow)
