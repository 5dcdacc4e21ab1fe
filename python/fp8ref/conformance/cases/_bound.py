# SPDX-License-Identifier: Apache-2.0
"""Cases for those who claim a bound: enough outputs for statistics, at many K. [CLAIM-BOUND-CASES]

Two kinds of operands. Small integers, whose sums every accumulator has exactly: their bound is only that of the output,
so that nothing hides at any K. And numbers as quantized weights have them, where errors are those of real work.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ._case import Case
from ._stream import BFLOAT16, FLOAT8, FLOAT32, Array, Stream

# (M, N) and K: 1024 outputs are the fewest of which statistics can be made. [BOUND-STATISTICS]
SHAPES = {
    "quick": ((48, 64, 32), (64, 48, 128), (48, 64, 640), (32, 32, 4096), (32, 32, 16384)),
    "full": ((160, 256, 1024), (96, 64, 96), (64, 64, 8192), (32, 32, 65536)),
}
OUT = ("float32", "bfloat16")


def _integers(s: Stream, shape: tuple[int, int]) -> Array:
    """-1, 0 and 1: no partial sum of 16384 products needs more than 14 bits but by a rare chance."""
    return (s.integers(shape, 0, 3) - 1).astype(np.float32)


def _shapes(level: str) -> Iterator[tuple[int, int, int]]:
    yield from SHAPES["quick"]
    if level == "full":
        yield from SHAPES["full"]


def _scaled(level: str) -> Iterator[Case]:
    for m, n, k in _shapes(level):
        s = Stream(f"bound/scaled_mm/{m}x{n}x{k}")
        integers = [_integers(s, (rows, k)).astype(FLOAT8) for rows in (m, n)]
        bells = [s.code_bell((rows, k)) for rows in (m, n)]
        scales = [s.scales((rows, 1), -4, 0) for rows in (m, n)]
        one = np.float32(1)
        bias = s.normal((n,), BFLOAT16)
        kinds: dict[str, tuple[Any, ...]] = {
            "integers": (*integers, one, one),
            "bell": (*bells, *scales),
        }
        for out in OUT:
            for name, (a, b, a_scale, b_scale) in kinds.items():
                arguments = {"a": a, "b": b, "a_scale": a_scale, "b_scale": b_scale, "out_dtype": out}
                yield Case(f"bound/{name}/{m}x{n}x{k}/{out}", "scaled_mm", arguments)
            a, b, a_scale, b_scale = kinds["bell"]
            arguments = {"a": a, "b": b, "a_scale": a_scale, "b_scale": b_scale, "bias": bias, "out_dtype": out}
            if k <= 640:
                yield Case(f"bound/bias/{m}x{n}x{k}/{out}", "scaled_mm", arguments)


def _grouped(level: str) -> Iterator[Case]:
    for rows, n, k in ((96, 64, 256), (64, 48, 2048))[: 1 if level == "quick" else 2]:
        s = Stream(f"bound/grouped_mm/{rows}x{n}x{k}")
        offsets = np.array([0, rows // 2, rows // 2, rows], np.int32)  # the second expert has no rows
        for name, a, b in (
            ("integers", _integers(s, (rows, k)), _integers(s, (3 * n, k))),
            ("bell", s.code_bell((rows, k)), s.code_bell((3 * n, k))),
        ):
            operands = {"a": a.astype(FLOAT8), "b": b.astype(FLOAT8).reshape(3, n, k), "offsets": offsets}
            scales = {"a_scale": s.scales((rows, 1), -4, 0), "b_scale": s.scales((3, n, 1), -4, 0)}
            for out in OUT:
                yield Case(f"bound/{name}/{rows}x{n}x{k}/{out}", "grouped_mm", {**operands, **scales, "out_dtype": out})


def _linear(level: str) -> Iterator[Case]:
    for m, n, k in _shapes(level):
        s = Stream(f"bound/linear/{m}x{n}x{k}")
        yield Case(
            f"bound/integers/{m}x{n}x{k}",
            "linear",
            {"x": _integers(s, (m, k)).astype(BFLOAT16), "weight": _integers(s, (n, k)).astype(BFLOAT16)},
        )
        bias = s.normal((n,), FLOAT32).astype(BFLOAT16)
        yield Case(
            f"bound/bell/{m}x{n}x{k}", "linear", {"x": s.normal((m, k)), "weight": s.normal((n, k)), "bias": bias}
        )


MAKERS = {"scaled_mm": _scaled, "grouped_mm": _grouped, "linear": _linear}


def bound_cases(stem: str, level: str) -> Iterator[Case]:
    """The cases of an op, without the policies that a claim adds; none for ops without a bound."""
    if stem in MAKERS:
        yield from MAKERS[stem]("quick" if level == "quick" else "full")
