# SPDX-License-Identifier: Apache-2.0
"""What a run of the suite found: totals of each op, mismatches, reasons. Reports are made from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..compare.classify import Evidence, Reason
from .outcome import Mismatch
from .picture import Picture
from .xfails import Stale


@dataclass(frozen=True)
class Invariance:
    """Whether a result stays the same where it must: ``held``, ``broken`` or ``unsupported``."""

    op: str
    name: str  # batch, rows, split_k, threads, run, padding
    state: str
    detail: str = ""
    claimed: str = "claimed"  # "reported" where a broken one is no failure

    @property
    def broken(self) -> bool:
        """Whether it is a failure."""
        return self.state == "broken" and self.claimed == "claimed"


@dataclass(frozen=True)
class CaseResult:
    """What became of one case."""

    case: str
    state: str  # equal, differs, unsupported, or expected: a mismatch that the tester named
    seconds: float = 0.0
    detail: str = ""  # what the target said, or the tester's reason


@dataclass
class OpResult:
    """The totals of one op."""

    op: str
    cases: int = 0
    elements: int = 0
    differing: int = 0
    seconds: float = 0.0
    subject_seconds: float = 0.0
    mismatches: list[Mismatch] = field(default_factory=list)
    unsupported: Counter[str] = field(default_factory=Counter)  # by what the target said, cases
    expected_failures: list[Mismatch] = field(default_factory=list)  # mismatches of the tester's xfails
    reasons: tuple[Reason, ...] = ()
    evidence: list[Evidence] = field(default_factory=list)  # calls, until the reasons are found
    ran: list[CaseResult] = field(default_factory=list)  # every case, in order
    pictures: list[Picture] = field(default_factory=list)  # of some of the mismatches
    digest: str = ""  # of the cases and golden's results [REPORT-DIGEST]

    @property
    def equal(self) -> bool:
        """No case of the op differs in any way that was not expected."""
        return not self.mismatches

    @property
    def checked(self) -> int:
        """Cases that the target answered."""
        return self.cases - self.unsupported.total()

    @property
    def verdict(self) -> str:
        """``equal``, ``differs`` or, if no case was answered, ``unsupported``."""
        if not self.equal:
            return "differs"
        return "equal" if self.checked else "unsupported"


@dataclass(frozen=True)
class Report:
    """One run of the suite."""

    subject: str
    level: str
    results: tuple[OpResult, ...]
    contract: str = "every"
    invariances: tuple[Invariance, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    stale_xfails: tuple[Stale, ...] = ()
    left_out: tuple[str, ...] = ()  # functions of the target of which the claim says too little, and what it lacks
    date: str = ""  # when the run began, UTC
    command: str = ""  # how it was started
    who: str = ""  # who says so, for claims

    @property
    def equal(self) -> bool:
        """Every op is equal, and every claimed invariance holds."""
        return not any(item.broken for item in self.invariances) and all(result.equal for result in self.results)

    @property
    def verdict(self) -> str:
        """``equal``, ``differs``, or ``unsupported`` if the target answered no case."""
        if not self.equal:
            return "differs"
        return "equal" if any(result.verdict == "equal" for result in self.results) else "unsupported"
