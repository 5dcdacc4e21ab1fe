# SPDX-License-Identifier: Apache-2.0
"""Wrong implementations written after ``quick`` was frozen, by one who had not seen how mismatches are classified.

Each is golden but for one mistake that a real kernel makes, with the kind that its author expects it to be given.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

import fp8ref
from fp8ref.golden._epilogue import scale_then_bias
from fp8ref.golden._round import round_to

Array = Any
Wrong = Callable[..., Any]
FP8, BF16 = np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Row:
    """One defect: ``kind`` is the word that a report should begin with; two where both can be defended."""

    stem: str
    function: str
    name: str
    kind: str | tuple[str, ...]
    contract: str
    wrong: Wrong

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that count as right."""
        return (self.kind,) if isinstance(self.kind, str) else self.kind


BLIND: list[Row] = []


def blind(stem: str, kind: str | tuple[str, ...], function: str = "", contract: str = "") -> Callable[[Wrong], Wrong]:
    """Put the decorated function into the list, under its own name."""

    def register(wrong: Wrong) -> Wrong:
        BLIND.append(Row(stem, function or stem, wrong.__name__, kind, contract, wrong))
        return wrong

    return register


# ---- tools -----------------------------------------------------------------------------------------------------------
def f32(x: Array) -> Array:
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return np.asarray(x).astype(np.float32)


def f64(x: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(x).astype(np.float64)


def bytes_of(codes: Array) -> Array:
    """FP8 codes of either type as uint8, a copy."""
    return np.array(codes).view(np.uint8)


def like(codes: Array, original: Array) -> Array:
    """uint8 codes in the type of the original."""
    return codes.astype(np.uint8).view(original.dtype)


def ties(y: Array, away: Array) -> Array:
    """``y`` a little further from zero where ``away``, so that midpoints leave the even rule and nothing else does."""
    return np.where(away, f64(y) * (1 + 2.0**-50), f64(y))


def cut_to_bf16(y: Array, add: int) -> Array:
    """The upper halves of float32 patterns plus ``add``, as many kernels convert; NaN stays canonical."""
    y = f32(y)
    bits = ((y.view(np.uint32).astype(np.uint64) + add) >> 16).astype(np.uint16).view(BF16)
    return np.where(np.isfinite(y), bits, round_to(y, "bfloat16"))


class Pool:
    """An allocator that does not clear: what it gives holds the result before, and at first a debugger's pattern."""

    def __init__(self) -> None:
        self.memory = np.full(1 << 12, 0x5A, np.uint8)

    def empty(self, right: Array) -> Array:
        """Memory for such a result, with its old contents."""
        return np.resize(self.memory, right.nbytes).view(right.dtype).reshape(right.shape)

    def keep(self, out: Array) -> Array:
        """Give the memory of a result back."""
        self.memory = np.frombuffer(out.tobytes() or b"\x5a", np.uint8)
        return out


def rows_only(a: Array, b: Array, a_scale: Array, b_scale: Array) -> tuple[Array, Array]:
    """The scales as a column and a row, for a kernel that has no others."""
    left, right = f32(a_scale), f32(b_scale)
    if left.size not in (1, len(a)) or right.size not in (1, len(b)) or left.ndim == 1 < left.size:
        raise NotImplementedError("block scales")
    return left.reshape(-1, 1), right.reshape(1, -1)


def e4m3(x: Array) -> Array:
    """Float64 values of operands that this kernel has a decoder for."""
    if np.asarray(x).dtype not in (FP8, np.uint8):
        raise NotImplementedError("e5m2")
    return f64(fp8ref.decode(x))


def finish(acc: Array, a_s: Array, b_s: Array, bias: Array, out_dtype: str) -> Array:
    """A correct epilogue for a row of float32 accumulators."""
    with np.errstate(all="ignore"):
        return round_to(scale_then_bias(a_s, b_s * f32(acc), None if bias is None else f32(bias)), out_dtype)


POOLS = Pool(), Pool()
RACE = np.random.default_rng(7)


# ---- scaled_mm -------------------------------------------------------------------------------------------------------
def mm(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    return fp8ref.scaled_mm(a, b, a_scale, b_scale, **more)


@blind("scaled_mm", "epilogue_order")
def bias_joins_the_accumulator(
    a: Array, b: Array, a_scale: Array, b_scale: Array, bias: Array = None, out_dtype: str = "bfloat16"
) -> Array:
    """The bias is the C operand, so it is scaled with the sum."""
    a_s, b_s = rows_only(a, b, a_scale, b_scale)
    acc = mm(a, b, np.float32(1), np.float32(1), out_dtype="float32")
    with np.errstate(all="ignore"):
        return finish(acc if bias is None else acc + f32(bias), a_s, b_s, None, out_dtype)


@blind("scaled_mm", "accumulator")
def split_k_workspace_is_bfloat16(
    a: Array, b: Array, a_scale: Array, b_scale: Array, bias: Array = None, out_dtype: str = "bfloat16"
) -> Array:
    """Parts of 64 of K are exact, but they are reduced in the output's type."""
    a_s, b_s = rows_only(a, b, a_scale, b_scale)
    x, y = e4m3(a), e4m3(b)
    acc = np.zeros((len(a), len(b)), BF16)
    for k in range(0, x.shape[1], 64):
        acc = round_to(f64(acc) + x[:, k : k + 64] @ y[:, k : k + 64].T, "bfloat16")
    return finish(f32(acc), a_s, b_s, bias, out_dtype)


@blind("scaled_mm", "accumulator", contract="sm90_wgmma")
def blackwell_is_not_hopper(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    return mm(a, b, a_scale, b_scale, **{**more, "accumulate": "sm100_tcgen05"})


@blind("scaled_mm", "missing_rounding")
def accumulator_stays_float64(
    a: Array, b: Array, a_scale: Array, b_scale: Array, bias: Array = None, out_dtype: str = "bfloat16"
) -> Array:
    """A CPU fallback: the sum is never float32, the scaled one is."""
    a_s, b_s = rows_only(a, b, a_scale, b_scale)
    with np.errstate(all="ignore"):
        y = f32(f64(b_s) * (e4m3(a) @ e4m3(b).T))
        return round_to(scale_then_bias(a_s, y, None if bias is None else f32(bias)), out_dtype)


@blind("scaled_mm", "k_tail")
def tail_of_k_reads_the_next_row(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    """K is rounded up to 16 without a mask; rows are dense, so the next ones follow, and zeros the last."""
    k, pad = a.shape[1], -a.shape[1] % 16
    if not k or not pad:
        return mm(a, b, a_scale, b_scale, **more)
    index = np.arange(k + pad)

    def wide(x: Array) -> Array:
        flat = np.concatenate([bytes_of(x).ravel(), np.zeros(pad, np.uint8)])
        return like(flat[np.arange(len(x))[:, None] * k + index], x)

    return mm(wide(a), wide(b), a_scale, b_scale, **more)


@blind("scaled_mm", "layout")
def square_weights_are_taken_for_k_by_n(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    square = b.shape[0] == b.shape[1]
    return mm(a, np.ascontiguousarray(b.T) if square else b, a_scale, b_scale, **more)


@blind("scaled_mm", "layout")
def fragments_stored_without_a_permutation(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    """Each thread's pairs of two 8-wide tiles are stored side by side, as they lie in its registers."""
    out = mm(a, b, a_scale, b_scale, **more)
    order = np.arange(16).reshape(2, 4, 2).transpose(1, 0, 2).ravel()
    for n in range(0, out.shape[1] - 15, 16):
        out[:, n : n + 16] = out[:, n + order]
    return out


@blind("scaled_mm", "scale_broadcast")
def one_a_scale_for_eight_rows(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    """The thread's second row has the scale of its first."""
    m = len(a)
    if np.shape(a_scale) == (m, 1):
        a_scale = np.asarray(a_scale)[np.arange(m) // 8 * 8]
    return mm(a, b, a_scale, b_scale, **more)


@blind("scaled_mm", "scale_broadcast")
def pairs_of_columns_share_a_scale(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    n = len(b)
    if np.shape(b_scale) == (n, 1):
        b_scale = np.asarray(b_scale)[np.arange(n) // 2 * 2]
    return mm(a, b, a_scale, b_scale, **more)


@blind("scaled_mm", "scale_broadcast", contract="deepgemm")
def a_scales_of_the_first_block(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    """The pointer to a's scales is not advanced along K."""
    first = np.asarray(a_scale)
    first = np.repeat(first[:, :1], first.shape[1], axis=1) if first.ndim == 2 else first
    return mm(a, b, first, b_scale, **more)


@blind("scaled_mm", "overflow_policy")
def float16_results_are_clamped(
    a: Array, b: Array, a_scale: Array, b_scale: Array, out_dtype: str = "bfloat16", **more: Any
) -> Array:
    right = mm(a, b, a_scale, b_scale, out_dtype=out_dtype, **more)
    return np.clip(right, np.float16(-65504), np.float16(65504)) if out_dtype == "float16" else right


@blind("scaled_mm", "stale_output")
def last_rows_of_m_are_not_stored(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    """M is divided by the tile of 4 without rounding up; the memory is that of the call before."""
    right = mm(a, b, a_scale, b_scale, **more)
    out, full = POOLS[0].empty(right), len(a) // 4 * 4
    out[:full] = right[:full]
    return POOLS[0].keep(out)


@blind("scaled_mm", "unwritten")
def columns_beyond_a_vector_of_8(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    """Vector stores of 8 columns, no loop for the rest, into cleared memory."""
    out = mm(a, b, a_scale, b_scale, **more)
    bytes_out = out.view(np.uint8).reshape(*out.shape, out.itemsize)
    bytes_out[:, len(b) // 8 * 8 :] = 0
    return out


@blind("scaled_mm", "factor")
def weights_are_fnuz(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    """AMD's E4M3 has a bias of 8, and the scale was not doubled for it."""
    return mm(a, b, a_scale, f32(b_scale) * np.float32(0.5), **more)


@blind("scaled_mm", "special_values")
def nan_codes_are_480(
    a: Array, b: Array, a_scale: Array, b_scale: Array, bias: Array = None, out_dtype: str = "bfloat16"
) -> Array:
    """Codes are widened by shifting bits, as if each were a number."""
    a_s, b_s = rows_only(a, b, a_scale, b_scale)
    x, y = (np.where(np.isnan(e4m3(v)), np.where(bytes_of(v) > 127, -480.0, 480.0), e4m3(v)) for v in (a, b))
    return finish(f32(x @ y.T), a_s, b_s, bias, out_dtype)


@blind("scaled_mm", "subnormal_flush")
def subnormal_codes_are_zero(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    """The exponent is rebiased without a case for 0."""

    def flush(x: Array) -> Array:
        field, codes = (0x78 if x.dtype in (FP8, np.uint8) else 0x7C), bytes_of(x)
        return like(np.where(codes & field, codes, codes & 0x80), x)

    return mm(flush(a), flush(b), a_scale, b_scale, **more)


@blind("scaled_mm", "double_rounding")
def bfloat16_first_then_the_type_asked(
    a: Array, b: Array, a_scale: Array, b_scale: Array, bias: Array = None, out_dtype: str = "bfloat16"
) -> Array:
    return round_to(mm(a, b, a_scale, b_scale, bias=bias), out_dtype)


def _stored(add: int) -> Wrong:
    def wrong(a: Array, b: Array, a_scale: Array, b_scale: Array, out_dtype: str = "bfloat16", **more: Any) -> Array:
        if out_dtype != "bfloat16":
            return mm(a, b, a_scale, b_scale, out_dtype=out_dtype, **more)
        return cut_to_bf16(mm(a, b, a_scale, b_scale, out_dtype="float32", **more), add)

    return wrong


BLIND.append(Row("scaled_mm", "scaled_mm", "bfloat16_is_the_upper_half", "truncation", "", _stored(0)))
BLIND.append(Row("scaled_mm", "scaled_mm", "bfloat16_by_adding_a_half", "tie_rule", "", _stored(0x8000)))


@blind("scaled_mm", "nondeterministic")
def a_barrier_is_missing(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    """Now and then a row is computed from what shared memory holds of the row before it."""
    out = mm(a, b, a_scale, b_scale, **more)
    if len(a) > 1:
        row = int(RACE.integers(len(a)))
        out[row] = out[row - 1]
    return out


@blind("scaled_mm", "interface")
def empty_operands_are_invalid(a: Array, b: Array, a_scale: Array, b_scale: Array, **more: Any) -> Array:
    if not (a.size and b.size):
        raise RuntimeError("CUBLAS_STATUS_INVALID_VALUE when calling cublasLtMatmul")
    return mm(a, b, a_scale, b_scale, **more)


# ---- grouped_mm ------------------------------------------------------------------------------------------------------
def gmm(a: Array, b: Array, a_scale: Array, b_scale: Array, offsets: Array, **more: Any) -> Array:
    return fp8ref.grouped_mm(a, b, a_scale, b_scale, offsets, **more)


@blind("grouped_mm", "group_boundary")
def expert_of_the_tiles_first_row(
    a: Array, b: Array, a_scale: Array, b_scale: Array, offsets: Array, **more: Any
) -> Array:
    """A tile of 4 rows has one expert, and nobody padded the groups."""
    bounds = np.array(offsets)
    bounds[1:-1] = np.minimum(-(-bounds[1:-1] // 4) * 4, bounds[-1])
    return gmm(a, b, a_scale, b_scale, np.maximum(bounds, bounds[0]), **more)


@blind("grouped_mm", "scale_broadcast")
def a_scale_by_the_row_in_its_group(
    a: Array, b: Array, a_scale: Array, b_scale: Array, offsets: Array, **more: Any
) -> Array:
    scale = np.array(a_scale)
    if scale.ndim == 2 and len(scale) == len(a) > 1:
        for start, stop in itertools.pairwise(np.asarray(offsets).tolist()):
            scale[start:stop] = np.asarray(a_scale)[: stop - start]
    return gmm(a, b, scale, b_scale, offsets, **more)


@blind("grouped_mm", "stale_output")
def short_tiles_of_a_group_are_not_stored(
    a: Array, b: Array, a_scale: Array, b_scale: Array, offsets: Array, out: Array = None, **more: Any
) -> Array:
    """Each group stores its full tiles of 2 rows; where ``out`` is not given the memory is that of the call before."""
    right = gmm(a, b, a_scale, b_scale, offsets, **more)
    target = POOLS[1].empty(right) if out is None else out
    bounds = np.asarray(offsets).tolist()
    if out is None:
        target[: bounds[0]], target[bounds[-1] :] = right[: bounds[0]], right[bounds[-1] :]
    for start, stop in itertools.pairwise(bounds):
        stop -= (stop - start) % 2
        target[start:stop] = right[start:stop]
    POOLS[1].keep(target)
    return target


@blind("grouped_mm", "unwritten")
def last_expert_is_never_launched(
    a: Array, b: Array, a_scale: Array, b_scale: Array, offsets: Array, **more: Any
) -> Array:
    """One expert for each two neighbours of a list of ends, which has no leading 0."""
    result = gmm(a, b, a_scale, b_scale, offsets, **more)
    if len(b):
        result[offsets[-2] : offsets[-1]] = result.dtype.type(0)
    return result


@blind("grouped_mm", "interface")
def offsets_of_int64_are_refused(
    a: Array, b: Array, a_scale: Array, b_scale: Array, offsets: Array, **more: Any
) -> Array:
    if np.asarray(offsets).dtype != np.int32:
        raise TypeError("expected scalar type Int but found Long")
    return gmm(a, b, a_scale, b_scale, offsets, **more)
