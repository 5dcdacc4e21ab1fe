# SPDX-License-Identifier: Apache-2.0
"""What a tensor core computes: a chain of its steps from an accumulator. spec/mma.md"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from . import _tensor_core
from ._args import Array, choice, describe, fail
from ._foreign import as_array
from ._round import check_environment
from ._units import UNIT_NAMES, UNITS, Unit, units_of

OP = "mma"
OUT_DTYPES = ("float32", "float16")
OPERANDS = {
    np.dtype(ml_dtypes.float8_e4m3fn): "fp8",
    np.dtype(ml_dtypes.float8_e5m2): "fp8",
    np.dtype(ml_dtypes.bfloat16): "bf16",
    np.dtype(np.float16): "fp16",
}


def mma_arrays(a: Any, b: Any, c: Any, accumulate: str, out_dtype: str) -> tuple[Unit, Array, Array, Array]:
    """The unit that is named, its operands, and the accumulator that the chain begins with. [MMA-SHAPES]"""
    choice(OP, "accumulate", accumulate, UNIT_NAMES)
    choice(OP, "out_dtype", out_dtype, OUT_DTYPES)
    left, right = (_operand(name, x) for name, x in (("a", a), ("b", b)))
    kinds = [OPERANDS[x.dtype] for x in (left, right)]
    if kinds[0] != kinds[1] or left.shape[1] != right.shape[1]:
        raise fail(OP, f"a and b must be (M, K) and (N, K) of one class; got {describe(left)} and {describe(right)}")
    unit = UNITS.get((accumulate, kinds[0], out_dtype))
    if unit is None:
        known = ", ".join(units_of(kinds[0], out_dtype)) or "none"
        raise fail(OP, f"{accumulate!r} has no {kinds[0]} operands with {out_dtype} accumulators; known: {known}")
    return unit, left, right, _accumulator(c, (len(left), len(right)), out_dtype)


def _operand(name: str, x: Any) -> Array:
    array = as_array(x)
    if array.dtype == np.uint8:
        array = array.view(ml_dtypes.float8_e4m3fn)
    if array.dtype not in OPERANDS or array.ndim != 2:
        wanted = "two dimensions of float8_e4m3fn (or uint8), float8_e5m2, bfloat16 or float16"
        raise fail(OP, f"{name} must have {wanted}, got {describe(array)}")
    return array


def _accumulator(c: Any, shape: tuple[int, int], out_dtype: str) -> Array:
    if c is None:
        return np.zeros(shape, out_dtype)
    array = as_array(c)
    if array.dtype != np.dtype(out_dtype) or array.shape != shape:
        raise fail(OP, f"c must have shape {shape}, dtype {out_dtype}, got {describe(array)}")
    return array


def mma(a: Any, b: Any, c: Any = None, accumulate: str = "sm90_wgmma", out_dtype: str = "float32") -> NDArray[Any]:
    """``c + a @ b.T`` as a tensor core computes it: one chain of its steps over all of K. [MMA-CHAIN]

    With K of one instruction this is the instruction; a longer K is the loop that a kernel makes of it, where each
    instruction's result is the next one's accumulator. No scales, no epilogue.

    Args:
        a: (M, K): float8_e4m3fn (or uint8, its codes) or float8_e5m2, also mixed; or bfloat16; or float16.
        b: (N, K), of the same class.
        c: (M, N) of ``out_dtype``: any number, infinity or NaN; None is +0.
        accumulate: the unit: ``"sm80_mma"``, ``"sm89_mma"``, ``"sm90_mma_sync"``, ``"sm90_wgmma"``,
            ``"sm100_tcgen05"`` or ``"sm120_mma"``.
        out_dtype: ``"float32"``, or ``"float16"`` where the unit accumulates in it.

    Returns:
        (M, N) of ``out_dtype``. A NaN is 0x7FFFFFFF or 0x7FFF [MMA-SPECIAL]; a zero is +0 where there was a step.

    Raises:
        OpError: shapes and types that do not fit, or a unit that has no such operands.

    Example:
        >>> import numpy as np
        >>> codes = np.full((1, 32), 0x18, np.uint8)  # 2**-4
        >>> mma(codes, codes, np.array([[64.0]], np.float32)).tolist()  # 32 * 2**-8 is lost beside 64
        [[64.0]]
        >>> mma(codes, codes, np.array([[64.0]], np.float32), "sm100_tcgen05").tolist()
        [[64.125]]

    Source: MMA-Sim (arXiv 2511.10909), algorithm 7; Khattak and Mikaitis (arXiv 2512.07004), table II.
    """
    check_environment(OP)
    unit, left, right, accumulator = mma_arrays(a, b, c, accumulate, out_dtype)
    return _tensor_core.chain(unit, left, right, accumulator)
