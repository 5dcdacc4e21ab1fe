# SPDX-License-Identifier: Apache-2.0
"""Targets by the option that names them, for the command line and the pytest plugin."""

from __future__ import annotations

from collections.abc import Callable

from ._backend import BackendTarget
from ._callable import CallableTarget, functions_of
from ._library import LibraryTarget
from ._pipe import PipeTarget
from ._target import Target, TargetError

TIMEOUT = 120.0  # seconds for each case, of a library or a program at a pipe
Opener = Callable[[str, str, tuple[str, ...], float], Target]
OPENERS: dict[str, Opener] = {
    "target": lambda where, arrays, selected, timeout: CallableTarget.load(where, arrays, functions_of(selected)),
    "library": lambda where, arrays, selected, timeout: LibraryTarget.load(where, functions_of(selected), timeout),
    "pipe": lambda where, arrays, selected, timeout: PipeTarget(where, timeout),
    "backend": lambda where, arrays, selected, timeout: BackendTarget(where),
}


def open_target(
    kind: str, where: str, arrays: str = "", selected: tuple[str, ...] = (), timeout: float = TIMEOUT
) -> Target:
    """A target.

    Args:
        kind: ``target``, a Python function or module; ``backend``; and what else OPENERS has.
        where: its name or path.
        arrays: what a Python target takes.
        selected: the ops or functions that are to be checked.
        timeout: seconds that a library or a program has for each case.

    Raises:
        TargetError: it cannot be used; BackendError: no such backend here.

    Example:
        >>> open_target("backend", "golden").name
        'golden'
    """
    if kind not in OPENERS:
        raise TargetError(f"unknown kind of target {kind!r}; known: {', '.join(OPENERS)}")
    return OPENERS[kind](where, arrays, selected, timeout)
