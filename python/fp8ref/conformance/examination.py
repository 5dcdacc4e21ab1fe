# SPDX-License-Identifier: Apache-2.0
"""One op of a run: its cases one at a time, then what was found. [CLAIM-BITS] [CLAIM-XFAIL]"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..compare.classify import Evidence, Reason, classify
from .cases import Case, ModelCase
from .digest import Digest
from .judge import Judge
from .operands import describe
from .outcome import Mismatch, Outcome
from .picture import gallery, pictures
from .result import CaseResult, OpResult
from .xfails import Xfail, expectation

Answer = Callable[[Case | ModelCase], Outcome]
KEPT_BYTES = 1 << 28  # of the calls that reasons are looked for in
REPEATED_BYTES = 1 << 16  # of a call that is made again; larger ones only where there is no other
REPEATED, TIMES = 3, 4  # mismatching calls that are made again, and how often [CLASSIFY-AGAIN]
DESCRIBED = 50  # mismatches of an op whose operands are looked up


class Examination:
    """``golden`` and ``subject`` turn a case into its outcome.

    ``refused`` says whether cases that golden refuses are ``asked`` or ``skipped``. [CLAIM-CASES]

    Example:
        >>> from fp8ref.conformance import Claim, cases_of
        >>> from fp8ref.conformance.judge import judge_of
        >>> from fp8ref.conformance.targets import BackendTarget
        >>> golden = BackendTarget("golden").run
        >>> examination = Examination("residual", golden, golden, judge_of(Claim()))
        >>> examination.run(next(cases_of("residual", "quick"))).state
        'equal'
        >>> examination.finish().cases
        1
    """

    def __init__(
        self,
        stem: str,
        golden: Answer,
        subject: Answer,
        judge: Judge,
        xfails: Sequence[Xfail] = (),
        refused: str = "asked",
    ) -> None:
        self.result = OpResult(stem)
        self._refused = refused
        self._golden, self._subject, self._judge, self._xfails = golden, subject, judge, xfails
        self._digest = Digest()
        self._kept = 0
        self._cases: dict[str, Case] = {}  # of the evidence
        self._mismatch: Mismatch | None = None

    def run(self, case: Case | ModelCase) -> CaseResult:
        """Ask both, compare, and count; a case that is ``skipped`` does not count."""
        result = self.result
        start = time.perf_counter()
        expected = self._golden(case)
        if expected.error and self._refused == "skipped":
            self._mismatch = None
            return CaseResult(case.name, "skipped", time.perf_counter() - start, "golden refuses it")
        middle = time.perf_counter()
        got = self._subject(case)
        result.subject_seconds += time.perf_counter() - middle
        seconds = time.perf_counter() - start
        result.seconds += seconds
        result.cases += 1
        self._digest.add(case, expected)
        state, detail = self._judged(case, expected, got)
        result.ran.append(CaseResult(case.name, state, seconds, detail))
        return result.ran[-1]

    def finish(self) -> OpResult:
        """The totals, with reasons; the calls themselves are let go."""
        if not self.result.equal:
            self.result.reasons = (*classify(self._repeated()), *self._without_evidence())
        self.result.evidence.clear()
        self.result.digest = self._digest.text()
        return self.result

    def _without_evidence(self) -> tuple[Reason, ...]:
        """Reasons for mismatches of which no calls are kept: other refusals, whole models, too many bytes."""
        kept = {call.case for call in self.result.evidence}
        bare = [mismatch for mismatch in self.result.mismatches if mismatch.case not in kept]
        refused = tuple(mismatch.case for mismatch in bare if mismatch.output == "error")
        others = tuple(mismatch.case for mismatch in bare if mismatch.output != "error")
        found = []
        if refused:
            detail = "what is refused is not what golden refuses"
            found.append(Reason("interface", detail, len(refused), len(bare), refused))
        if others:
            found.append(Reason("unknown", "the calls are not kept for a search", 0, len(bare), others))
        return tuple(found)

    def _repeated(self) -> list[Evidence]:
        """The smallest mismatching calls made again, to see whether they give the same bits. [CLASSIFY-AGAIN]"""
        evidence = self.result.evidence
        wrong = sorted((call for call in evidence if not call.equal and not call.error), key=lambda call: call.size)
        wrong = [call for call in wrong if call.size <= REPEATED_BYTES] or wrong[:1]
        chosen = {id(call) for call in [*wrong[:1], *wrong[len(wrong) // 2 :][:1], *wrong[-1:]][:REPEATED]}
        found = []
        for call in evidence:
            if id(call) in chosen:
                again = tuple(self._subject(self._cases[call.case]).arrays for _ in range(TIMES))
                call = replace(call, again=again)
            found.append(call)
        return found

    @property
    def mismatch(self) -> Mismatch | None:
        """That of the last case."""
        return self._mismatch

    def _judged(self, case: Case | ModelCase, expected: Outcome, got: Outcome) -> tuple[str, str]:
        """The state of a case, and the words that go with it."""
        self._mismatch = None
        if got.unsupported:
            self.result.unsupported[got.unsupported] += 1
            return "unsupported", got.unsupported
        self.result.elements += sum(array.size for array in expected.arrays.values())
        mismatch = self._judge(case, expected, got)
        self._keep(case, expected, got, "equal" if mismatch is None else "differs")
        if mismatch is None:
            return "equal", ""
        if len(self.result.mismatches) < DESCRIBED:
            mismatch = replace(mismatch, operands=describe(case, mismatch, expected))
        self._mismatch = mismatch
        xfail = expectation(f"{self.result.op}/{case.name}", self._xfails)
        if xfail is not None:
            self.result.expected_failures.append(mismatch)
            return "expected", xfail.reason
        self.result.differing += mismatch.differing
        self.result.mismatches.append(mismatch)
        self.result.pictures = gallery([*self.result.pictures, *pictures(case.name, expected, got)])
        return "differs", ""

    def _keep(self, case: Case | ModelCase, expected: Outcome, got: Outcome, state: str) -> None:
        """The call, as evidence, while there is room."""
        if isinstance(case, ModelCase) or expected.error or self._kept >= KEPT_BYTES:
            return
        call = Evidence(
            case.name, case.function, case.arguments, expected.arrays, got.arrays, got.error, state == "equal"
        )
        self.result.evidence.append(call)
        self._cases[case.name] = case
        self._kept += call.size
