# SPDX-License-Identifier: Apache-2.0
"""How large the numbers of a projection are, and which of its scales are suspicious. [CKPT-SUSPICIOUS]

Weights are read in pieces, so that a large one takes no more memory than a small one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..golden.llama import Bf16Linear, Linear
from .scheme import BLOCK

SCANS = ("values", "headers")
PIECE = 1 << 24  # elements
NAN = 0x7F  # of a code without its sign
CODE_128 = 0x70
INFINITY = 0x7F80  # of a bfloat16 without its sign
VALUES = np.arange(128, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)
TINY = np.finfo(np.float32).tiny

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Ranges:
    """Of a weight, or of many. None where it does not apply, or where only headers were read.

    Attributes:
        amax: the largest magnitude, of FP8 that of code times scale; NaN and infinity left out.
        odd: FP8: NaN codes; BF16: values that are NaN or infinite.
        largest_code: the largest magnitude of the codes, 448 at most.
        scale_min: the smallest scale.
        scale_max: the largest scale.
        suspicious: how many scales are suspicious. [CKPT-SUSPICIOUS]
    """

    amax: float | None = None
    odd: int | None = None
    largest_code: float | None = None
    scale_min: float | None = None
    scale_max: float | None = None
    suspicious: int | None = None


# How the fields of several weights become one.
MERGE: dict[str, Callable[[Iterable[Any]], Any]] = {
    "amax": max,
    "odd": sum,
    "largest_code": max,
    "scale_min": min,
    "scale_max": max,
    "suspicious": sum,
}


def merge(ranges: Iterable[Ranges]) -> Ranges:
    """The ranges of several weights together.

    Example:
        >>> merge([Ranges(amax=1.0, odd=2), Ranges(amax=3.0, odd=4)])
        Ranges(amax=3.0, odd=6, largest_code=None, scale_min=None, scale_max=None, suspicious=None)
    """
    every = list(ranges)
    merged: dict[str, Any] = {}
    for name, function in MERGE.items():
        values = [value for each in every if (value := getattr(each, name)) is not None]
        merged[name] = function(values) if values else None
    return Ranges(**merged)


def _pieces(weight: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Rows of a matrix, some at a time, whole blocks of them."""
    rows = max(PIECE // max(weight.shape[1], 1) // BLOCK, 1) * BLOCK
    for start in range(0, weight.shape[0], rows):
        yield weight[start : start + rows]


def _bf16(weight: NDArray[Any]) -> Ranges:
    """Bits without the sign are in the order of magnitudes."""
    stored = weight.T if weight.strides[0] < weight.strides[1] else weight  # as the file has it
    largest, odd = 0, 0
    for piece in _pieces(stored):
        bits = piece.view(np.uint16) & 0x7FFF
        top = int(bits.max(initial=0))
        if top >= INFINITY:
            odd += int((bits >= INFINITY).sum())
            top = int(bits.max(initial=0, where=bits < INFINITY))
        largest = max(largest, top)
    return Ranges(amax=float(np.uint16(largest).view(ml_dtypes.bfloat16)), odd=odd)


def _largest(weight: NDArray[Any], scale: NDArray[np.float32]) -> tuple[UInt8, int]:
    """The largest code without its sign in the part of each scale, in the scale's shape; and how many codes are NaN."""
    found, odd = [], 0
    for piece in _pieces(weight):
        codes = piece.view(np.uint8) & 0x7F
        if codes.max(initial=0) == NAN:
            odd += int((codes == NAN).sum())
            codes[codes == NAN] = 0
        if scale.ndim == 2 and scale.shape[1:] != (1,):
            codes = np.maximum.reduceat(codes, range(0, codes.shape[1], BLOCK), axis=1)
        else:
            codes = codes.max(axis=1, keepdims=True, initial=0)
        if scale.ndim == 2 and scale.shape[0] != weight.shape[0]:
            codes = np.maximum.reduceat(codes, range(0, codes.shape[0], BLOCK), axis=0)
        found.append(codes)
    largest = np.concatenate(found)
    return largest if scale.ndim else largest.max(initial=0).reshape(()), odd


def _scales(scale: NDArray[np.float32], largest: UInt8 | None) -> Ranges:
    """What the scales say, with or without the codes that they multiply."""
    strange = (scale > 0) & (scale < TINY)
    if largest is not None:
        strange |= (largest > 0) & ((scale == 0) | (largest < CODE_128))
    return Ranges(scale_min=float(scale.min()), scale_max=float(scale.max()), suspicious=int(strange.sum()))


def ranges(projection: Linear, scan: str) -> Ranges:
    """The ranges of one projection.

    Args:
        projection: as the reader gives it.
        scan: ``"values"`` reads the weight; ``"headers"`` does not.

    Example:
        >>> from fp8ref.golden.llama import Fp8Linear
        >>> codes = np.array([[448, -2], [1, 2]]).astype(ml_dtypes.float8_e4m3fn)
        >>> found = ranges(Fp8Linear(codes, np.array([[0.5], [0.25]], np.float32)), "values")
        >>> found.amax, found.largest_code, found.suspicious
        (224.0, 448.0, 1)
    """
    if isinstance(projection, Bf16Linear):
        return _bf16(projection.weight) if scan == "values" else Ranges()
    scale = projection.weight_scale
    if scan != "values":
        return _scales(scale, None)
    largest, odd = _largest(projection.weight, scale)
    amax = float((VALUES[largest] * scale).max(initial=0))
    codes = float(VALUES[largest.max(initial=0)])
    return merge([_scales(scale, largest), Ranges(amax=amax, odd=odd, largest_code=codes)])
