# SPDX-License-Identifier: Apache-2.0
"""Hard cases of correct rounding, decided with integers. [ROUND-CERTIFY]

Where a float64 enclosure straddles a midpoint of the output format, the real value itself is compared with midpoints:
:func:`nearest` needs nothing but the sign of ``value - midpoint``. Algebraic values (roots, powers, quotients) have
an exact sign. Transcendental ones are enclosed by fixed-point series with more and more bits; they never lie on a
midpoint, a rational number, so that search ends.

Every enclosure is a pair of Fractions ``low <= value <= high``. Scalar and slow on purpose: this runs a few times in a
million.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._exact import certify, enclose
from ._round import FORMATS, Format, round_to

Compare = Callable[[Fraction], int]
Bounds = tuple[Fraction, Fraction]

UNIT = 134  # every bfloat16 number, and every midpoint of two, is a multiple of 2**-134
WIDTH = 264  # the difference of two of those is less than 2**WIDTH such units
GUARD = 32  # extra fixed-point bits: every series below loses fewer than 2**16 units of its last place
LOST = 1 << 16


def sign(x: Fraction | int) -> int:
    """-1, 0 or 1."""
    return (x > 0) - (x < 0)


def value_of(pattern: int, fmt: Format) -> Fraction:
    """The number that a non-negative bit pattern stands for; the pattern of infinity counts as the next grid point."""
    fraction_bits = fmt.precision - 1
    field, fraction = pattern >> fraction_bits, pattern & ((1 << fraction_bits) - 1)
    significand = fraction + (1 << fraction_bits) if field else fraction
    return significand * Fraction(2) ** (max(field, 1) - 1 + fmt.smallest_exponent)


def nearest(name: str, compare: Compare, low: int, high: int) -> int:
    """The bit pattern, within ``low..high``, of the rounding of a value >= 0 to the format ``name``. [ROUND-NEAREST]

    ``compare(m)`` is the sign of ``value - m``, exactly. Ties go to the even pattern; so does a tie with infinity,
    which makes overflow begin at the midpoint above the largest number, as IEEE 754 has it.
    """
    fmt = FORMATS[name]
    while low < high:
        middle = (low + high) // 2
        side = compare((value_of(middle, fmt) + value_of(middle + 1, fmt)) / 2)
        if side > 0 or (side == 0 and middle % 2):
            low = middle + 1
        else:
            high = middle
    return low


def settle(approximation: Any, relative: float, real: Callable[[int], Compare]) -> NDArray[np.float32]:
    """RN32 of real values >= 0, each known to ``relative`` of itself by a float64; open ones by comparison.

    Args:
        approximation: float64, one dimension; NaN gives NaN.
        relative: the error bound, relative to each approximation.
        real: for an index, the comparison of that real value with midpoints.
    """
    lo, hi = enclose(approximation, approximation * relative)
    lo = np.maximum(lo, 0.0)  # stepping outward from zero must not make a negative zero of it
    out, certain = certify(lo, hi, _float32)
    for i in np.flatnonzero(~certain).tolist():
        low, high = (int(_float32(end[i : i + 1]).view(np.uint32)[0]) for end in (lo, hi))
        out[i] = np.uint32(nearest("float32", real(i), low, high)).view(np.float32)
    return out


def _float32(x: NDArray[np.float64]) -> NDArray[np.float32]:
    return round_to(x, "float32")


def by_enclosure(bounds: Callable[[int], Bounds]) -> Compare:
    """A comparison for an irrational value, given enclosures of width about 2**-bits for any ``bits``."""

    def compare(m: Fraction) -> int:
        bits = 64
        while True:
            low, high = bounds(bits)
            if low > m or high < m:
                return 1 if low > m else -1
            bits *= 2

    return compare


def weighted_mean(m: NDArray[np.float64], n: NDArray[np.float64], v: NDArray[np.float64]) -> Any:
    """RNbf(sum w v / sum w), w = m * 2**n, by the sign of sum w (v - midpoint) at bisected midpoints. [ATTN-EXACT]

    Args:
        m: integers 1..256, shape (terms,).
        n: integers of any size, shape (terms,).
        v: bfloat16 values, shape (terms,).
    """
    groups: dict[int, tuple[int, int]] = {}  # for each n: the sums of m and of m * v
    for weight, exponent, x in zip(m.tolist(), n.tolist(), np.ldexp(v, UNIT).tolist(), strict=True):
        total, moment = groups.get(int(exponent), (0, 0))
        groups[int(exponent)] = total + int(weight), moment + int(weight) * int(x)
    terms = [(exponent, *groups[exponent]) for exponent in sorted(groups, reverse=True)]
    room = WIDTH + sum(total for _, total, _ in terms).bit_length()

    def compare(x: Fraction) -> int:
        return _sign_of_sum([(e, moment - total * int(x * 2**UNIT)) for e, total, moment in terms], room)

    side = compare(Fraction(0))
    pattern = nearest("bfloat16", lambda x: side * compare(side * x), 0, 0x7F7F) if side else 0  # an exact zero is +0
    return np.uint16(pattern | (0x8000 if side < 0 else 0)).view(FORMATS["bfloat16"].dtype)


def _sign_of_sum(terms: list[tuple[int, int]], room: int) -> int:
    """The sign of the sum of x * 2**e over (e, x), e descending, all |x| together below 2**room. [ATTN-EXACT]

    What is left never reaches 2**room units of the next exponent, so a larger partial sum has decided. This also keeps
    the integers short, however far apart the exponents are.
    """
    partial, last = 0, 0
    for exponent, x in terms:
        if partial and partial.bit_length() + (last - exponent) > room + 1:
            break
        partial = (partial << (last - exponent) if partial else 0) + x
        last = exponent
    return sign(partial)


def _enclose(centre: int, work: int) -> Bounds:
    return Fraction(centre - LOST, 1 << work), Fraction(centre + LOST, 1 << work)


def _odd_series(numerator: int, denominator: int, work: int, alternate: int) -> int:
    """z + a z^3/3 + a^2 z^5/5 + ..., times 2**work: atanh (a = 1) or atan (a = -1) of a fraction z <= 1/3."""
    power = (numerator << work) // denominator
    total, k, factor = power, 1, 1
    while power:
        power = power * numerator**2 // denominator**2
        k += 2
        factor *= alternate
        total += factor * (power // k)
    return total


@cache
def ln(x: Fraction, bits: int) -> Bounds:
    """Encloses the natural logarithm of 1 < x <= 2, as 2 atanh((x-1)/(x+1))."""
    work = bits + GUARD
    z = (x - 1) / (x + 1)
    return _enclose(2 * _odd_series(z.numerator, z.denominator, work, 1), work)


@cache
def pi(bits: int) -> Bounds:
    """Encloses pi by Machin's formula, 16 atan(1/5) - 4 atan(1/239)."""
    work = bits + GUARD
    return _enclose(16 * _odd_series(1, 5, work, -1) - 4 * _odd_series(1, 239, work, -1), work)


def log2(x: Fraction, bits: int) -> Bounds:
    """Encloses the base 2 logarithm of 1 < x <= 2."""
    low, high = ln(x, bits + 4)
    low2, high2 = ln(Fraction(2), bits + 4)
    return low / high2, high / low2


def log2_e(bits: int) -> Bounds:
    """Encloses log2(e) = 1/ln(2) = 1.4426950408889634..."""
    low, high = ln(Fraction(2), bits + 4)
    return 1 / high, 1 / low


def _reduced(x: Fraction, low: Fraction, high: Fraction, work: int) -> tuple[int, int]:
    """k and (x - k c) * 2**work for a constant c in low..high whose error k cannot lift above a unit."""
    centre = (low + high) / 2
    k = x // centre
    return k, (x - k * centre) * (1 << work) // 1


def _taylor(r: int, work: int) -> tuple[int, int, int, int]:
    """The terms r^n/n! of e^r summed by n modulo 4, times 2**work, for 0 <= r < 2 (r too is times 2**work)."""
    sums = [0, 0, 0, 0]
    term, n = 1 << work, 0
    while term:
        sums[n % 4] += term
        n += 1
        term = (term * r >> work) // n
    return sums[0], sums[1], sums[2], sums[3]


def exp(x: Fraction, bits: int) -> Bounds:
    """Encloses e^x to about 2**-bits of its own size."""
    work = bits + GUARD
    k, r = _reduced(x, *ln(Fraction(2), work + abs(int(x)).bit_length() + 8), work)
    low, high = _enclose(sum(_taylor(r, work)), work)
    return low * Fraction(2) ** k, high * Fraction(2) ** k


def cos_sin(x: Fraction, bits: int) -> tuple[Bounds, Bounds]:
    """Encloses the cosine and the sine of x >= 0."""
    work = bits + GUARD
    low, high = pi(work + int(x).bit_length() + 8)
    k, r = _reduced(x, low / 2, high / 2, work)
    s0, s1, s2, s3 = _taylor(r, work)
    c, s = s0 - s2, s1 - s3
    for _ in range(k % 4):  # a quarter turn each
        c, s = -s, c
    return _enclose(c, work), _enclose(s, work)
