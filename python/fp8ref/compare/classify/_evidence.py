# SPDX-License-Identifier: Apache-2.0
"""What a classification starts from, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# The closed list of reasons, with what each means. [CLASSIFY-KINDS]
KINDS: dict[str, str] = {
    "tie_rule": "midpoints go another way than to the even neighbour",
    "truncation": "results are cut, or rounded in one direction, instead of to the nearest number",
    "double_rounding": "a result is rounded to another type on its way",
    "missing_rounding": "a rounding point of the specification is left out, or moved",
    "overflow_policy": "what lies beyond the largest number is saturated, or not, against the policy",
    "subnormal_flush": "subnormal numbers become zero, as inputs or as results",
    "special_values": "NaN, infinity or the sign of zero is treated in another way",
    "scale_rule": "the scale is chosen by another rule",
    "reciprocal": "a division is a multiplication with a rounded reciprocal",
    "accumulator": "products are added up by another accumulator",
    "epilogue_order": "scales and bias are applied in another order",
    "factor": "results are a constant multiple of what they should be",
    "scale_broadcast": "a scale is applied to the wrong rows, columns or blocks, or not at all",
    "layout": "operands or results are transposed, permuted or strided in another way",
    "k_tail": "the last elements of K are left out, or read from beyond",
    "group_boundary": "rows are given to the wrong group",
    "stale_output": "parts of the result are what the memory held before",
    "unwritten": "parts of the result, or all of it, are zeros",
    "nondeterministic": "the same call does not give the same bits",
    "interface": "another type or shape, or an exception",
    "unknown": "none of the hypotheses fits",
}


@dataclass(frozen=True)
class Evidence:
    """One call of a function: what went in, what was right, what came back."""

    case: str
    function: str
    arguments: Mapping[str, Any]
    expected: Mapping[str, Array]
    got: Mapping[str, Array]
    error: str = ""  # the exception, if one was raised
    equal: bool = False  # whether the case passed
    again: tuple[Mapping[str, Array], ...] = ()  # what repetitions of the call gave

    @property
    def size(self) -> int:
        """Bytes that it keeps alive."""
        arrays = (*self.arguments.values(), *self.expected.values(), *self.got.values())
        return sum(x.nbytes for x in arrays if isinstance(x, np.ndarray))


@dataclass(frozen=True)
class Reason:
    """One of KINDS with details, and how many of the mismatching cases it reproduces in every bit."""

    kind: str
    detail: str
    explains: int
    of: int
    cases: tuple[str, ...] = ()  # the names of those that it explains

    def __str__(self) -> str:
        share = f" ({self.explains} of {self.of} cases, bit for bit)" if self.of else ""
        return f"{self.kind}: {self.detail}{share}"
