# SPDX-License-Identifier: Apache-2.0
"""Runs the cases on the golden model and on a target and compares every bit, or as the target's contract says.

Where the golden raises OpError a backend must raise it too; a stranger's target is not asked such cases.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from ..compare.classify import Evidence, classify
from ..table import ops
from .cases import Case, ModelCase
from .claim import EVERY, Claim, claimed_cases
from .judge import Judge, judge_of
from .outcome import Mismatch, Outcome
from .result import OpResult, Report
from .targets import BackendTarget, Target

Answer = Callable[[Case | ModelCase], Outcome]
KEPT_BYTES = 1 << 28  # of the calls that reasons are looked for in
REPEATED_BYTES = 1 << 18  # of a call that is made again; larger ones only where there is no other
REPEATED, TIMES = 3, 4  # mismatching calls that are made again, and how often [CLASSIFY-AGAIN]


def stems(subject: str) -> tuple[str, ...]:
    """The ops that a backend implements, in the table's order."""
    return tuple(op.stem for op in ops() if subject in op.backends)


def stems_of(target: Target) -> tuple[str, ...]:
    """The ops of which a target has a function, in the table's order; whole models are for backends."""
    if isinstance(target, BackendTarget) and target.name in {name for op in ops() for name in op.backends}:
        return stems(target.name)
    return tuple(op.stem for op in ops() if set(op.functions) & set(target.functions()))


def check_op(
    stem: str,
    cases: Iterable[Case | ModelCase],
    golden: Answer,
    subject: Answer,
    judge: Judge,
    xfails: Sequence[str] = (),
    on_case: Callable[[Case | ModelCase], None] | None = None,
) -> OpResult:
    """Run both on every case of an op. ``golden`` and ``subject`` turn a case into its outcome."""
    result = OpResult(stem)
    kept, cases_kept = 0, dict[str, Case]()
    for case in cases:
        if on_case is not None:
            on_case(case)
        start = time.perf_counter()
        expected = golden(case)
        middle = time.perf_counter()
        got = subject(case)
        result.subject_seconds += time.perf_counter() - middle
        result.seconds += time.perf_counter() - start
        result.cases += 1
        if got.unsupported:
            result.unsupported[got.unsupported] += 1
            continue
        result.elements += sum(array.size for array in expected.arrays.values())
        mismatch = judge(case, expected, got)
        if isinstance(case, Case) and not expected.error and kept < KEPT_BYTES:
            passed = mismatch is None
            call = Evidence(case.name, case.function, case.arguments, expected.arrays, got.arrays, got.error, passed)
            result.evidence.append(call)
            cases_kept[case.name] = case
            kept += call.size
        if mismatch is not None:
            _count(result, mismatch, xfails)
    if result.equal:
        result.evidence.clear()
    else:
        result.evidence = _repeated(result.evidence, cases_kept, subject)
        result.reasons = classify(result.evidence)
    return result


def _repeated(evidence: list[Evidence], cases: Mapping[str, Case], subject: Answer) -> list[Evidence]:
    """The smallest mismatching calls made again, to see whether they give the same bits. [CLASSIFY-AGAIN]"""
    wrong = sorted((call for call in evidence if not call.equal and not call.error), key=lambda call: call.size)
    wrong = [call for call in wrong if call.size <= REPEATED_BYTES] or wrong[:1]
    chosen = {id(call) for call in [*wrong[:1], *wrong[len(wrong) // 2 :][:1], *wrong[-1:]][:REPEATED]}
    found = []
    for call in evidence:
        if id(call) in chosen:
            again = tuple(subject(cases[call.case]).arrays for _ in range(TIMES))
            call = replace(call, again=again)
        found.append(call)
    return found


def _count(result: OpResult, mismatch: Mismatch, xfails: Sequence[str]) -> None:
    """A mismatch, or one that the tester expects. [CLAIM-XFAIL]"""
    if any(fnmatchcase(f"{result.op}/{mismatch.case}", pattern) for pattern in xfails):
        result.expected_failures.append(mismatch)
        return
    result.differing += mismatch.differing
    result.mismatches.append(mismatch)


def check(
    subject: str | Target,
    selected: Sequence[str] = (),
    level: str = "quick",
    on_op: Callable[[OpResult], None] | None = None,
    *,
    claim: Claim | None = None,
    pattern: str = "*",
    xfails: Sequence[str] = (),
    on_case: Callable[[Case | ModelCase], None] | None = None,
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

    Raises:
        BackendError: the backend is unknown or not installed.
        ValueError: an unknown op or level, or a claim that says too little of an op.

    Example:
        >>> check("golden", ["residual"]).equal
        True
    """
    target = BackendTarget(subject) if isinstance(subject, str) else subject
    native = isinstance(target, BackendTarget)
    stated = claim or (EVERY if native else Claim())
    reference = BackendTarget("golden")
    results = []
    for stem, functions in _wanted(target, selected).items():

        def answer(case: Case | ModelCase) -> Outcome:
            if isinstance(case, ModelCase):
                assert isinstance(target, BackendTarget)
                return target.run(case)
            return target.call(case.function, case.arguments, frozenset(stated.of(case.function)))

        cases = (
            case
            for case in claimed_cases(stem, level, stated)
            if fnmatchcase(f"{stem}/{case.name}", pattern) and _asked(case, functions, native)
        )
        results.append(check_op(stem, cases, reference.run, answer, judge_of(stated), xfails, on_case))
        if on_op is not None:
            on_op(results[-1])
    report = Report(target.name, level, tuple(results), str(stated), facts=target.facts())
    return replace(report, stale_xfails=_stale(report, xfails))


def _asked(case: Case | ModelCase, functions: tuple[str, ...], native: bool) -> bool:
    """Whether the target has the function; a stranger's is not asked what the golden refuses. [CLAIM-CASES]"""
    if isinstance(case, ModelCase):
        return native
    return case.function in functions and (native or not case.name.startswith("error/"))


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


def _stale(report: Report, xfails: Sequence[str]) -> tuple[str, ...]:
    """Patterns that no mismatch of the run needed."""
    failed = [f"{result.op}/{m.case}" for result in report.results for m in result.expected_failures]
    return tuple(pattern for pattern in xfails if not any(fnmatchcase(name, pattern) for name in failed))
