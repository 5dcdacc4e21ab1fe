# SPDX-License-Identifier: Apache-2.0
"""Runs the cases on the golden model and on a target and compares every bit, or as the target's contract says.

Where the golden raises OpError a backend must raise it too; a stranger's target is not asked such cases.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from ..table import ops
from .cases import Case, ModelCase
from .claim import EVERY, Claim, claimed_cases
from .examination import Examination
from .invariance import invariances
from .judge import judge_of
from .outcome import Outcome
from .result import OpResult, Report
from .targets import BackendTarget, Target
from .xfails import Xfail, stale


def stems(subject: str) -> tuple[str, ...]:
    """The ops that a backend implements, in the table's order."""
    return tuple(op.stem for op in ops() if subject in op.backends)


def stems_of(target: Target) -> tuple[str, ...]:
    """The ops of which a target has a function, in the table's order; whole models are for backends."""
    if isinstance(target, BackendTarget) and target.name in {name for op in ops() for name in op.backends}:
        return stems(target.name)
    return tuple(op.stem for op in ops() if set(op.functions) & set(target.functions()))


def check(
    subject: str | Target,
    selected: Sequence[str] = (),
    level: str = "quick",
    on_op: Callable[[OpResult], None] | None = None,
    *,
    claim: Claim | None = None,
    pattern: str = "*",
    xfails: Sequence[str | Xfail] = (),
    on_case: Callable[[Case | ModelCase], None] | None = None,
    invariance: Sequence[str] | None = None,
) -> Report:
    """Golden against a target, bit for bit or as its contract says.

    Args:
        subject: a backend's name (``golden`` compares the golden model with itself), or a target.
        selected: stems of spec/ops.toml or names of their functions; none means all that the target has.
        level: ``quick`` (under a minute), ``full`` or ``exhaustive``.
        on_op: called after each op, for progress.
        claim: what the target says it computes; by default the defaults of the golden functions, for a backend every
            policy. [CLAIM-CONTRACT]
        pattern: only cases whose ``op/name`` matches it, as in a shell.
        xfails: patterns of cases whose mismatches the tester expects. [CLAIM-XFAIL]
        on_case: called before each case.
        invariance: names of invariances to check, each of them claimed; by default all for a target that is no
            backend, claimed unless the claim is a bound. [INVARIANCE-STATES]

    Raises:
        BackendError: the backend is unknown or not installed.
        ValueError: an unknown op or level, or a claim that says too little of an op.

    Example:
        >>> check("golden", ["residual"]).equal
        True
    """
    date = now()
    plan = Plan.of(subject, selected, level, claim, pattern)
    expected = tuple(xfail if isinstance(xfail, Xfail) else Xfail(xfail) for xfail in xfails)
    results = []
    for stem in plan.functions:
        examination = plan.examination(stem, expected)
        for case in plan.cases(stem):
            if on_case is not None:
                on_case(case)
            examination.run(case)
        results.append(examination.finish())
        if on_op is not None:
            on_op(results[-1])
    names = () if invariance is None and isinstance(plan.target, BackendTarget) else invariance
    kept = tuple(invariances(plan.target, plan.functions, plan.claim, names))
    return replace(plan.report(results, expected, date), invariances=kept)


@dataclass(frozen=True)
class Plan:
    """What a run asks of a target: the claim, and the functions of each op."""

    target: Target
    claim: Claim
    level: str
    pattern: str
    functions: Mapping[str, tuple[str, ...]]  # by op
    left_out: tuple[str, ...] = ()  # functions that nobody named, and of which the claim says too little

    @staticmethod
    def of(
        subject: str | Target,
        selected: Sequence[str] = (),
        level: str = "quick",
        claim: Claim | None = None,
        pattern: str = "*",
    ) -> Plan:
        """The arguments of :func:`check`."""
        target = BackendTarget(subject) if isinstance(subject, str) else subject
        stated = claim or (EVERY if isinstance(target, BackendTarget) else Claim())
        wanted, left_out = _wanted(target, selected), dict[str, str]()
        for function in () if selected else [name for names in wanted.values() for name in names]:
            try:
                stated.of(function)
            except ValueError as error:
                left_out[function] = str(error)
        asked = {stem: tuple(name for name in names if name not in left_out) for stem, names in wanted.items()}
        functions = {stem: names for stem, names in asked.items() if names or not wanted[stem]}
        return Plan(target, stated, level, pattern, functions, tuple(left_out.values()))

    def cases(self, stem: str) -> Iterator[Case | ModelCase]:
        """The cases of an op, made one at a time."""
        native = isinstance(self.target, BackendTarget)
        for case in claimed_cases(stem, self.level, self.claim, self.functions[stem]):
            if fnmatchcase(f"{stem}/{case.name}", self.pattern) and _asked(case, native):
                yield case

    def examination(self, stem: str, xfails: Sequence[Xfail]) -> Examination:
        """Of an op. What golden refuses, a backend must refuse, and a stranger is not asked. [CLAIM-CASES]"""

        def answer(case: Case | ModelCase) -> Outcome:
            if isinstance(case, ModelCase):
                assert isinstance(self.target, BackendTarget)
                return self.target.run(case)
            self.target.begin(f"{stem}/{case.name}")
            return self.target.call(case.function, case.arguments, frozenset(self.claim.of(case.function)))

        refused = "asked" if isinstance(self.target, BackendTarget) else "skipped"
        return Examination(stem, _reference().run, answer, judge_of(self.claim), xfails, refused)

    def report(self, results: Sequence[OpResult], xfails: Sequence[Xfail], date: str) -> Report:
        """What the run found."""
        ran = [f"{result.op}/{case.case}" for result in results for case in result.ran]
        failed = [f"{result.op}/{m.case}" for result in results for m in result.expected_failures]
        offered = set(self.target.functions())
        whole = self.pattern == "*" and all(
            set(op.functions) & offered <= set(self.functions.get(op.stem, op.functions)) for op in ops()
        )
        old = stale(xfails, ran, failed, [result.op for result in results], "all" if whole else "some")
        facts = self.target.facts()
        return Report(
            self.target.name,
            self.level,
            tuple(results),
            str(self.claim),
            facts=facts,
            stale_xfails=old,
            left_out=self.left_out,
            date=date,
        )


@functools.cache
def _reference() -> BackendTarget:
    return BackendTarget("golden")


def now() -> str:
    """The time as reports have it: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _asked(case: Case | ModelCase, native: bool) -> bool:
    """Whole models are asked of backends only, and so is what the golden refuses. [CLAIM-CASES]"""
    return native or (isinstance(case, Case) and "misuse" not in case.flags)


def _wanted(target: Target, selected: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The functions to check, by op."""
    offered = target.functions()
    known = stems_of(target)
    wanted: dict[str, tuple[str, ...]] = {}
    for name in selected or known:
        owner = next((op for op in ops() if name == op.stem or name in op.functions), None)
        if owner is None or owner.stem not in known:
            raise ValueError(f"unknown op {name!r}; known: {', '.join(known)}")
        functions = owner.functions if name == owner.stem else (name,)
        wanted[owner.stem] = (*wanted.get(owner.stem, ()), *(f for f in functions if f in offered))
    return wanted
