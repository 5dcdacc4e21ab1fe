# SPDX-License-Identifier: Apache-2.0
"""E4M3 codes: encode with an explicit overflow policy, decode by table. spec/e4m3.md

A code is a sign bit, four exponent bits (bias 7) and three mantissa bits. There is no infinity; 0x7F and 0xFF are NaN;
the largest number is 448 = 0x7E and the smallest 2**-9 = 0x01. [E4M3-FORMAT]
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import BFLOAT16, FLOAT8, Array, choice, codes_array, float_array
from ._round import check_environment, widen

OVERFLOW = ("saturate", "nan")
LARGEST = 0x7E
NAN = 0x7F
BLOCK = 1 << 16  # elements worked on at once, so that temporaries stay in cache


def _decode_table() -> NDArray[np.float32]:
    """The 256 values. [E4M3-FORMAT]"""
    code = np.arange(256)
    sign = np.where(code & 0x80, -1.0, 1.0)
    field, mantissa = (code >> 3) & 15, code & 7
    significand = np.where(field == 0, mantissa, 8 + mantissa)
    value = sign * np.ldexp(significand.astype(np.float64), np.maximum(field, 1) - 7 - 3)
    value[(code & 0x7F) == NAN] = np.nan
    return np.asarray(value, np.float32)  # exact: four significant bits


VALUES = _decode_table()


def decode(codes: Any) -> NDArray[np.float32]:
    """The float32 values of E4M3 codes. [E4M3-DECODE]

    Args:
        codes: float8_e4m3fn or uint8 array of any shape.

    Returns:
        float32 array of the same shape; both NaN codes give the canonical NaN.

    Raises:
        OpError: ``codes`` is neither float8_e4m3fn nor uint8.

    Example:
        >>> import numpy as np
        >>> decode(np.array([0x38, 0x7E, 0x81], np.uint8)).tolist()
        [1.0, 448.0, -0.001953125]

    Source: OCP 8-bit Floating Point Specification 1.0, table 1 (E4M3).
    """
    return np.asarray(np.take(VALUES, codes_array("decode", "codes", codes)))


@dataclass(frozen=True)
class _Wide:
    """The bit layout of a wider IEEE format that is encoded from."""

    bits: type[np.unsignedinteger[Any]]
    width: int
    mantissa: int
    bias: int


_WIDE = {"float32": _Wide(np.uint32, 32, 23, 127), "float64": _Wide(np.uint64, 64, 52, 1023)}


def _magnitude_codes(x: Array) -> Array:
    """The code of |x| for |x| <= 464, each by one rounding to nearest, ties to even. [E4M3-ENCODE]

    Normal results: cut the mantissa to three bits after adding half a unit (less one where the kept bit is even);
    a carry runs into the exponent, as it should. Subnormal results (|x| < 2**-6): add the power of two whose last
    bit is worth 2**-9; the addition rounds there, and the low bits of the sum are the code.
    """
    wide = _WIDE[x.dtype.name]
    one = wide.bits(1)
    magnitude = np.abs(x)
    u = magnitude.view(wide.bits)
    shift = wide.bits(wide.mantissa - 3)
    rounded = u + ((one << (shift - one)) - one) + ((u >> shift) & one)
    normal = (rounded >> shift) - wide.bits((wide.bias - 7) << 3)
    anchor = x.dtype.type(2.0 ** (wide.mantissa - 9))
    subnormal = (magnitude + anchor).view(wide.bits) - anchor.view(wide.bits)
    return np.asarray(np.where(magnitude < x.dtype.type(2.0**-6), subnormal, normal))


def _encode_block(x: Array, overflow: str) -> NDArray[np.uint8]:
    """Codes of a float32 or float64 array; policies of [E4M3-OVERFLOW], [E4M3-NAN], [E4M3-ZERO]."""
    nan = np.isnan(x)
    limit = x.dtype.type(464.0)  # the midpoint of 448 and the next number up, 480; ties go to even: 448
    beyond = np.abs(x) > limit
    codes = _magnitude_codes(np.where(nan | beyond, x.dtype.type(0), x)).astype(np.uint8)
    if overflow == "saturate":
        codes[beyond] = LARGEST
    codes |= np.signbit(x).astype(np.uint8) << np.uint8(7)  # underflow and -0 keep their sign: 0x80
    codes[nan] = NAN
    if overflow == "nan":
        codes[beyond] = NAN
    return codes


@functools.cache
def _table_of(name: str, overflow: str) -> NDArray[np.uint8]:
    """The codes of all 65,536 values of a 16-bit format."""
    dtype = BFLOAT16 if name == "bfloat16" else np.dtype(name)
    return _encode_block(widen(np.arange(65536, dtype=np.uint16).view(dtype)), overflow)


def encode(x: Any, overflow: str = "saturate") -> Array:
    """E4M3 codes of ``x``: one rounding from the given value to nearest, ties to even. [E4M3-ENCODE]

    Args:
        x: array-like of float64, float32, float16 or bfloat16, any shape.
        overflow: ``"saturate"``: everything above 448, infinities too, becomes +-448 (0x7E, 0xFE);
            ``"nan"``: magnitudes above 464 and infinities become NaN (0x7F), up to 464 they become +-448.

    Returns:
        float8_e4m3fn array of the same shape. NaN gives 0x7F; -0 and negative underflow give 0x80.

    Raises:
        OpError: another dtype, or an unknown policy.

    Example:
        >>> encode([1.0, 500.0, -0.0]).view("uint8").tolist()
        [56, 126, 128]
        >>> encode([464.0, 465.0], overflow="nan").view("uint8").tolist()
        [126, 127]

    Source: OCP 8-bit Floating Point Specification 1.0, section 5 (conversion).
    """
    check_environment("encode")
    choice("encode", "overflow", overflow, OVERFLOW)
    array = float_array("encode", "x", x)
    if array.dtype.itemsize == 2:
        return np.asarray(np.take(_table_of(array.dtype.name, overflow), array.view(np.uint16))).view(FLOAT8)
    flat = array.reshape(-1)
    codes = np.empty(flat.shape, np.uint8)
    for start in range(0, flat.size, BLOCK):
        codes[start : start + BLOCK] = _encode_block(flat[start : start + BLOCK], overflow)
    return codes.reshape(array.shape).view(FLOAT8)
