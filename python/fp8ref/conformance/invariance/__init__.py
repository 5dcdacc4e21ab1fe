# SPDX-License-Identifier: Apache-2.0
"""Results that must not change: by batch, order of rows, parts of K, threads, repetition, padding. [INVARIANCE-STATES]

A target is compared with itself, so these checks find what no golden model needs to say.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from ..claim import Claim
from ..outcome import Arrays, Mismatch, Outcome, compare
from ..result import Invariance
from ..targets import Target
from ._checks import CHECKS, Change, Variation
from ._subjects import SUBJECTS, NotDefined, Subject

NAMES = tuple(CHECKS)

__all__ = ["NAMES", "invariances", "parse"]


def parse(text: str) -> tuple[str, ...] | None:
    """Names separated by commas; ``none`` is none of them, ``all`` all, and nothing the default.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> parse("batch,run")
        ('batch', 'run')
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words in (["none"], ["all"]):
        return () if words == ["none"] else NAMES
    unknown = [word for word in words if word not in NAMES]
    if unknown:
        raise ValueError(f"unknown invariance {unknown[0]!r}; known: {', '.join(NAMES)}, all, none")
    return tuple(words) or None


def invariances(
    target: Target,
    functions: Mapping[str, Sequence[str]],
    claim: Claim,
    names: Sequence[str] | None = None,
) -> Iterator[Invariance]:
    """Check a target against itself.

    Args:
        target: what is checked.
        functions: by op, those of the target's functions that are wanted.
        claim: what it claims to compute. Under ``bound`` a broken invariance is reported only.
        names: which of ``NAMES``, claimed whatever the claim is; None means all.

    Yields:
        One result for each op and name.
    """
    claimed = "reported" if claim.check == "bound" and names is None else "claimed"
    for stem, offered in functions.items():
        known = [function for function in offered if function in SUBJECTS]
        for name in names if known and names is not None else NAMES if known else ():
            subjects = chain.from_iterable(SUBJECTS[function](claim.of(function)) for function in known)
            state, detail = _state(target, f"{stem}/invariance/{name}", subjects)
            yield Invariance(stem, name, state, detail, claimed)


def _state(target: Target, call: str, subjects: Iterable[Subject]) -> tuple[str, str]:
    """``broken`` if it is so for one subject, ``held`` if anything was compared, else ``unsupported``."""
    compared, why, name = 0, "", call.rpartition("/")[2]
    for subject in subjects:
        try:
            for found in _compared(target, call, CHECKS[name](subject), subject):
                if isinstance(found, str):
                    why = why or found
                elif found is not None:
                    return "broken", _detail(subject, found)
                else:
                    compared += 1
        except NotDefined as reason:
            why = why or str(reason)
        finally:
            if name == "threads":
                target.set_threads(os.cpu_count() or 1)
    return ("held", f"{compared} comparisons") if compared else ("unsupported", why or "nothing to compare")


def _compared(
    target: Target, call: str, variations: Iterator[Variation], subject: Subject
) -> Iterator[Mismatch | str | None]:
    """For each variation a mismatch, why it could not be computed, or None if it is as it must be."""
    implied = frozenset(subject.policies)
    first: Arrays | None = None
    for variation in variations:
        if first is None:
            target.begin(call)
            whole = target.call(subject.function, subject.finished(subject.arguments), implied)
            if whole.unsupported or whole.error:
                yield whole.unsupported or f"{whole.error}: {whole.message}"
                return
            first = whole.arrays
        refused = target.set_threads(variation.threads) if variation.threads else ""
        if refused:
            yield refused
            return
        target.begin(call)
        got = target.call(subject.function, subject.finished(variation.arguments), implied)
        if got.unsupported:
            yield got.unsupported
        elif variation.expected is not None:
            yield _difference(variation, variation.expected, first, got)


def _difference(variation: Variation, expected: Change, first: Arrays, got: Outcome) -> Mismatch | None:
    """Results of a shape in which nothing can be looked for are a difference as well."""
    try:
        wanted = Outcome(expected(first))
        return compare(variation.label, wanted, got if got.error else Outcome(variation.part(got.arrays)))
    except (LookupError, TypeError, ValueError) as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in got.arrays.items())
        return Mismatch(variation.label, "outputs", (), f"{type(error).__name__}: {error}", shapes or "nothing", 1)


def _detail(subject: Subject, found: Mismatch) -> str:
    place = f"{found.output}[{', '.join(map(str, found.index))}]"
    return f"{subject.label}, {found.case}: {place} {found.expected} becomes {found.got}, {found.differing} differ"
