# SPDX-License-Identifier: Apache-2.0
"""Transformer Engine d0067d0d: codes come from a multiplier, its reciprocal is stored as scale_inv."""

from __future__ import annotations

from .formats import FP32, INFINITY, Format, Value, decode
from .quantize_steps import MAX, ONE, Result, Tile, all_times, amax_dropping_nan, over32, power_of_two_below


def _multiplier(amax: Value, largest_of: Format) -> Value:
    """448 / amax, or 1 where amax says nothing; too large a quotient becomes the largest number of a type."""
    if amax == 0 or amax == INFINITY:
        return ONE
    multiplier = over32(MAX, amax)
    return decode(largest_of, largest_of.largest) if multiplier == INFINITY else multiplier


def _by(t: Tile, multiplier: Value) -> Result:
    return all_times(t.values, multiplier), over32(ONE, multiplier)


def current(t: Tile) -> Result:
    """Current scaling of a tensor."""
    return _by(t, _multiplier(amax_dropping_nan(t.values), FP32))


def current_pow2(t: Tile) -> Result:
    """The multiplier's mantissa is cleared, which rounds it down."""
    return _by(t, power_of_two_below(_multiplier(amax_dropping_nan(t.values), FP32)))


def delayed(t: Tile) -> Result:
    """The multiplier was made of earlier amaxes; here it is given."""
    assert t.scale is not None
    return _by(t, t.scale)


def block_fp32(t: Tile) -> Result:
    """Groups and blocks without powers of two; a quotient too large becomes the largest number of x's own type."""
    return _by(t, _multiplier(amax_dropping_nan(t.values), t.fmt))


def block(t: Tile) -> Result:
    """Groups and blocks as they come."""
    return _by(t, power_of_two_below(_multiplier(amax_dropping_nan(t.values), t.fmt)))


TENSOR = {
    "transformer_engine.current": current,
    "transformer_engine.current_pow2": current_pow2,
    "transformer_engine.delayed": delayed,
}
GROUP = {"transformer_engine.group_128": block, "transformer_engine.group_128_fp32": block_fp32}
BLOCK = {"transformer_engine.block_128x128": block, "transformer_engine.block_128x128_fp32": block_fp32}
