# SPDX-License-Identifier: Apache-2.0
"""Named inputs for every op: ``cases/<stem>.py`` yields them; none holds an expected value.

``quick`` is small and full of traps (midpoints, 464 and 480, subnormals, signed zeros, NaN, infinity, amax 0, K tails,
cancellation, extreme scales, cached prefixes); ``full`` adds larger shapes and sweeps; ``exhaustive`` adds all inputs
that a function of one float32 number has, for the modules that say what those are: ``exhaustive()``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from ._case import LEVELS, Case, ModelCase
from ._flags import FLAGS, flags_of

__all__ = ["FLAGS", "LEVELS", "Case", "ModelCase", "cases_of"]


def cases_of(stem: str, level: str) -> Iterator[Case | ModelCase]:
    """The cases of one op at a level of ``LEVELS``, in a fixed order, with their flags; made one at a time.

    Example:
        >>> next(cases_of("residual", "quick")).function
        'residual'
    """
    if level not in LEVELS:
        raise ValueError(f"unknown level {level!r}; known: {', '.join(LEVELS)}")
    module = importlib.import_module(f"{__name__}.{stem}")
    groups = [module.cases("full" if level == "exhaustive" else level)]
    if level == "exhaustive" and hasattr(module, "exhaustive"):
        groups.append(module.exhaustive())
    for case in chain.from_iterable(groups):
        yield replace(case, flags=flags_of(stem, case.name)) if isinstance(case, Case) else case
