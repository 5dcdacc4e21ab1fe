# SPDX-License-Identifier: Apache-2.0
"""The error bound of a scaled product: the accumulator's, carried through scales, bias and output. [BOUND-EPILOGUE]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden._args import bias_vector, choice, describe, fail, float32_scale
from ..golden._foreign import as_array
from ..golden._round import FORMATS, check_environment
from ._chain import OUTWARD, SECOND_ORDER, Sums, any_order, chains, half_unit, slack_of
from ._operands import BLOCK, OP, Float64, Side, blocks, scale, side
from ._units import FLOAT32, UNITS, AnyOrder, Unit

# Outputs worked on at once: the planes stay in cache, and BLAS takes so small a product of a step in one thread.
PLANE = 1 << 13
EPILOGUES = ("a_b", "b_a", "ab")
BLOCK_EPILOGUES = ("deepgemm", "triton", "triton_ba")
OVERFLOWS = ("saturate", "nan")
E4M3 = "float8_e4m3fn"
USUAL_SCALES = (2.0**-40, 2.0**40)  # so that no scaled operand or product underflows or overflows [BOUND-FLOAT32]


@dataclass(frozen=True)
class Problem:
    """The checked arguments."""

    a: Side
    b: Side
    a_scale: Float64
    b_scale: Float64
    bias: Float64 | None
    out_dtype: str
    unit: Unit | AnyOrder | None  # None: exact
    epilogue: str
    split_k: int
    out_scale: float | None
    overflow: str | None

    @property
    def by_block(self) -> bool:
        """Whether scales change along K."""
        k = self.a.values.shape[1]
        scales = any(s.ndim and s.shape[1] != 1 for s in (self.a_scale, self.b_scale))
        return self.epilogue in BLOCK_EPILOGUES or (scales and blocks(k) != 1)

    def part(self, rows: slice, columns: slice) -> Problem:
        """The problem of some outputs."""
        a_scale = self.a_scale[rows] if self.a_scale.ndim else self.a_scale
        b_scale = self.b_scale[columns] if self.b_scale.ndim else self.b_scale
        bias = None if self.bias is None else self.bias[columns]
        rest = (self.out_dtype, self.unit, self.epilogue, self.split_k, self.out_scale, self.overflow)
        return Problem(self.a.rows(rows), self.b.rows(columns), a_scale, b_scale, bias, *rest)

    def scales(self, block: int) -> tuple[Float64, Float64]:
        """Scales of one block of K that broadcast over (M, N)."""
        left, right = (
            s if s.ndim == 0 or s.shape[1] == 1 else s[:, block : block + 1] for s in (self.a_scale, self.b_scale)
        )
        return left, right.T


def _times(x: Sums, factor: Float64, slack: float, lost: Float64 | None = None) -> Sums:
    """RN32(factor * x), with ``lost`` by the factor itself. A factor 1, 2, 4, ... changes no bit short of overflow."""
    error = factor * x.error if lost is None else factor * x.error + lost
    scaled = Sums(factor * x.value, factor * x.absolute, error * OUTWARD)
    exact = (np.frexp(factor)[0] == 0.5) & (factor >= 1)
    half = half_unit(scaled.size(slack))
    rounding = np.where(exact & np.isfinite(half), 0.0, half)
    return Sums(scaled.value, scaled.absolute, (scaled.error + rounding) * OUTWARD)


def _fused(x: Sums, factor: Float64, other: Sums, slack: float, lost: Float64 | None = None) -> Sums:
    """RN32(factor * x + other)."""
    value, absolute = factor * x.value + other.value, factor * x.absolute + other.absolute
    error = factor * x.error + other.error
    sum_ = Sums(value, absolute, (error if lost is None else error + lost) * OUTWARD)
    return Sums(value, absolute, (sum_.error + half_unit(sum_.size(slack))) * OUTWARD)


def _alpha(x: Sums, left: Float64, right: Float64, slack: float) -> tuple[Float64, Float64]:
    """RN32(left * right), and what its rounding does to the product with x. [BOUND-EPILOGUE]"""
    factor = (left * right).astype(np.float32).astype(np.float64)
    off = np.abs(factor - left * right)  # both have at most 48 bits: exact
    return factor, off * (np.abs(x.value) + slack * x.absolute) * OUTWARD


def _bias(problem: Problem) -> Sums:
    values = np.zeros(()) if problem.bias is None else problem.bias
    return Sums(values, np.abs(values), np.zeros(()))


def _scaled(problem: Problem, acc: Sums, slack: float) -> Sums:
    """Scales of rows and columns in the order of the epilogue; with a bias the last step is fused. [BOUND-EPILOGUE]"""
    left, right = problem.scales(0)
    lost: Float64 | None = None
    if isinstance(problem.unit, AnyOrder) and problem.bias is not None:  # the bias may be added after all scales
        return _fused(_times(_times(acc, right, slack), left, slack), np.ones(()), _bias(problem), slack)
    if problem.epilogue == "ab":
        y, (last, lost) = acc, _alpha(acc, left, right, slack)
    else:
        first, last = (right, left) if problem.epilogue == "a_b" else (left, right)
        y = _times(acc, first, slack)
    return _times(y, last, slack, lost) if problem.bias is None else _fused(y, last, _bias(problem), slack, lost)


def _block_sums(problem: Problem, slack: float) -> Sums:
    """Scales that change along K. [BOUND-BLOCKS]"""
    k = problem.a.values.shape[1]
    shape = (problem.a.values.shape[0], problem.b.values.shape[0])
    total = Sums(np.zeros(shape), np.zeros(shape), np.zeros(shape))
    for block in range(blocks(k)):
        left, right = problem.scales(block)
        span = (block * BLOCK, min(block * BLOCK + BLOCK, k))
        dot = chains(problem.unit, problem.a, problem.b, *span, 1, slack)
        if problem.epilogue in EPILOGUES:  # exact: one rounding of the whole sum, bias included
            factor = left * right
            lost_here = np.zeros(()) if problem.unit is None else factor * dot.error
            value, absolute = total.value + factor * dot.value, total.absolute + factor * dot.absolute
            total = Sums(value, absolute, (total.error + lost_here) * OUTWARD)
        elif problem.epilogue == "deepgemm":
            factor, lost = _alpha(dot, left, right, slack)
            total = _fused(dot, factor, total, slack, lost)
        else:
            first, last = (left, right) if problem.epilogue == "triton" else (right, left)
            total = _fused(_times(dot, first, slack), last, total, slack)
    if problem.epilogue in EPILOGUES and problem.unit is not None:  # float32: the blocks' sums in any order
        error = total.error + (blocks(k) + 3) * 2.0**-24 * SECOND_ORDER * total.absolute
        total = Sums(total.value, total.absolute, error * OUTWARD)
    if problem.epilogue in EPILOGUES or problem.bias is not None:
        return _fused(total, np.ones(()), _bias(problem), slack)
    return total


def _output(problem: Problem, y: Sums, slack: float) -> Float64:
    """The rounding to the output's format. [BOUND-OUTPUT]"""
    if problem.out_dtype == "float32":
        return y.error
    fmt = FORMATS[problem.out_dtype]
    if problem.out_scale is not None:
        y = _times(y, np.asarray(problem.out_scale), slack)
    size = y.size(slack)
    if problem.overflow == "saturate":
        size = np.where(np.isfinite(y.error), np.minimum(size, fmt.largest), np.inf)
    limit = fmt.largest + 2.0 ** (fmt.emax - fmt.precision)
    return (y.error + half_unit(size, 0.0, fmt.precision, fmt.emin, limit)) * OUTWARD


def _roundings(problem: Problem) -> Float64:
    """How often products are rounded if the operands are scaled first: the operands, and then the product."""
    left, right = problem.scales(0)
    each = [np.where(np.frexp(s)[0] == 0.5, 0.0, 1.0) for s in (left, right)]
    count = np.asarray(each[0] + each[1])
    usual = [(s == 0) | ((s >= USUAL_SCALES[0]) & (s <= USUAL_SCALES[1])) for s in (left, right)]
    return np.where(usual[0] & usual[1], count + (count > 0), np.inf)


def _usable(x: Float64) -> NDArray[np.bool_]:
    """Which rows of a scale are finite."""
    good = np.asarray(np.isfinite(x))
    return np.asarray(good.all(axis=1)) if good.ndim == 2 else good


def _of(problem: Problem, slack: float) -> Float64:
    """The bound of some outputs. ``slack`` is that of the products; what follows adds 2**-48. [BOUND-FLOAT64]"""
    if problem.by_block:
        y = _block_sums(problem, slack + 2.0**-48)
    else:
        k = problem.a.values.shape[1]
        if isinstance(problem.unit, AnyOrder):
            acc = any_order(problem.a, problem.b, 0, k, _roundings(problem))
        else:
            acc = chains(problem.unit, problem.a, problem.b, 0, k, problem.split_k, slack)
        y = _scaled(problem, acc, slack + 2.0**-48)
    out = _output(problem, y, slack + 2.0**-48)
    rows = problem.a.finite & _usable(problem.a_scale)
    columns = problem.b.finite & _usable(problem.b_scale) & np.isfinite(_bias(problem).value)
    return np.where(rows[:, None] & columns & ~np.isnan(out), out, np.inf)  # [BOUND-SPECIAL]


def _problem(
    a: Any,
    b: Any,
    a_scale: Any,
    b_scale: Any,
    bias: Any,
    out_dtype: str,
    accumulate: str,
    epilogue: str,
    split_k: int,
    out_scale: Any,
    overflow: str | None,
) -> Problem:
    left, right = side("a", a), side("b", b)
    (m, k), n = left.values.shape, right.values.shape[0]
    if right.values.shape[1] != k or left.operands != right.operands:
        found = " and ".join(describe(as_array(x)) for x in (a, b))
        raise fail(OP, f"a and b must have the same K and kind, got {found}")
    choice(OP, "out_dtype", out_dtype, FORMATS)
    choice(OP, "accumulate", accumulate, ("exact", *UNITS[left.operands]))
    choice(OP, "epilogue", epilogue, (*EPILOGUES, *BLOCK_EPILOGUES))
    if not isinstance(split_k, (int, np.integer)) or split_k < 1:
        raise fail(OP, f"split_k must be an integer >= 1, got {split_k!r}")
    if (out_dtype == E4M3) != (out_scale is not None) or (out_dtype == E4M3) != (overflow is not None):
        raise fail(OP, f"out_scale and overflow belong to out_dtype={E4M3}, which needs both")
    if overflow is not None:
        choice(OP, "overflow", overflow, OVERFLOWS)
    scales = scale("a_scale", a_scale, m, k), scale("b_scale", b_scale, n, k)
    offset = bias_vector(OP, bias, n)
    problem = Problem(
        left,
        right,
        *scales,
        None if offset is None else offset.astype(np.float64),
        out_dtype,
        UNITS[left.operands].get(accumulate),
        epilogue,
        int(split_k),
        None if out_scale is None else float(float32_scale(OP, "out_scale", out_scale)),
        overflow,
    )
    if problem.by_block and epilogue in EPILOGUES and accumulate not in ("exact", FLOAT32):
        raise fail(OP, f"accumulate={accumulate!r} with block scales needs one of {', '.join(BLOCK_EPILOGUES)}")
    if epilogue in BLOCK_EPILOGUES and split_k != 1:
        raise fail(OP, f"epilogue={epilogue!r} needs split_k=1")
    return problem


def bound(
    a: Any,
    b: Any,
    a_scale: Any = 1.0,
    b_scale: Any = 1.0,
    bias: Any = None,
    out_dtype: str = "float32",
    accumulate: str = "exact",
    epilogue: str = "a_b",
    split_k: int = 1,
    out_scale: Any = None,
    overflow: str | None = None,
) -> Float64:
    """A bound of ``|scaled_mm(...) - exact value|`` for every output, from the operands alone.

    The exact value is the real number ``a_scale * b_scale * sum_k a * b + bias`` (for E4M3 output times
    ``out_scale``, and with ``saturate`` clamped to +-448). The accumulator is never run: the bound follows from the
    exact partial sums and from what a step with such operands can cut. It is rounded outward.

    Args:
        a: (M, K), E4M3 (float8_e4m3fn or uint8 codes), E5M2, or, for :func:`fp8ref.linear`, bfloat16 or float16.
        b: (N, K), of the same kind: both FP8, both bfloat16 or both float16.
        a_scale: one value, (M, 1), or (M, ceil(K/128)).
        b_scale: one value, (N, 1), (N, ceil(K/128)), or (ceil(N/128), ceil(K/128)).
        bias: (N,) or None.
        out_dtype: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"float8_e4m3fn"``.
        accumulate: a name out of :data:`ACCUMULATORS`.
        epilogue: ``"a_b"``, ``"b_a"``, ``"ab"``, ``"deepgemm"``, ``"triton"`` or ``"triton_ba"``.
        split_k: the number of splits of K.
        out_scale, overflow: of E4M3 output, as in ``scaled_mm``.

    Returns:
        (M, N) float64; infinite where no bound is claimed: a NaN or infinity among an output's operands, scales or
        bias, or an intermediate result that may overflow. [BOUND-SPECIAL]

    Raises:
        OpError: shapes, dtypes or policies that have no meaning.

    Example:
        >>> import numpy as np
        >>> a, b = np.array([[0x68, 0x68, 0x3C]], np.uint8), np.array([[0x68, 0x68, 0x38]], np.uint8)
        >>> [bound(a, b, accumulate=name).astype(np.float32).item() for name in ("exact", "sm90_wgmma")]
        [0.0, 0.5]

    Source: spec/compare.md derives it.
    """
    check_environment(OP)
    rest = (out_dtype, accumulate, epilogue, split_k, out_scale, overflow)
    problem = _problem(a, b, a_scale, b_scale, bias, *rest)
    m, n = problem.a.values.shape[0], problem.b.values.shape[0]
    slack = slack_of(problem.a, problem.b)
    out = np.empty((m, n))
    wide = min(256, max(n, 1))
    tall = max(1, PLANE // wide)
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        for row in range(0, m, tall):
            for column in range(0, n, wide):
                rows, columns = slice(row, row + tall), slice(column, column + wide)
                out[rows, columns] = _of(problem.part(rows, columns), slack)
    return out


def exact_values(
    a: Any,
    b: Any,
    a_scale: Any = 1.0,
    b_scale: Any = 1.0,
    bias: Any = None,
    out_scale: Any = None,
    overflow: str | None = None,
) -> Float64:
    """The value that :func:`bound` measures from, as float64. [BOUND-EXACT]

    Args: as of :func:`bound`.

    Returns:
        (M, N) float64, NaN where an operand, a scale or the bias is not finite. The sum of FP8 products is exact
        up to K = 171,196 (E4M3); scales and bias add at most 2**-50 of the magnitudes that are added.

    Raises:
        OpError: as :func:`bound`.

    Example:
        >>> import numpy as np
        >>> one = np.full((1, 32), 0x38, np.uint8)
        >>> exact_values(one, one, 0.5, 0.25).tolist()
        [[4.0]]
    """
    out_dtype = "float32" if out_scale is None else E4M3
    rest = (out_dtype, "exact", "a_b", 1, out_scale, overflow)
    problem = _problem(a, b, a_scale, b_scale, bias, *rest)
    k = problem.a.values.shape[1]
    spans = [slice(i, i + BLOCK) for i in range(0, k, BLOCK)] if problem.by_block else [slice(0, k)]
    total = np.zeros((problem.a.values.shape[0], problem.b.values.shape[0]))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for block, span in enumerate(spans):
            left, right = problem.scales(block)
            total += left * (right * (problem.a.values[:, span] @ problem.b.values[:, span].T))
        total += _bias(problem).value
        if problem.out_scale is not None:
            total *= problem.out_scale
            if overflow == "saturate":
                total = np.clip(total, -FORMATS[E4M3].largest, FORMATS[E4M3].largest)
    rows = problem.a.finite & _usable(problem.a_scale)
    columns = problem.b.finite & _usable(problem.b_scale) & np.isfinite(_bias(problem).value)
    return np.where(rows[:, None] & columns, total, np.nan)
