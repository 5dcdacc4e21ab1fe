# SPDX-License-Identifier: Apache-2.0
"""Labelled mistakes: targets that are golden but for one mistake, each with the reason that the suite must give.

A mistake is a factory of a target's function, because some keep memory between calls. Those of ``defects*.py`` that
have a label in ``labels.py`` are mistakes too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fp8ref
from conformance.defects import DEFECTS, Defect
from conformance.labels import CLAIMS, LABELS
from fp8ref.conformance.targets._target import OUTPUTS

Array = Any
Function = Callable[..., Any]


@dataclass(frozen=True)
class Mistake:
    """``make()`` is the function as a careless implementation has it; ``kind`` is the reason that is right."""

    function: str
    kind: str
    name: str
    make: Callable[[], Function]
    claim: str = ""
    detail: str = ""  # what the reason's detail must hold

    @property
    def id(self) -> str:
        return f"{self.function}-{self.name}"


MISTAKES: list[Mistake] = []


def golden_of(function: str) -> Function:
    return getattr(fp8ref, function)


def signed(function: str, wrong: Function) -> Function:
    """A function of named arguments with the signature and defaults of golden's."""
    signature = inspect.signature(golden_of(function))
    own = inspect.signature(wrong).parameters.values()
    by_name = any(p.kind is p.VAR_KEYWORD for p in own) and not any(p.kind is p.VAR_POSITIONAL for p in own)

    def target(*positional: Any, **named: Any) -> Any:
        bound = signature.bind(*positional, **named)
        bound.apply_defaults()
        return wrong(**bound.arguments) if by_name else wrong(*bound.arguments.values())

    target.__signature__ = signature  # type: ignore[attr-defined]
    return target


def mistake(
    function: str, kind: str, claim: str = "", detail: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function, which takes golden's arguments by name."""
    assert function in OUTPUTS

    def register(wrong: Callable[..., Any]) -> Callable[..., Any]:
        MISTAKES.append(Mistake(function, kind, wrong.__name__, lambda: signed(function, wrong), claim, detail))
        return wrong

    return register


def remembering(
    function: str, kind: str, claim: str = "", detail: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function, which takes a list of the results so far, and golden's arguments by name."""

    def register(wrong: Callable[..., Any]) -> Callable[..., Any]:
        def make() -> Function:
            memory: list[Any] = []

            def remember(**arguments: Any) -> Any:
                return wrong(memory, **arguments)

            return signed(function, remember)

        MISTAKES.append(Mistake(function, kind, wrong.__name__, make, claim, detail))
        return wrong

    return register


def changed(function: str, kind: str, name: str, change: Callable[[Array], Array], claim: str = "") -> None:
    """Register golden's function with its (only) result changed."""

    def wrong(**arguments: Any) -> Array:
        with np.errstate(all="ignore"):
            return change(np.array(golden_of(function)(**arguments)))

    MISTAKES.append(Mistake(function, kind, name, lambda: signed(function, wrong), claim))


def _labelled(defect: Defect) -> Mistake:
    rules, modes = getattr(defect.wrong, "rules", ()), getattr(defect.wrong, "modes", ())
    claim = CLAIMS.get(defect.name, "") or (rules or modes or ("",))[0]
    kind = LABELS[defect.function, defect.name]
    return Mistake(defect.function, kind, defect.name, lambda: signed(defect.function, defect.wrong), claim)


def labelled_defects() -> list[Mistake]:
    """The defects that have a label."""
    return [_labelled(defect) for defect in DEFECTS if (defect.function, defect.name) in LABELS]
