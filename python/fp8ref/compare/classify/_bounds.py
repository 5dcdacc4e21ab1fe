# SPDX-License-Identifier: Apache-2.0
"""Signs of the size of errors: what an accumulator could have given in an order that is not known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .._bits import difference
from .._bound import bound, exact_values
from .._units import FLOAT32
from ._evidence import Array, Evidence
from ._golden import REFUSED, full_arguments, real
from ._grouped_mm import experts


def in_float32(call: Evidence, calls: Sequence[Evidence]) -> str | None:
    """Errors are within the derived bound of float32 sums, whatever their order, where there is one. [BOUND-FLOAT32]"""
    del calls
    if call.function not in ("scaled_mm", "grouped_mm"):
        return None
    try:
        within = [_within(*part) for part in _parts(call)]
    except REFUSED:
        return None
    held = any(within) and False not in within
    return "float32 in an order of its own (errors within its bound)" if held else None


def _parts(call: Evidence) -> Iterator[tuple[dict[str, Any], Array, Array]]:
    """The products of a call: arguments, expected and actual results."""
    given = full_arguments(call)
    (want,), (have,) = call.expected.values(), call.got.values()
    if call.function == "scaled_mm":
        yield given, want, have
        return
    for part, own in experts(given):
        yield own, want[part], have[part]


def _within(given: dict[str, Any], want: Array, have: Array) -> bool | None:
    """None where nothing differs that has a bound."""
    shared = {name: given[name] for name in ("a", "b", "a_scale", "b_scale", "bias", "out_scale", "overflow")
              if name in given}  # fmt: skip
    limit = bound(**shared, out_dtype=given["out_dtype"], accumulate=FLOAT32, epilogue=given["epilogue"])
    error = np.abs(real(have) - exact_values(**shared))
    claimed = difference(want, have) & np.isfinite(limit)
    return bool(np.all((error <= limit)[claimed])) if claimed.any() else None
