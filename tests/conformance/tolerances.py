# SPDX-License-Identifier: Apache-2.0
"""Which defects the tolerances in use let pass, and what judges by bits or by the contract of [BOUND-STATISTICS] finds.

One matrix product of E4M3 codes, 4096 x 4096 outputs near a normal distribution of rms 1, with a defect put into its
outputs. The tolerances are those that projects' own tests apply to a product, by their formulas; nothing else is
allowed to state a tolerance here (tests/meta/test_style.py).

python tests/conformance/tolerances.py      # writes README's table; test_tolerances.py keeps it equal
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
MARKS = ("<!-- tolerances -->", "<!-- end of tolerances -->")
SIZE, K, STRIP, WINDOW = 4096, 513, 16, 1024
Array = Any


# ---- the product -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    """The exact sums, those rounded once, and what two slips in the sum make of them."""

    exact: Array  # (SIZE, SIZE) float64, exact: codes are integers times 2**-9, the scale a power of two [MM-EXACT]
    right: Array  # float32
    without_last: Array  # float32: K without its last element
    in_half: Array  # float16: each 128 of K is exact, their sums are kept in fp16


@functools.cache
def product() -> Product:
    """Bell-shaped codes; the scale makes the outputs' rms about 1."""
    from fp8ref.conformance.cases._stream import Stream

    s = Stream("tolerances")
    a, b = (s.code_bell((SIZE, K)).astype(np.float64) for _ in range(2))
    b *= 2.0**-19
    p = Product(*(np.empty((SIZE, SIZE), kind) for kind in (np.float64, np.float32, np.float32, np.float16)))
    for start in range(0, SIZE, WINDOW):
        rows = slice(start, start + WINDOW)
        exact, half = p.exact[rows], p.in_half[rows]
        exact[...], half[...] = 0, 0
        for first in range(0, K, 128):
            part = a[rows, first : first + 128] @ b[:, first : first + 128].T
            exact += part
            half[...] = half.astype(np.float32) + part.astype(np.float32)
        p.right[rows] = exact
        p.without_last[rows] = exact - np.outer(a[rows, -1], b[:, -1])
    return p


# ---- defects: outputs that are wrong ---------------------------------------------------------------------------------


def _with(change: Callable[[Array], None]) -> Array:
    out = product().right.copy()
    change(out)
    return out


def _tile(out: Array, row: int, column: int) -> None:
    out[row : row + 128, column : column + 128] = 0


def _two_tiles(out: Array) -> None:
    _tile(out, 384, 640)
    _tile(out, 2048, 1280)


def _some(out: Array) -> None:
    """100 places of a fixed sequence."""
    from fp8ref.conformance.cases._stream import Stream

    out[tuple(Stream("tolerances/places").integers((2, 100), 0, SIZE))] = 0


def _another_row(out: Array) -> None:
    out[77] = product().right[78, ::-1]


def _cut(out: Array) -> None:
    """13 fraction bits of each: as one step of Hopper's FP8 unit leaves them."""
    out.view(np.uint32)[...] &= np.uint32(0xFFFFFC00)


@dataclass(frozen=True)
class Defect:
    """A wrong result; ``scale`` where the outputs are smaller, as those of small weights are."""

    name: str
    make: Callable[[], Array]
    scale: float = 1.0


DEFECTS = (
    Defect("one 128 x 128 tile is zero", lambda: _with(lambda out: _tile(out, 384, 640))),
    Defect("two tiles are zero", lambda: _with(_two_tiles)),
    Defect("everything is 3 % too large", lambda: product().right * np.float32(1.03)),
    Defect("128 rows are 12.5 % too large", lambda: _with(lambda out: np.multiply(out[:128], 1.125, out[:128]))),
    Defect("100 elements are zero", lambda: _with(_some)),
    Defect("one row by another expert's weights", lambda: _with(_another_row)),
    Defect("one row with a scale 10 % off", lambda: _with(lambda out: np.multiply(out[77], np.float32(1.1), out[77]))),
    Defect("the last of 513 products is dropped", lambda: product().without_last),
    Defect("sums are kept in fp16", lambda: product().in_half.astype(np.float32)),
    Defect("outputs are cut to 13 fraction bits", lambda: _with(_cut)),
    Defect("all zeros, where outputs are 128 times smaller", lambda: np.zeros((SIZE, SIZE), np.float32), 2.0**-7),
)


# ---- what judges them ------------------------------------------------------------------------------------------------


@dataclass
class Sums:
    """What the tolerances below are made of: x is right, y is not, d = y - x."""

    count: int = 0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    dd: float = 0.0
    x: float = 0.0  # sum of |x|
    d: float = 0.0
    torch: int = 0  # elements farther off than the element-wise tolerances
    fbgemm: int = 0
    bits: int = 0  # elements with other bits


@functools.cache
def _right_sums() -> tuple[tuple[float, float], ...]:
    """Of each strip of what is right: the sums of squares and of magnitudes."""
    strips = (product().right[start : start + STRIP].astype(np.float64) for start in range(0, SIZE, STRIP))
    return tuple((float((x * x).sum()), float(np.abs(x).sum())) for x in strips)


def sums(wrong: Array, scale: float = 1.0) -> Sums:
    """Against what is right times a power of two; in strips of rows, of which equal ones cost one comparison."""
    total = Sums(count=wrong.size)
    for start, (squares, sizes) in zip(range(0, SIZE, STRIP), _right_sums(), strict=True):
        right, found = product().right[start : start + STRIP] * np.float32(scale), wrong[start : start + STRIP]
        total.xx += squares * scale**2
        total.x += sizes * scale
        different = np.count_nonzero(right.view(np.uint32) != found.view(np.uint32))
        if not different:
            total.yy += squares * scale**2
            total.xy += squares * scale**2
            continue
        x, y = right.astype(np.float64), found.astype(np.float64)
        size, apart = np.abs(x), np.abs(y - x)
        total.yy += float((y * y).sum())
        total.xy += float((x * y).sum())
        total.dd += float((apart * apart).sum())
        total.d += float(apart.sum())
        total.torch += int(np.count_nonzero(apart > 7e-2 + 7e-2 * size))
        total.fbgemm += int(np.count_nonzero(apart > 2e-1 + 5e-2 * size))
        total.bits += int(different)
    return total


@dataclass(frozen=True)
class Tolerance:
    """``passes`` says whether a wrong result would be taken for right."""

    project: str
    text: str
    source: str
    passes: Callable[[Sums], bool]


TOLERANCES = (
    # 1 - 2 sum(xy) / sum(xx + yy)
    Tolerance("DeepGEMM", "calc_diff < 1e-3", "deep_gemm/testing/numeric.py",
              lambda s: 1 - 2 * s.xy / (s.xx + s.yy) < 1e-3),
    # 20 log10(|x| / |x - y|)
    Tolerance("torchao", "SQNR >= 25 dB", "torchao/float8/float8_utils.py",
              lambda s: s.dd == 0 or 10 * math.log10(s.xx / s.dd) >= 25),
    # mean |y - x| / mean |x|
    Tolerance("vLLM", "mean relative < 1e-3", "tests/kernels/quantization/test_block_fp8.py",
              lambda s: s.d / s.x < 1e-3),
    # sum (x - y)^2 / sum x^2
    Tolerance("ggml", "NMSE < 5e-4", "tests/test-backend-ops.cpp",
              lambda s: s.dd / s.xx < 5e-4),
    # |y - x| <= atol + rtol |x| for every element
    Tolerance("torch", "allclose(7e-2, 7e-2)", "test/test_scaled_matmul_cuda.py",
              lambda s: s.torch == 0),
    Tolerance("FBGEMM", "allclose(rtol .05, atol .2)", "fbgemm_gpu/experimental/gemm/test/fp8_gemm_test.py",
              lambda s: s.fbgemm == 0),
)  # fmt: skip


def contract_held(wrong: Array, scale: float) -> bool:
    """The statistical contract of the accumulator ``exact``, window by window up to the first that breaks it.

    The tiles of a window are tiles of the whole: squares of 32 x 32, strips of 1024 along rows and columns.
    """
    from fp8ref.compare import statistics

    p = product()
    for row, column in np.ndindex(*(size // WINDOW for size in wrong.shape)):
        part = np.s_[row * WINDOW : (row + 1) * WINDOW, column * WINDOW : (column + 1) * WINDOW]
        if not statistics(wrong[part], p.right[part] * np.float32(scale), p.exact[part] * scale).held:
            return False
    return True


@functools.cache
def verdicts() -> tuple[tuple[str, tuple[bool, ...]], ...]:
    """For each defect which column catches it."""
    found = []
    for defect in DEFECTS:
        wrong = defect.make()
        measured = sums(wrong, defect.scale)
        caught = [not tolerance.passes(measured) for tolerance in TOLERANCES]
        found.append((defect.name, (*caught, measured.bits > 0, not contract_held(wrong, defect.scale))))
    return tuple(found)


def table() -> str:
    """The section of README."""
    heads = [f"{tolerance.project}<br>`{tolerance.text}`" for tolerance in TOLERANCES]
    heads += ["fp8ref<br>bits", "fp8ref<br>`bound`"]
    lines = [f"| defect | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for name, caught in verdicts():
        lines.append(f"| {name} | {' | '.join('caught' if one else '**missed**' for one in caught)} |")
    sources = "; ".join(f"{tolerance.project} `{tolerance.source}`" for tolerance in TOLERANCES)
    return "\n".join([*lines, "", f"Tolerances of: {sources}."])


def _marked(text: str) -> str:
    return f"{MARKS[0]}\n{text}\n{MARKS[1]}"


def section(text: str) -> str:
    """What stands between the marks."""
    return text.split(f"{MARKS[0]}\n")[1].split(f"\n{MARKS[1]}")[0]


def main() -> None:
    """Replace the section."""
    text = README.read_text(encoding="utf-8")
    README.write_text(text.replace(_marked(section(text)), _marked(table())), encoding="utf-8")


if __name__ == "__main__":
    sys.path[0] = str(ROOT / "tests")
    main()
