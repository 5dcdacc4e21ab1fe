# SPDX-License-Identifier: Apache-2.0
"""Argument checks of scaled_mm and grouped_mm that all backends share. Nothing here rounds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._args import Array, _array, bias_vector, choice, describe, fail, float32_scale, scale_values
from ._blocks import BLOCK, PROMOTIONS
from ._epilogue import EPILOGUES, Output
from ._operand import ACCUMULATORS
from .e4m3 import OVERFLOW

Float32 = NDArray[np.float32]
Shape = tuple[int, ...]

OUT_DTYPES = ("float32", "bfloat16", "float16", "float8_e4m3fn")
ALL_EPILOGUES = (*EPILOGUES, *PROMOTIONS)
ONE_VALUE: tuple[Shape, ...] = ((), (1,), (1, 1))


@dataclass(frozen=True)
class Policy:
    """How to accumulate, in which order to scale, and what to return."""

    accumulate: str
    epilogue: str
    split_k: int
    output: Output


def policy(
    op: str, out_dtype: str, accumulate: str, epilogue: str, split_k: Any, out_scale: Any, overflow: Any
) -> Policy:
    """The arguments that are no arrays, checked together. [MM-OUT-E4M3], [MM-SPLIT-K]"""
    choice(op, "out_dtype", out_dtype, OUT_DTYPES)
    choice(op, "accumulate", accumulate, ACCUMULATORS)
    choice(op, "epilogue", epilogue, ALL_EPILOGUES)
    if isinstance(split_k, bool) or not isinstance(split_k, (int, np.integer)) or not 1 <= split_k < 2**31:
        raise fail(op, f"split_k must be an integer from 1 to 2**31 - 1, got {split_k!r}")
    if epilogue in PROMOTIONS and split_k != 1:
        raise fail(op, f"epilogue={epilogue!r} adds its blocks in order: split_k must be 1, got {split_k!r}")
    if out_dtype != "float8_e4m3fn":
        if out_scale is not None or overflow is not None:
            raise fail(op, f"out_scale and overflow belong to out_dtype='float8_e4m3fn', not to {out_dtype!r}")
        return Policy(accumulate, epilogue, int(split_k), Output(out_dtype, None, None))
    if out_scale is None or overflow is None:
        raise fail(op, "out_dtype='float8_e4m3fn' needs both out_scale, the multiplier, and overflow, saturate or nan")
    choice(op, "overflow", overflow, OVERFLOW)
    output = Output(out_dtype, float32_scale(op, "out_scale", out_scale), overflow)
    return Policy(accumulate, epilogue, int(split_k), output)


def blocks_of(size: int) -> int:
    """How many blocks of 128 cover that many elements."""
    return -(-size // BLOCK)


def scale_kind(op: str, a_shape: Shape, b_shape: Shape, mnk: tuple[int, int, int], how: Policy, each: str = "") -> str:
    """``"blocks"`` or ``"values"``: what scales of these shapes mean. [MM-SCALES], [MM-SCALES-BLOCK]"""
    m, n, k = mnk
    fits_values = a_shape in (*ONE_VALUE, (m, 1)) and b_shape in (*ONE_VALUE, (n, 1))
    if fits_values and how.epilogue in EPILOGUES:
        return "values"
    wanted = f"a_scale ({m}, {blocks_of(k)}) with b_scale ({blocks_of(n)}, {blocks_of(k)}) or ({n}, {blocks_of(k)})"
    fits_blocks = a_shape == (m, blocks_of(k)) and b_shape in ((blocks_of(n), blocks_of(k)), (n, blocks_of(k)))
    if not fits_blocks:
        if how.epilogue in EPILOGUES:
            wanted = f"one value, a_scale ({m}, 1), b_scale ({n}, 1), or for blocks of 128 {wanted}"
        raise fail(op, f"epilogue={how.epilogue!r} needs {wanted}{each}; got a_scale {a_shape} and b_scale {b_shape}")
    if how.epilogue in EPILOGUES and how.accumulate != "exact":
        orders = ", ".join(PROMOTIONS)
        raise fail(op, f"accumulate={how.accumulate!r} with block scales needs a block epilogue: {orders}")
    return "blocks"


def scale_pair(
    op: str, a_scale: Any, b_scale: Any, mnk: tuple[int, int, int], how: Policy
) -> tuple[Float32, Float32, str]:
    """Both scales as float32, and what they are: ``"values"`` of shape () or (rows, 1), or ``"blocks"``.

    Scales of blocks come back as (M, ceil(K / 128)) and (N, ceil(K / 128)). [MM-SCALES-BLOCK]
    """
    a_s, b_s = scale_values(op, "a_scale", a_scale), scale_values(op, "b_scale", b_scale)
    kind = scale_kind(op, a_s.shape, b_s.shape, mnk, how)
    if kind == "values":
        a_s, b_s = (s.reshape(()) if s.shape in ONE_VALUE else s for s in (a_s, b_s))
        return a_s, b_s, kind
    n = mnk[1]
    if len(b_s) != n:
        b_s = np.repeat(b_s, BLOCK, axis=0)[:n]
    return a_s, b_s, kind


# ---- grouped_mm ------------------------------------------------------------------------------------------------------


def group_offsets(op: str, offsets: Any, experts: int, rows: int) -> list[int]:
    """Where each expert's rows begin, and where the last one's end. [GROUPED-OFFSETS]"""
    array = _array(op, "offsets", offsets)
    if array.dtype not in (np.dtype(np.int32), np.dtype(np.int64)) or array.shape != (experts + 1,):
        raise fail(op, f"offsets must be int32 or int64 of shape ({experts + 1},), got {describe(array)}")
    bounds: list[int] = array.tolist()
    for e, (start, stop) in enumerate(itertools.pairwise(bounds)):
        if start > stop:
            raise fail(op, f"offsets must not decrease, got offsets[{e}]={start} and offsets[{e + 1}]={stop}")
    if bounds[0] < 0 or bounds[-1] > rows:
        raise fail(op, f"offsets must lie in 0..{rows}, the rows of a; got {bounds[0]}..{bounds[-1]}")
    return bounds


def group_scales(
    op: str, a_scale: Any, b_scale: Any, rnk: tuple[int, int, int, int], how: Policy
) -> tuple[Float32, Float32]:
    """Both scales as float32: () or (R, ...), and () or (E, ...), each expert's of a shape that scaled_mm takes.

    Sizes are (R, E, N, K). [GROUPED-SCALES]
    """
    rows, experts, n, k = rnk
    a_s, b_s = scale_values(op, "a_scale", a_scale), scale_values(op, "b_scale", b_scale)
    each = b_s.ndim > 0 and b_s.shape[0] == experts and b_s.ndim in (1, 3)
    if not each and b_s.shape not in ONE_VALUE:
        blocks = f"({experts}, {blocks_of(n)} or {n}, {blocks_of(k)})"
        wanted = f"one value, ({experts},), ({experts}, {n}, 1) or {blocks}"
        raise fail(op, f"b_scale must be {wanted}, got {describe(b_s)}")
    kind = scale_kind(op, a_s.shape, b_s.shape[1:] if each else (), (rows, n, k), how, " for each expert")
    if kind == "values" and a_s.shape in ONE_VALUE:
        a_s = a_s.reshape(())
    if kind == "values" and each and b_s.shape[1:] in ONE_VALUE:
        b_s = b_s.reshape(experts)
    return a_s, b_s if each else b_s.reshape(())


def group_bias(op: str, bias: Any, experts: int, columns: int) -> Float32 | None:
    """A bias for each expert as float32 (E, N), widened exactly; None stays None."""
    if bias is None:
        return None
    array = _array(op, "bias", bias)
    if array.shape != (experts, columns):
        raise fail(op, f"bias must have shape ({experts}, {columns}), got {describe(array)}")
    flat = bias_vector(op, array.reshape(-1), experts * columns)
    return None if flat is None else flat.reshape(array.shape)


def group_output(op: str, out: Any, shape: Shape, dtype: np.dtype[Any]) -> Array | None:
    """The array to write to, which must be just right; None stays None. [GROUPED-OUT]"""
    if out is None:
        return None
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        got = describe(out) if isinstance(out, np.ndarray) else type(out).__name__
        raise fail(op, f"out must be a writable array of shape {shape}, dtype {dtype.name}, got {got}")
    return out
