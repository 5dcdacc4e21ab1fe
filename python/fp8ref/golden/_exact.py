# SPDX-License-Identifier: Apache-2.0
"""Exact sums and certificates: how a sum in float64 becomes a correctly rounded result. [ROUND-CERTIFY]

Three tools, used in this order by every operation that sums:

1. The exactness test: where all terms are multiples of one power of two and the norms are small enough, float64 is
   exact in any order of addition.
2. The certificate: the float64 sum with an error bound, both ends of the interval sent through the rest of the
   operation; if the results have equal bits, that is the result.
3. The exact sum in Python integers, for what passes neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._round import FORMATS, Array

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_NO_BIT = 1 << 14  # "lowest exponent" of a zero: above every real one
_BLOCK = 1 << 16  # elements worked on at once, so that temporaries stay in cache


class Dyadic(NamedTuple):
    """The real number ``numerator * 2**exponent``."""

    numerator: int
    exponent: int


# ---- exact arithmetic ------------------------------------------------------------------------------------------------


def two_sum(a: Any, b: Any) -> tuple[Float64, Float64]:
    """``(h, l)`` with ``h = RN64(a + b)`` and ``h + l == a + b`` exactly; ``l`` is 0 where ``h`` is not finite.

    Source: Knuth, The Art of Computer Programming 2, 4.2.2, theorem B.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        h = a + b
        t = h - a
        low = (a - (h - t)) + (b - t)
    return np.asarray(h), np.where(np.isfinite(h), low, 0.0)


def round_odd(h: Any, low: Any) -> Float64:
    """``h + low`` rounded to odd: a float64 that any later rounding to 24 bits or fewer treats as the exact sum.

    ``h`` must be the float64 nearest to the sum, as :func:`two_sum` gives it; only the sign of ``low`` is used. Where
    the sum is no float64 number and the last bit of ``h`` is even, the neighbour of ``h`` on the side of ``low`` is
    odd and takes its place. [ROUND-ONCE]
    """
    h, low = np.asarray(h, np.float64), np.asarray(low, np.float64)
    bits = np.array(h).view(np.int64)
    even = (bits & 1) == 0
    step = np.where(np.signbit(h) == np.signbit(low), 1, -1)  # in magnitude, which is what the bits count
    return np.asarray(np.where((low != 0) & even & np.isfinite(h), bits + step, bits)).view(np.float64)


def exact_sum(terms: Any) -> Dyadic:
    """The exact sum of finite float64 numbers, over all elements, as an integer times a power of two.

    The terms are grouped by exponent; a group's 53-bit significands are summed in two halves, each of them exactly
    in float64 (fewer than 2**26 terms), and the few groups are combined as Python integers.
    """
    significand, exponent = np.frexp(np.asarray(terms, np.float64).ravel())
    high = np.floor(np.ldexp(significand, 27))  # |high| <= 2**27
    low = np.ldexp(significand, 53) - np.ldexp(high, 26)  # 0 <= low < 2**26
    if not significand.size:
        return Dyadic(0, 0)
    base = int(exponent.min())
    groups = exponent - base
    highs, lows = np.bincount(groups, high), np.bincount(groups, low)
    total = 0
    for group in np.flatnonzero((highs != 0) | (lows != 0)).tolist():
        total += ((int(highs[group]) << 26) + int(lows[group])) << group
    return Dyadic(total, base - 53)


def exact_dot(a_row: Any, b_row: Any) -> Dyadic:
    """The exact dot product of two finite rows of numbers of at most 26 significant bits (bf16, fp16, fp32, E4M3).

    Example:
        >>> exact_dot([1.0, 2.0**-100], [3.0, 1.0]) == exact_sum([3.0, 2.0**-100])
        True
    """
    return exact_sum(np.asarray(a_row, np.float64) * np.asarray(b_row, np.float64))  # 52 bits: the products are exact


def exact_add(x: Dyadic, y: Dyadic) -> Dyadic:
    """The exact sum of two such numbers."""
    exponent = min(x.exponent, y.exponent)
    return Dyadic((x.numerator << (x.exponent - exponent)) + (y.numerator << (y.exponent - exponent)), exponent)


def round_exact(numerator: int, exponent: int, name: str, denominator: int = 1) -> Any:
    """``numerator / denominator * 2**exponent`` rounded once to the format ``name``. [ROUND-NEAREST]

    Returns:
        A numpy scalar of the format. An exact zero is +0; a non-zero number that underflows keeps its sign; overflow
        is an infinity (E4M3 has none and is refused).

    Example:
        >>> float(round_exact(1, 0, "float32", denominator=3)) == float(np.float32(1 / 3))
        True
    """
    fmt = FORMATS[name]
    if name == "float8_e4m3fn":
        raise ValueError("E4M3 overflow is a policy: use e4m3.encode")
    size, divisor = abs(numerator), denominator
    if size == 0:
        return fmt.dtype.type(0.0)
    # floor(log2(size / divisor)) is `leading` or `leading - 1`.
    leading = size.bit_length() - divisor.bit_length()
    if size << max(-leading, 0) < divisor << max(leading, 0):
        leading -= 1
    quantum = max(leading + exponent - fmt.precision + 1, fmt.smallest_exponent)
    shift = exponent - quantum
    units, rest = divmod(size << max(shift, 0), divisor << max(-shift, 0))
    twice = 2 * rest - (divisor << max(-shift, 0))
    units += twice > 0 or (twice == 0 and units & 1)
    over = quantum > fmt.emax or units << max(quantum, 0) > int(fmt.largest)
    value = np.inf if over else float(np.ldexp(float(units), quantum))  # on the grid, so exact
    return np.float32(-value if numerator < 0 else value).astype(fmt.dtype)


# ---- certificates ----------------------------------------------------------------------------------------------------


def bits_equal(x: Array, y: Array) -> Mask:
    """Where two arrays of one dtype have the same bits."""
    unsigned = _BITS[x.dtype.itemsize]
    return np.asarray(x.view(unsigned) == y.view(unsigned))


def certify(lo: Any, hi: Any, tail: Callable[[Float64], Array]) -> tuple[Array, Mask]:
    """Send both ends of an interval through ``tail``; where the bits agree, every real number between has that result.

    ``tail`` must be the rest of the operation, monotone (rounding, scaling, adding a constant). An interval around
    zero or around a midpoint never certifies. [ROUND-CERTIFY]

    Returns:
        ``(tail(lo), certain)``; the first is the result where the second is true.
    """
    low, high = tail(np.asarray(lo, np.float64)), tail(np.asarray(hi, np.float64))
    return low, bits_equal(low, high)


def enclose(center: Any, error: Any) -> tuple[Float64, Float64]:
    """An interval that holds every real number within ``error`` of ``center``: the ends are stepped outward."""
    center, error = np.asarray(center, np.float64), np.asarray(error, np.float64)
    return np.nextafter(center - error, -np.inf), np.nextafter(center + error, np.inf)


@dataclass(frozen=True)
class Rows:
    """Finite rows prepared for dot products: all that the exactness test and the certificate need to know of them."""

    values: Float64  # (rows, K), exact
    norms: Float64  # (rows,), at least the Euclidean norm
    low: NDArray[np.int64]  # (rows,), every value of the row is a multiple of 2**low

    def part(self, start: int, stop: int) -> Rows:
        """The rows ``start..stop - 1``, as views."""
        return Rows(self.values[start:stop], self.norms[start:stop], self.low[start:stop])


def lowest_exponents(values: Float64) -> NDArray[np.int64]:
    """For each row of (rows, K): the largest ``low`` so that all its numbers are multiples of 2**low; 0 for zeros."""
    significand, exponent = np.frexp(values)
    integer = np.ldexp(significand, 53).astype(np.int64)
    lowest_bit = np.frexp((integer & -integer).astype(np.float64))[1]  # its position + 1
    low = np.where(integer == 0, _NO_BIT, exponent - 54 + lowest_bit)
    least = np.min(low, axis=-1, initial=_NO_BIT)
    return np.asarray(np.where(least == _NO_BIT, 0, least), np.int64)


def prepare(values: Float64) -> Rows:
    """Prepare finite rows (rows, K) of numbers of at most 26 significant bits; the array is kept, not copied."""
    count, k = values.shape
    # Adding K squares in any order errs by less than K units of 2**-53, and the square root halves that.
    norms = np.sqrt(np.einsum("rk,rk->r", values, values)) * (1.0 + (k + 8) * 2.0**-53)
    low = np.empty(count, np.int64)
    step = max(1, _BLOCK // max(k, 1))
    for start in range(0, count, step):
        low[start : start + step] = lowest_exponents(values[start : start + step])
    return Rows(values, norms, low)


def dots(a: Rows, b: Rows) -> tuple[Float64, Float64]:
    """All dot products of the rows of ``a`` (M, K) and ``b`` (N, K) in float64, and their error bounds, (M, N) each.

    ``|sum - real dot| <= error`` whatever order the BLAS adds in, with or without FMA: the products are exact, and
    K - 1 additions lose less than ``K * 2**-52 * norm(a) * norm(b)`` even toward zero. Four more units pay for the
    roundings of the bound itself and of ``sum - error`` and ``sum + error``. [ROUND-CERTIFY]
    """
    sums = a.values @ b.values.T + 0.0  # an exact zero is +0
    return sums, np.multiply.outer(a.norms * ((a.values.shape[1] + 4) * 2.0**-52), b.norms)


def exact_pairs(a: Rows, b: Rows, i: NDArray[np.intp], j: NDArray[np.intp]) -> Mask:
    """Where the float64 dot product of row ``i`` of ``a`` and row ``j`` of ``b`` is exact in any order of addition.

    Each product is a multiple of ``2**(low_a + low_b)``, and no partial sum exceeds ``norm(a) * norm(b)``. Below
    2**53 of those multiples, float64 holds every partial sum exactly. [ROUND-CERTIFY]
    """
    return np.asarray(a.norms[i] * b.norms[j] < np.ldexp(1.0, (a.low[i] + b.low[j] + 53).astype(np.int32)))
