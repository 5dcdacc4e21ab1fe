# SPDX-License-Identifier: Apache-2.0
"""The unknown scaled_mm: dot products in, numbers out. [FINGERPRINT-CALLS]"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..outcome import Array, Outcome
from ..targets import Target, TargetError

FLOAT8 = np.dtype(ml_dtypes.float8_e4m3fn)
OUT_DTYPES = ("float32", "bfloat16", "float16")  # what is asked for, the first that is supported
ROWS = 128
Float64 = NDArray[np.float64]
Terms = Mapping[int, float | tuple[float, float]]  # products, or their factors, by their place along K


class RefusedError(TargetError):
    """The target does not support a call."""


@cache
def factors(value: float) -> tuple[float, float]:
    """Two E4M3 numbers with that product, both normal where the product allows it.

    Raises:
        ValueError: there are none.
    """
    if value == 0:
        return 0.0, 0.0
    exponent = int(np.frexp(abs(value))[1]) - 1
    for low in sorted(range(-9, 9), key=lambda low: abs(low - exponent / 2)):
        left, right = value * 2.0**-low, 2.0**low
        if abs(left) <= 448 and float(np.float32(left).astype(FLOAT8)) == left:
            return left, right
    raise ValueError(f"{value} is no product of two E4M3 numbers")


class Subject:
    """A target that is asked for scaled products, always of the same M and N: a kernel may choose its way by them.

    Args:
        target: it must have ``scaled_mm``.
        given: arguments that every call has, such as ``accumulate``.
        rows: M and N.
        out_dtype: the only type to ask for; by default the first of ``OUT_DTYPES`` that is supported.

    Raises:
        TargetError: it supports none of the types.
    """

    def __init__(
        self, target: Target, given: Mapping[str, Any] | None = None, rows: int = ROWS, out_dtype: str = ""
    ) -> None:
        if "scaled_mm" not in target.functions():
            raise TargetError(f"target {target.name} has no scaled_mm")
        self.target, self.given, self.rows = target, dict(given or {}), rows
        self.calls = 0
        self.scales = "one value"
        a = np.ones((rows, 256), np.float32).astype(FLOAT8)
        reason = ""
        for self.out_dtype in (out_dtype,) if out_dtype else OUT_DTYPES:
            for self.scales in ("one value", "rows"):
                outcome = self._outcome(a, a)
                if not (outcome.unsupported or outcome.error):
                    return
                failed = f"{outcome.error}: {outcome.message}" if outcome.error else ""
                reason = failed or reason or outcome.unsupported
        raise TargetError(f"target {target.name} answers no call of scaled_mm: {reason}")

    def _outcome(self, a: Array, b: Array, a_scale: Any = 1.0, b_scale: Any = 1.0, **more: Any) -> Outcome:
        self.calls += 1
        scales = [np.asarray(s, np.float32) for s in (a_scale, b_scale)]
        if self.scales == "rows":
            scales = [np.broadcast_to(s.reshape(-1, 1), (len(x), 1)) for s, x in zip(scales, (a, b), strict=True)]
        arguments = {"a": a, "b": b, "a_scale": scales[0], "b_scale": scales[1], "out_dtype": self.out_dtype}
        # The claimed policies are no part of the question: a target without such arguments is asked all the same.
        implied = frozenset({"accumulate", "epilogue"} - set(self.given))
        return self.target.call("scaled_mm", {**arguments, **self.given, **more}, implied)

    def mm(self, a: Array, b: Array, a_scale: Any = 1.0, b_scale: Any = 1.0, **more: Any) -> Array:
        """The target's result, of its own type.

        Raises:
            RefusedError: it does not support that, or raises an error.
        """
        outcome = self._outcome(a, b, a_scale, b_scale, **more)
        if outcome.unsupported or outcome.error:
            raise RefusedError(outcome.unsupported or f"{outcome.error}: {outcome.message}")
        out = next(iter(outcome.arrays.values()))
        wanted = more.get("out_dtype", self.out_dtype)
        if out.shape != (len(a), len(b)) or out.dtype.name != wanted:
            have = f"{out.dtype.name}{out.shape}"
            raise RefusedError(f"scaled_mm returned {have}, expected {wanted}{(len(a), len(b))}")
        return out

    def dots(self, experiments: Sequence[Terms], k: int) -> Float64:
        """The dot product of each experiment, with scales 1: experiment i is row i of a and row i of b. All else is 0.

        Each answer is that of one output on the diagonal; what a matrix product does for one output does not depend
        on the others.
        """
        found = []
        for first in range(0, len(experiments), self.rows):
            a, b = np.zeros((self.rows, k), np.float32), np.zeros((self.rows, k), np.float32)
            batch = experiments[first : first + self.rows]
            for row, terms in enumerate(batch):
                for place, value in terms.items():
                    a[row, place], b[row, place] = value if isinstance(value, tuple) else factors(value)
            out = self.mm(a.astype(FLOAT8), b.astype(FLOAT8))
            found.append(np.diagonal(out).astype(np.float64)[: len(batch)])
        return np.concatenate(found)
