# SPDX-License-Identifier: Apache-2.0
"""The FP8 matrix product with scales: exact, or as a named tensor core computes it. spec/scaled_mm.md"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._args import Array, bias_vector, fail, fp8_array
from ._blocks import Side, exact_blocks, promoted_blocks
from ._epilogue import EPILOGUES as EPILOGUES
from ._epilogue import Float32
from ._mm_args import ALL_EPILOGUES as ALL_EPILOGUES
from ._mm_args import Policy, policy, scale_pair
from ._operand import ACCUMULATORS as ACCUMULATORS
from ._operand import Operand, accumulators
from ._round import FORMATS, check_environment

OP = "scaled_mm"
BLOCK = 1 << 22  # elements of B decoded at once
OUTPUTS = 1 << 20  # outputs worked on at once


def operand(codes: Any) -> Operand:
    """Decode weights once; :func:`scaled_mm` takes the result in place of ``b``, with the same bits.

    Args:
        codes: (N, K), float8_e4m3fn (or uint8, its codes) or float8_e5m2. They are kept, not copied: do not change
            them afterwards.

    Raises:
        OpError: wrong dtype or number of dimensions.

    Example:
        >>> import numpy as np
        >>> kept = operand(np.full((1, 4), 0x38, np.uint8))
        >>> scaled_mm(np.full((1, 4), 0x40, np.uint8), kept, 1.0, 1.0).tolist()
        [[8.0]]
    """
    return Operand.of(fp8_array(OP, "b", codes, 2))


def scaled_mm(
    a: Any,
    b: Any,
    a_scale: Any,
    b_scale: Any,
    bias: Any = None,
    out_dtype: str = "bfloat16",
    accumulate: str = "exact",
    epilogue: str = "a_b",
    split_k: int = 1,
    out_scale: Any = None,
    overflow: str | None = None,
) -> Array:
    """The scaled product of FP8 codes: ``out[m, n] ~ a_scale * b_scale * sum_k a[m, k] * b[n, k] + bias[n]``.

    Args:
        a: codes (M, K), float8_e4m3fn (or uint8, its codes) or float8_e5m2.
        b: codes (N, K) of either type, as ``nn.Linear`` stores weights, or what :func:`operand` made of them.
        a_scale: float32 (bfloat16, float16 and float8_e8m0fnu widen exactly), sign bit clear: one value, (M, 1), or
            for each block of 128 along K (M, ceil(K / 128)).
        b_scale: the same: one value, (N, 1), (ceil(N / 128), ceil(K / 128)) or (N, ceil(K / 128)).
        bias: (N,) float32, bfloat16 or float16, or None.
        out_dtype: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"float8_e4m3fn"``.
        accumulate: ``"exact"``, or the tensor core whose bits are wanted, such as ``"sm90_wgmma"``.
        epilogue: the order of the scales: ``"a_b"`` multiplies by ``b_scale`` first, ``"b_a"`` by ``a_scale`` first,
            ``"ab"`` by their product; with block scales also the orders of kernels that scale each block's sum:
            ``"deepgemm"``, ``"triton"``, ``"triton_ba"``.
        split_k: the number of contiguous parts of K that a tensor core sums apart.
        out_scale: the multiplier before rounding to E4M3, one value; for that output type only.
        overflow: ``"saturate"`` or ``"nan"``, as :func:`fp8ref.encode` has it; for that output type only.

    Returns:
        (M, N) of ``out_dtype``. The clauses [MM-...] of spec/scaled_mm.md say which steps round.

    Raises:
        OpError: shapes, dtypes or policies that have no meaning, or a scale whose sign bit is set.

    Example:
        >>> import numpy as np
        >>> one = np.full((1, 32), 0x38, np.uint8)
        >>> scaled_mm(one, one, 0.5, 0.25, out_dtype="float32").tolist()
        [[4.0]]

    Source: vLLM, csrc/quantization/w8a8/cutlass (ScaledEpilogue, ScaledEpilogueBias); spec/scaled_mm.md has the others.
    """
    check_environment(OP)
    how = policy(OP, out_dtype, accumulate, epilogue, split_k, out_scale, overflow)
    left = Operand.of(fp8_array(OP, "a", a, 2))
    right = b.codes if isinstance(b, Operand) else fp8_array(OP, "b", b, 2)
    (m, k), n = left.codes.shape, right.shape[0]
    if right.shape[1] != k:
        raise fail(OP, f"a {left.codes.shape} and b {right.shape} must have the same K, as (M, K) and (N, K)")
    a_s, b_s, kind = scale_pair(OP, a_scale, b_scale, (m, n, k), how)
    offset = bias_vector(OP, bias, n)

    product = _blocked(left, a_s, how) if kind == "blocks" else _plain(left, a_s, how)
    out = np.empty((m, n), FORMATS[out_dtype].dtype)
    step = max(1, min(BLOCK // max(k, 1), OUTPUTS // max(m, 1)))
    for start in range(0, n, step):
        part = slice(start, start + step)
        weights = b.rows(part) if isinstance(b, Operand) else Operand.of(right[part])
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            out[:, part] = product(weights, b_s[part] if b_s.ndim else b_s, None if offset is None else offset[part])
    return out


Product = Callable[[Operand, Float32, Float32 | None], Array]


def _plain(a: Operand, a_scale: Float32, how: Policy) -> Product:
    """The product with one scale for each row and column: accumulator, epilogue, output."""

    def product(b: Operand, b_scale: Float32, bias: Float32 | None) -> Array:
        acc = accumulators(a, b, how.accumulate, how.split_k)
        return how.output.round(EPILOGUES[how.epilogue](acc, a_scale, b_scale, bias))

    return product


def _blocked(a: Operand, a_scale: Float32, how: Policy) -> Product:
    """The product with a scale for each block of 128: exact, or in the order of a kernel. [MM-BLOCK-EXACT]"""
    if how.epilogue in EPILOGUES:
        side = Side.of(a, a_scale)
        return lambda b, b_scale, bias: exact_blocks(side, Side.of(b, b_scale), bias, how.output)

    def product(b: Operand, b_scale: Float32, bias: Float32 | None) -> Array:
        acc = promoted_blocks(a, b, a_scale, b_scale, how.accumulate, how.epilogue)
        return how.output.round(acc if bias is None else acc + bias)

    return product
