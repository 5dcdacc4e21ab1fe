# SPDX-License-Identifier: Apache-2.0
"""The one place that rounds. [ROUND-ONCE]

Everything else calls :func:`round_to`: from float64 (or anything exact in it) to a format, once, nearest, ties to even,
subnormals kept. ml_dtypes' own casts go through float32 and round twice, so ``.astype`` from float64 to a narrow type
appears nowhere in this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..errors import OpError

Array = NDArray[Any]
_HALF_ULP, _SMALLEST_NORMAL = 2.0**-54, 2.0**-1022


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: ``precision`` significant bits, normal exponents ``emin..emax``."""

    name: str
    dtype: np.dtype[Any]
    precision: int
    emin: int
    emax: int
    largest: float

    @property
    def smallest_exponent(self) -> int:
        """The exponent of the quantum of subnormals."""
        return self.emin - self.precision + 1


FORMATS = {
    row.name: row
    for row in (
        Format("float32", np.dtype(np.float32), 24, -126, 127, float(np.finfo(np.float32).max)),
        Format("float16", np.dtype(np.float16), 11, -14, 15, 65504.0),
        Format("bfloat16", np.dtype(ml_dtypes.bfloat16), 8, -126, 127, float(2**128 - 2**120)),
        Format("float8_e4m3fn", np.dtype(ml_dtypes.float8_e4m3fn), 4, -6, 8, 448.0),
    )
}


def check_environment(op: str) -> None:
    """Refuse to compute where the processor does not round to nearest or flushes subnormals. [ROUND-ENV]

    numpy has no way to set the floating-point environment, so a golden function checks it at its entry; the C++
    backend sets and restores it. Such an environment comes from fesetround, ``torch.set_flush_denormal(True)`` or a
    library built with -ffast-math.
    """
    nearest = 1.0 + _HALF_ULP == 1.0 and 1.0 - _HALF_ULP == 1.0
    gradual = (_SMALLEST_NORMAL * 0.5) * 2.0**60 == 2.0**-963
    if not (nearest and gradual):
        raise OpError(f"{op}: the floating-point environment must round to nearest and keep subnormals")


def round_values(x: Array, fmt: Format) -> NDArray[np.float64]:
    """Round float64 values to the grid of ``fmt`` with an unbounded exponent above; NaN, infinities and zeros stay.

    Exact in float64: scaling by a power of two and ``rint`` (nearest, ties to even) are, so there is one rounding.
    """
    x = np.asarray(x, dtype=np.float64)
    _, exponent = np.frexp(x)  # |x| = m * 2**exponent, 0.5 <= m < 1
    quantum = np.maximum(exponent - fmt.precision, fmt.smallest_exponent)
    # Two steps keep the scale factors finite for every float64 input.
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.ldexp(np.ldexp(x, -quantum // 2), -quantum - (-quantum // 2))
        return np.asarray(np.ldexp(np.rint(scaled), quantum))


def widen(x: Array) -> NDArray[np.float32]:
    """Float32 values of float32, float16 or bfloat16 ones, exactly (signalling NaNs do not warn)."""
    with np.errstate(invalid="ignore"):
        return np.asarray(x).astype(np.float32)


def _cut_to_bfloat16(x: NDArray[np.float32]) -> Array:
    """Round float32 to bfloat16: cut the low 16 bits after adding half a unit (less one where the kept bit is even)."""
    bits = x.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    rounded = np.where(np.isnan(x), np.uint32(0x7FC00000), rounded)  # a NaN's payload could carry into the sign
    return np.asarray(rounded >> np.uint32(16), np.uint16).view(ml_dtypes.bfloat16)


def round_to(x: Array, name: str) -> Array:
    """Round float64 (or narrower) values once to the format ``name``; IEEE overflow to infinity. [ROUND-NEAREST]

    ``float8_e4m3fn`` has no infinity: use :func:`fp8ref.golden.e4m3.encode`, which takes the overflow policy.
    NaNs become the canonical quiet NaN (sign clear). [NAN-CANONICAL]
    """
    fmt = FORMATS[name]
    if name == "float8_e4m3fn":
        raise ValueError("E4M3 overflow is a policy: use e4m3.encode")
    x = np.asarray(x)
    if name == "float32" or x.dtype.itemsize < 8:
        with np.errstate(over="ignore", invalid="ignore"):
            out: Array = x.astype(np.float32)  # one IEEE rounding; exact from the narrower formats
            if name == "float16":
                out = out.astype(np.float16)  # one IEEE rounding
        if name == "bfloat16":
            out = _cut_to_bfloat16(out)
    else:
        values = round_values(x, fmt)
        values = np.where(np.abs(values) > fmt.largest, np.copysign(np.inf, values), values)
        out = values.astype(np.float32).astype(fmt.dtype)  # exact: the values are on the grid
    return canonical_nan(out)


def canonical_nan(x: Array) -> Array:
    """Replace every NaN by the format's quiet NaN with a clear sign and no payload. [NAN-CANONICAL]"""
    nan = np.isnan(x)
    if not nan.any():
        return x
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64}[x.dtype.itemsize]
    quiet = {"bfloat16": 0x7FC0, "float16": 0x7E00, "float32": 0x7FC00000, "float64": 0x7FF8000000000000}[x.dtype.name]
    out = np.array(x)
    out.view(bits)[nan] = quiet
    return out
