# SPDX-License-Identifier: Apache-2.0
"""The statistical contract: the errors of every tile against those of the named accumulator. [BOUND-STATISTICS]"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..golden._args import describe, fail
from ..golden._foreign import as_array
from ..golden._round import FORMATS, check_environment
from ..golden.scaled_mm import scaled_mm
from ._bound import exact_values
from ._chain import exponent
from ._operands import Float64
from ._sequential import sequential
from ._units import FLOAT32

OP = "compare.contract"
SMALLEST_TILE = 1024  # outputs
SIDE = 32  # of a square tile
FACTOR = 4.0
SHOWN = 10  # tiles in a report


@dataclass(frozen=True)
class Tile:
    """The errors of one tile of outputs, and what the contract allows."""

    shape: str  # "squares", "rows" or "columns"
    rows: tuple[int, int]
    columns: tuple[int, int]
    rms: float
    mean: float
    reference_rms: float
    reference_mean: float
    rms_limit: float
    mean_limit: float

    @property
    def held(self) -> bool:
        """Whether both errors are within the contract."""
        return self.rms <= self.rms_limit and abs(self.mean) <= self.mean_limit

    def __str__(self) -> str:
        """One line of a report."""
        where = f"[{self.rows[0]}:{self.rows[1]}, {self.columns[0]}:{self.columns[1]}]"
        rms = f"rms {self.rms:.4g} of {self.rms_limit:.4g}"
        return f"{where} {rms}, mean {self.mean:+.4g} of {self.mean_limit:.4g} ({self.shape})"


@dataclass(frozen=True)
class Statistics:
    """All tiles of a result."""

    tiles: tuple[Tile, ...]

    @property
    def broken(self) -> tuple[Tile, ...]:
        """The tiles whose errors are larger than the contract allows, the worst first."""
        return tuple(sorted((tile for tile in self.tiles if not tile.held), key=_excess, reverse=True))

    @property
    def held(self) -> bool:
        """Whether every tile is within the contract."""
        return not self.broken

    def report(self) -> str:
        """A text for people: the verdict and the worst tiles."""
        broken = self.broken
        if not broken:
            worst = max(self.tiles, key=_excess)
            return f"held in {len(self.tiles)} tiles; the nearest to its limit: {worst}"
        lines = [f"broken in {len(broken)} of {len(self.tiles)} tiles", *map(str, broken[:SHOWN])]
        return "\n".join([*lines, f"and {len(broken) - SHOWN} more"] if len(broken) > SHOWN else lines)


def _excess(tile: Tile) -> float:
    """The larger of the two errors, in units of its limit."""
    pairs = ((tile.rms, tile.rms_limit), (abs(tile.mean), tile.mean_limit))
    return max(error / limit if limit else (np.inf if error else 0.0) for error, limit in pairs)


def _edges(length: int, size: int) -> NDArray[np.int64]:
    """Pieces of ``size``; what is left over belongs to the last one."""
    pieces = max(1, length // size)
    return np.array([*range(0, pieces * size, size), length])


def _tilings(m: int, n: int) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """Squares, strips along rows and strips along columns, each of at least SMALLEST_TILE outputs."""

    def tiling(name: str, rows: int, columns: int) -> tuple[str, NDArray[np.int64], NDArray[np.int64]]:
        if rows > m:
            rows, columns = m, -(-SMALLEST_TILE // m)
        elif columns > n:
            rows, columns = -(-SMALLEST_TILE // n), n
        return name, _edges(m, rows), _edges(n, columns)

    yield tiling("squares", SIDE, SIDE)
    yield tiling("rows", 1, SMALLEST_TILE)
    yield tiling("columns", SMALLEST_TILE, 1)


def _sums(x: Float64, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Float64:
    return np.asarray(np.add.reduceat(np.add.reduceat(x, rows[:-1], axis=0), columns[:-1], axis=1))


def _errors(result: NDArray[Any], reference: Float64, exact: Float64) -> Float64:
    """result - exact; where the reference is no finite number: 0 for the same, infinite for anything else."""
    values = result.astype(np.float64)
    same = (values == reference) | (np.isnan(values) & np.isnan(reference))
    usual = np.isfinite(reference) & np.isfinite(exact)
    error = np.where(usual, values - exact, np.where(same, 0.0, np.inf))
    return np.where(np.isnan(error), np.inf, error)


def _floor(reference: NDArray[Any], exact: Float64) -> Float64:
    """The mean square of a rounding error to the output's format, ulp**2 / 12, of each output."""
    fmt = FORMATS[reference.dtype.name]
    size = np.where(np.isfinite(exact), np.abs(exact), 0.0)
    ulp = np.ldexp(1.0, np.maximum(exponent(size), fmt.emin) - fmt.precision + 1)
    return np.asarray(ulp * ulp / 12)


def statistics(actual: Any, reference: Any, exact: Any) -> Statistics:
    """Compare the errors of a result with those of a reference, tile by tile. [BOUND-STATISTICS]

    Args:
        actual: (M, N), the result to judge, of the reference's dtype.
        reference: (M, N), the named accumulator's result: float32, bfloat16, float16 or float8_e4m3fn.
        exact: (M, N) float64, of :func:`exact_values`.

    Returns:
        The tiles: squares of 32 x 32 and strips along rows and columns, each of at least 1024 outputs.

    Raises:
        OpError: shapes or dtypes that differ, or fewer than 1024 outputs, of which statistics say too little.

    Example:
        >>> import numpy as np
        >>> exact = np.linspace(1, 2, 1024).reshape(32, 32)
        >>> reference = exact.astype(np.float32)
        >>> statistics(reference, reference, exact).held
        True
        >>> statistics(reference * np.float32(1.03), reference, exact).held
        False
    """
    result, named, truth = as_array(actual), as_array(reference), np.asarray(exact, np.float64)
    if named.dtype.name not in FORMATS or result.dtype != named.dtype or not result.shape == named.shape == truth.shape:
        raise fail(
            OP, f"actual, reference and exact do not match: {describe(result)}, {describe(named)}, {truth.shape}"
        )
    if result.ndim != 2 or result.size < SMALLEST_TILE:
        raise fail(OP, f"at least {SMALLEST_TILE} outputs in 2 dimensions are needed, got {describe(result)}")
    with np.errstate(invalid="ignore", over="ignore"):
        wide = named.astype(np.float64)
        planes = [_errors(x, wide, truth) for x in (result, named)]
        floor = _floor(named, truth)
        tiles = [tile for tiling in _tilings(*result.shape) for tile in _tiles(*tiling, planes, floor)]
    return Statistics(tuple(tiles))


def _tiles(
    shape: str, rows: NDArray[np.int64], columns: NDArray[np.int64], errors: list[Float64], floor: Float64
) -> Iterator[Tile]:
    """The tiles of one tiling. An error is compared with the accumulator's own, or with its floor if that is larger."""
    count = np.outer(np.diff(rows), np.diff(columns))
    rms, own_rms = (np.sqrt(_sums(x * x, rows, columns) / count) for x in errors)
    mean, own_mean = (_sums(x, rows, columns) / count for x in errors)
    base = np.maximum(own_rms, np.sqrt(_sums(floor, rows, columns) / count))
    rms_limit, mean_limit = FACTOR * base, FACTOR * np.maximum(np.abs(own_mean), base / np.sqrt(count))
    columns_of = [x.tolist() for x in (rms, mean, own_rms, own_mean, rms_limit, mean_limit)]
    for i in range(len(rows) - 1):
        for j in range(len(columns) - 1):
            where = (int(rows[i]), int(rows[i + 1])), (int(columns[j]), int(columns[j + 1]))
            yield Tile(shape, *where, *(x[i][j] for x in columns_of))


def contract(
    actual: Any,
    a: Any,
    b: Any,
    a_scale: Any = 1.0,
    b_scale: Any = 1.0,
    bias: Any = None,
    accumulate: str = "exact",
    epilogue: str = "a_b",
    **options: Any,
) -> Statistics:
    """Whether a scaled product has the errors of the accumulator that it claims to be. [BOUND-STATISTICS]

    Over every tile of at least 1024 outputs, the rms error and the magnitude of the mean error must be at most 4 times
    those of ``golden.scaled_mm`` with that accumulator on the same inputs; for ``float32`` those of sums in the order
    of k. [BOUND-SEQUENTIAL]

    Args:
        actual: (M, N), the result to judge; its dtype is the output dtype.
        a, b, a_scale, b_scale, bias, accumulate, epilogue: as in ``scaled_mm``.
        options: further arguments of ``scaled_mm``: ``split_k``, ``out_scale``, ``overflow``.

    Returns:
        The tiles; ``held`` is the verdict, ``report()`` a text.

    Raises:
        OpError: as ``scaled_mm`` and :func:`statistics`.

    Example:
        >>> import numpy as np, fp8ref
        >>> a = np.random.default_rng(1).integers(0, 127, (32, 64)).astype(np.uint8)
        >>> good = fp8ref.scaled_mm(a, a, 1.0, 1.0, out_dtype="float32", accumulate="sm90_wgmma")
        >>> contract(good, a, a, accumulate="sm90_wgmma").held
        True
        >>> contract(good * np.float32(1.03), a, a, accumulate="sm90_wgmma").held
        False
    """
    check_environment(OP)
    out_dtype = as_array(actual).dtype.name
    arguments = {"out_dtype": out_dtype, "accumulate": accumulate, "epilogue": epilogue, **options}
    if accumulate == FLOAT32:
        del arguments["accumulate"]
        reference = sequential(a, b, a_scale, b_scale, bias, **arguments)
    else:
        reference = scaled_mm(a, b, a_scale, b_scale, bias, **arguments)
    output = {name: options[name] for name in ("out_scale", "overflow") if name in options}
    return statistics(actual, reference, exact_values(a, b, a_scale, b_scale, bias, **output))
