# SPDX-License-Identifier: Apache-2.0
"""Which calls an order of sums can explain at all, so that costly hypotheses are tried only there. [CLASSIFY-SEARCH]"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._bits import difference
from ._evidence import Array, Evidence
from ._golden import full_arguments, real
from ._grouped_mm import experts
from ._memory import misshapen

SMALL_ERROR = 2.0**-4  # of the sum of magnitudes of an element's products; errors of sums are smaller
MOST = 0.5  # of the differing elements that must have such an error


def sums(call: Evidence) -> bool:
    """Whether most errors of a product are small beside what was added, or its results overflowed."""
    if call.equal or call.function not in ("scaled_mm", "grouped_mm"):
        return True
    if misshapen(call) or len(call.expected) != 1:
        return False
    given = full_arguments(call)
    (want,), (have,) = call.expected.values(), call.got.values()
    differs, size = difference(want, have), np.full(want.shape, np.inf)
    for part, own in experts(given) if call.function == "grouped_mm" else [(slice(None), given)]:
        size[part] = _magnitude(own)
    with np.errstate(all="ignore"):
        error = np.abs(real(have) - real(want))
        small = ~np.isfinite(error) | (error <= SMALL_ERROR * size)
    return bool(small[differs].mean() >= MOST)


def _magnitude(given: dict[str, Any]) -> Array:
    """The sum of magnitudes of each element's products, with the largest scales; infinite where it is not known."""
    with np.errstate(all="ignore"):
        a, b = (np.abs(real(given[name])) for name in "ab")
        scale = [np.max(np.abs(real(given[f"{name}_scale"])).reshape(-1), initial=0) for name in "ab"]
        rows = [
            np.abs(real(given[f"{name}_scale"])) if np.shape(given[f"{name}_scale"]) == (len(x), 1) else largest
            for name, x, largest in zip("ab", (a, b), scale, strict=True)
        ]
        bias = 0.0 if given.get("bias") is None else np.abs(real(given["bias"]))
        out = 1.0 if given.get("out_scale") is None else abs(float(given["out_scale"]))
        found = (np.nan_to_num(a) @ np.nan_to_num(b).T) * rows[0] * np.transpose(rows[1]) + bias
    return np.asarray(found * out)
