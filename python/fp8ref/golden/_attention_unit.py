# SPDX-License-Identifier: Apache-2.0
"""Attention as kernels on tensor cores compute it: keys in blocks of fixed place, merged in order. [ATTN-UNIT]"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._args import BFLOAT16, Array
from ._attention_weight import exponents, weights
from ._round import round_to
from ._tensor_core import chain
from ._units import Unit

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.int64]

BLOCK = 128  # keys [ATTN-UNIT-BLOCKS]
SUPERBLOCK = 16 * BLOCK
FARTHEST = 126  # a state further below another has the factor +0 [ATTN-UNIT-MERGE]
VANISHED = -300  # exponents of weights that are zero in bfloat16, whatever they are


@dataclass(frozen=True)
class State:
    """For each row M, as float64, and sums relative to 2**M: numerators and, last, the denominator. No terms: -Inf."""

    top: Float64  # (rows,)
    sums: Float32  # (rows, d + 1)

    @staticmethod
    def empty(rows: int, columns: int) -> State:
        """Rows without terms."""
        return State(np.full(rows, -np.inf), np.zeros((rows, columns), np.float32))


def attend_by_unit(
    unit: Unit, key: Array, value: Array, factor: np.float32, q: Array, first: Index, last: Index
) -> Array:
    """The outputs of query rows (rows, d), each of which sees the keys first .. last, both ascending over the rows.

    [ATTN-UNIT-OUTPUT]
    """
    row, broken = State.empty(len(q), q.shape[1] + 1), np.zeros(len(q), np.bool_)
    for start in range(0, len(key), SUPERBLOCK):
        part = State.empty(*row.sums.shape)
        for block in range(start, min(start + SUPERBLOCK, len(key)), BLOCK):
            keys = np.arange(block, min(block + BLOCK, len(key)))
            some = slice(int(np.searchsorted(last, block)), None)  # the others see nothing of this block
            visible = (first[some, None] <= keys) & (keys <= last[some, None])
            # [ATTN-UNIT-SCORE]
            t = exponents(chain(unit, q[some], key[keys]), factor)
            broken[some] |= np.any(visible & ~(t < np.inf), axis=1)  # [ATTN-BROKEN]
            part = merge(part, _padded(_block(unit, t, visible & np.isfinite(t), value[keys]), len(q)))
        row = merge(row, part)
    with np.errstate(all="ignore"):
        quotients = row.sums[:, :-1] / row.sums[:, -1:]
    out = round_to(quotients, "bfloat16")
    out[row.top == -np.inf] = 0  # [ATTN-EMPTY]
    out[broken] = np.nan
    return out


def _block(unit: Unit, t: Float32, term: Mask, value: Array) -> State:
    """The states of rows after the keys of one block alone. [ATTN-UNIT-SUMS]"""
    top = np.ceil(np.max(t, axis=1, initial=-np.inf, where=term)).astype(np.float64)
    w = block_weights(np.where(term, t, 0).astype(np.float64), top, term)
    special = np.flatnonzero(~np.isfinite(value.astype(np.float32)).all(axis=1))
    # Rows that see the same ones of these keys see the same values [ATTN-UNIT-SPECIAL]. Without such keys all rows do.
    patterns, kind = np.unique(term[:, special], axis=0, return_inverse=True)
    sums = np.empty((len(t), value.shape[1] + 1), np.float32)
    for index, seen in enumerate(patterns):
        columns = np.ones((value.shape[1] + 1, len(value)), BFLOAT16)
        columns[:-1] = value.T
        columns[:-1, special[~seen]] = 0
        rows = kind.reshape(-1) == index
        sums[rows] = chain(unit, w[rows], columns)
    return State(top, sums)


def block_weights(t: Float64, top: Float64, term: Mask) -> Array:
    """w = 2**t to 8 significant bits, times 2**-M, in bfloat16; +0 where there is no term. [ATTN-UNIT-WEIGHT]"""
    m, n = weights(t)
    shift = np.where(term, np.maximum(n - top[:, None], VANISHED), 0).astype(np.int32)
    return round_to(np.where(term, np.ldexp(m, shift - 7), 0.0), "bfloat16")


def _padded(state: State, rows: int) -> State:
    """The states of the last rows, with those before them that have no terms."""
    whole, mine = State.empty(rows, state.sums.shape[1]), slice(rows - len(state.top), rows)
    whole.top[mine], whole.sums[mine] = state.top, state.sums
    return whole


def merge(first: State, second: State) -> State:
    """Two states of each row as one, relative to the larger M. [ATTN-UNIT-MERGE]"""
    top = np.maximum(first.top, second.top)
    with np.errstate(all="ignore"):
        return State(top, _scaled(first, top) + _scaled(second, top))


def _scaled(state: State, top: Float64) -> Float32:
    """RN32(x * f) with f = 2**(M - top), or +0 where that is small, as in a state without terms: M = -Inf."""
    gap = top - state.top  # the difference of integers: exact where it is at most FARTHEST
    near = gap <= FARTHEST
    factor = np.where(near, np.ldexp(np.float32(1), -np.where(near, gap, 0).astype(np.int32)), np.float32(0))
    return state.sums * factor[:, None]
