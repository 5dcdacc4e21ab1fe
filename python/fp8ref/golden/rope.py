# SPDX-License-Identifier: Apache-2.0
"""Rotary position embedding: frequencies, the table of cosines and sines, the rotation. See spec/rope.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import float32_array, position_array, positive, rope_arrays, rope_head, rope_scaling
from ._bf16 import add, multiply
from ._decide import Bounds, Compare, by_enclosure, cos_sin, settle, sign
from ._round import Array, check_environment, round_to, widen

TWO_PI = np.float32(6.283185307179586)  # RN32(2 pi), bits 0x40C90FDB

Float32 = NDArray[np.float32]


def rope_frequencies(head_dim: int, base: float, scaling: Mapping[str, float] | None = None) -> Float32:
    """The angle per position of each pair of a head, in radians. [ROPE-FREQUENCIES]

    Args:
        head_dim: even, >= 2.
        base: ``rope_theta``, a finite number > 0, taken exactly.
        scaling: None, or the four numbers of llama3 scaling: factor, low_freq_factor, high_freq_factor,
            original_max_position_embeddings; each is rounded to float32 first, and must then be positive and finite.
            Other keys are ignored.

    Returns:
        float32, shape (head_dim // 2,).

    Raises:
        OpError: an odd head_dim, or a number that is not finite or not positive.

    Source: transformers ``ROPE_INIT_FUNCTIONS["default"]`` and ``["llama3"]``; the power is correctly rounded here.

    Example:
        >>> import fp8ref
        >>> fp8ref.rope_frequencies(4, 10000.0).tolist()
        [1.0, 0.009999999776482582]
    """
    check_environment("rope_frequencies")
    powers = settle(*_powers(rope_head(head_dim), positive("rope_frequencies", "base", base, "float64")))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        inverse = np.float32(1.0) / powers
        return inverse if scaling is None else _llama3(inverse, rope_scaling(scaling))


def _powers(head_dim: int, base: float) -> tuple[NDArray[np.float64], float, Any]:
    """base^(2i/head_dim) in float64, its error, and its comparison with m: base^p against m^q. [ROPE-POWER]"""
    exponents = [Fraction(2 * i, head_dim) for i in range(head_dim // 2)]
    # The rounding of the exponent e costs |e ln(base)| 2**-53 < 710 * 2**-53, the power itself a few units.
    approximation = np.power(base, np.array([float(e) for e in exponents]))

    def real(i: int) -> Compare:
        p, q = exponents[i].numerator, exponents[i].denominator
        target = Fraction(base) ** p
        return lambda m: sign(target - m**q)

    return approximation, 2.0**-42, real


def _llama3(inverse: Float32, scaling: tuple[float, ...]) -> Float32:
    """The frequencies of Llama 3.1 and later; each operation rounds to float32. [ROPE-LLAMA3]"""
    factor, low, high, original = (np.float32(x) for x in scaling)
    one = np.float32(1.0)
    wavelength = (one / inverse) * TWO_PI
    smooth = ((one / wavelength) * original - low) / (high - low)
    between = ((one - smooth) * inverse) / factor + smooth * inverse
    if low == high:
        between = inverse  # there is nothing between
    short, long = wavelength < original / high, wavelength > original / low
    return np.where(long, inverse / factor, np.where(short, inverse, between))


def rope_table(positions: Any, frequencies: Any) -> tuple[Float32, Float32]:
    """Cosines and sines of position * frequency, correctly rounded. [ROPE-TABLE]

    Args:
        positions: integers in [0, 2**24), shape (T,).
        frequencies: float32, shape (head_dim // 2,).

    Returns:
        (cos, sin), each float32 of shape (T, head_dim // 2): RN32 of the cosine and sine of the real number
        RN32(position * frequency), in radians. An infinite or NaN angle gives NaN.

    Raises:
        OpError: positions that are no such integers, or frequencies of another dtype or shape.

    Source: transformers ``LlamaRotaryEmbedding.forward``; the functions are correctly rounded here.

    Example:
        >>> import numpy as np, fp8ref
        >>> cos, sin = fp8ref.rope_table([0, 1], np.ones(1, np.float32))
        >>> cos.tolist(), sin.tolist()
        ([[1.0], [0.5403022766113281]], [[0.0], [0.8414709568023682]])
    """
    check_environment("rope_table")
    index = position_array("rope_table", positions)
    inverse = float32_array("rope_table", "frequencies", frequencies, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        angle = np.multiply.outer(index.astype(np.float32), inverse)  # RN32 [ROPE-ANGLE]
    return _cos_and_sin(angle)


def _cos_and_sin(angle: Float32) -> tuple[Float32, Float32]:
    """RN32 of cosine and sine. Of an angle other than 0 both are irrational, so no value is a midpoint. [ROPE-TABLE]"""
    x = np.where(np.isfinite(angle), angle.astype(np.float64), np.nan).ravel()
    results = []
    for which, approximation in enumerate((np.cos(x), np.sin(x))):
        # 32 units of slack: numpy's cosine and sine claim 1, vector libraries 4.
        size = settle(np.abs(approximation), 2.0**-48, _comparison(x, which))
        results.append(np.copysign(size, approximation).astype(np.float32).reshape(angle.shape))
    return results[0], results[1]


def _comparison(x: NDArray[np.float64], which: int) -> Callable[[int], Compare]:
    """For an index, the comparison of |cos(x)| (which = 0) or |sin(x)| (which = 1) with midpoints."""

    def real(i: int) -> Compare:
        def magnitude(bits: int) -> Bounds:
            low, high = cos_sin(Fraction(abs(float(x[i]))), bits)[which]
            return (-high, -low) if high < 0 else (low, high)

        return by_enclosure(magnitude)

    return real


def rope(x: Any, cos: Any, sin: Any, layout: str = "rotate_half") -> Array:
    """Rotates the pairs of every head by its token's angles. [ROPE-ROTATE] [ROPE-INTERLEAVED]

    Args:
        x: bfloat16, shape (T, heads, d), d even.
        cos, sin: float32, shape (T, d // 2), from :func:`rope_table`.
        layout: which elements are a pair, and how it turns: ``rotate_half`` takes (x[i], x[i + d/2]) and rounds cos,
            sin, every product and every sum to bfloat16, as Llama 3; ``interleaved`` takes (x[2i], x[2i + 1]) and
            rounds products and sums to float32, and the result once more to bfloat16, as Llama 4.

    Returns:
        bfloat16, shape (T, heads, d); special values by [ROPE-SPECIAL].

    Raises:
        OpError: a wrong dtype or shape, or an unknown layout.

    Source: transformers ``apply_rotary_pos_emb`` in bfloat16; Llama 4's ``apply_rotary_emb`` in complex64.

    Example:
        >>> import ml_dtypes, numpy as np, fp8ref
        >>> x = np.array([[[1.0, 2.0]]], ml_dtypes.bfloat16)
        >>> fp8ref.rope(x, *fp8ref.rope_table([1], np.ones(1, np.float32))).astype(float).tolist()
        [[[-1.140625, 1.921875]]]
    """
    check_environment("rope")
    x, cos, sin = rope_arrays(x, cos, sin, layout)
    return LAYOUTS[layout](widen(x), cos[:, None, :], sin[:, None, :])


def _rotate_half(x: Float32, cos: Float32, sin: Float32) -> Array:
    """[ROPE-ROTATE]"""
    half = x.shape[-1] // 2
    c, s = (widen(round_to(table, "bfloat16")) for table in (cos, sin))
    first, second = x[..., :half], x[..., half:]
    turned = add(multiply(first, c), -multiply(second, s)), add(multiply(second, c), multiply(first, s))
    return np.concatenate(turned, axis=-1)


def _interleaved(x: Float32, cos: Float32, sin: Float32) -> Array:
    """[ROPE-INTERLEAVED]: numpy rounds each float32 product and sum by itself."""
    first, second = x[..., 0::2], x[..., 1::2]
    with np.errstate(all="ignore"):
        turned = first * cos - second * sin, first * sin + second * cos
    return round_to(np.stack(turned, axis=-1).reshape(x.shape), "bfloat16")


LAYOUTS = {"rotate_half": _rotate_half, "interleaved": _interleaved}
