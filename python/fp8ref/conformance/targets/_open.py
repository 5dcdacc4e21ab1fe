# SPDX-License-Identifier: Apache-2.0
"""Targets by the option that names them, for the command line and the pytest plugin."""

from __future__ import annotations

from collections.abc import Callable

from ._backend import BackendTarget
from ._callable import CallableTarget, functions_of
from ._library import LibraryTarget
from ._pipe import PipeTarget
from ._target import Target, TargetError

Opener = Callable[[str, str, tuple[str, ...]], Target]
OPENERS: dict[str, Opener] = {
    "target": lambda where, arrays, selected: CallableTarget.load(where, arrays, functions_of(selected)),
    "library": lambda where, arrays, selected: LibraryTarget.load(where, functions_of(selected)),
    "pipe": lambda where, arrays, selected: PipeTarget(where),
    "backend": lambda where, arrays, selected: BackendTarget(where),
}


def open_target(kind: str, where: str, arrays: str = "", selected: tuple[str, ...] = ()) -> Target:
    """A target.

    Args:
        kind: ``target``, a Python function or module; ``backend``; and what else OPENERS has.
        where: its name or path.
        arrays: what a Python target takes.
        selected: the ops or functions that are to be checked.

    Raises:
        TargetError: it cannot be used; BackendError: no such backend here.

    Example:
        >>> open_target("backend", "golden").name
        'golden'
    """
    if kind not in OPENERS:
        raise TargetError(f"unknown kind of target {kind!r}; known: {', '.join(OPENERS)}")
    return OPENERS[kind](where, arrays, selected)
