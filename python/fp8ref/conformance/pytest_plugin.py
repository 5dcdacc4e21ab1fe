# SPDX-License-Identifier: Apache-2.0
"""The suite as tests of pytest: one for each case. ``fp8ref_pytest`` has the options. [REPORT-PYTEST]"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import pytest

from ..compare.classify import Reason
from ..errors import Fp8RefError
from .cases import Case, ModelCase
from .claim import Claim
from .examination import Examination
from .report._words import clean, details, message, share
from .runner import Plan
from .targets import open_target
from .xfails import Xfail, read_xfails, stale

OUTPUT = "fp8ref"  # the key of what a process of pytest-xdist sends home


class Differs(Exception):
    """A case is wrong; the text says where."""


class Suite:
    """The plugin: collects the cases of the target that the options name, and says at the end why they differ.

    Args:
        config: pytest's.
        kinds: the options that name a target, by the kinds of :func:`~fp8ref.conformance.targets.open_target`.
        options: the texts of all options.

    Raises:
        pytest.UsageError: two targets, an unknown contract, a target that cannot be opened.
    """

    def __init__(self, config: pytest.Config, kinds: Mapping[str, str], options: Mapping[str, str]) -> None:
        named = {kind: where for kind, where in kinds.items() if where}
        if len(named) != 1:
            raise pytest.UsageError(f"fp8ref: one target is needed, got {' and '.join(f'--fp8ref-{k}' for k in named)}")
        ((self._kind, self.where),) = named.items()
        self._options = options
        self._examinations: dict[str, Examination] = {}
        self._cursors: dict[str, Cursor] = {}
        self.collected = 0
        self._results: list[dict[str, Any]] = []
        self.plan: Plan | None = None
        try:
            self.xfails: tuple[Xfail, ...] = read_xfails(options["xfails"]) if options["xfails"] else ()
            if not _distributes(config):
                self.plan = self._planned()
        except (Fp8RefError, ValueError) as error:
            raise pytest.UsageError(f"fp8ref: {error}") from error
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            config.args = []  # without paths the cases are all there is to run

    def _planned(self) -> Plan:
        selected = tuple(filter(None, (word.strip() for word in self._options["ops"].split(","))))
        target = open_target(self._kind, self.where, self._options["arrays"], selected)
        claim = Claim.parse(self._options["contract"]) if self._options["contract"] else None
        plan = Plan.of(target, selected, self._options["level"], claim, self._options["cases"])
        for functions in plan.functions.values():
            for function in functions:
                plan.claim.of(function)
        return plan

    # ---- collection --------------------------------------------------------------------------------------------------
    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """The cases come after what else is collected."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed and self.plan is not None:
            report.result.append(Cases.from_parent(collector, name="fp8ref", nodeid="fp8ref", suite=self))
        return report

    def pytest_report_header(self) -> str:
        """What is checked."""
        from .. import __version__

        contract = self._options["contract"] or (str(self.plan.claim) if self.plan else "defaults")
        facts = [f"{name} {value}" for name, value in (self.plan.target.facts() if self.plan else {}).items()]
        words = [f"{self._kind} {self.where}", f"contract {contract}", f"level {self._options['level']}", *facts]
        return f"fp8ref {__version__}: {', '.join(words)}"

    # ---- running -----------------------------------------------------------------------------------------------------
    def run(self, op: str, name: str) -> None:
        """One case; raises what pytest takes for its outcome."""
        assert self.plan is not None
        if op not in self._examinations:
            self._cursors[op] = Cursor(self.plan, op)
            self._examinations[op] = self.plan.examination(op, self.xfails)
        examination = self._examinations[op]
        case = examination.run(self._cursors[op].seek(name))
        if case.state in ("unsupported", "skipped"):
            pytest.skip(clean(f"{case.state}: {case.detail}"))
        if case.state == "expected":
            pytest.xfail(case.detail or "expected by the tester")
        if examination.mismatch is not None:
            raise Differs(clean("\n".join([message(examination.mismatch), *details(examination.mismatch)])))

    # ---- the end -----------------------------------------------------------------------------------------------------
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Look for reasons; a process of pytest-xdist sends them home."""
        for op, examination in self._examinations.items():
            result = examination.finish()
            found = {
                "op": op,
                "differ": [m.case for m in result.mismatches],
                "expected": [m.case for m in result.expected_failures],
                "ran": [case.case for case in result.ran],
                "reasons": [[r.kind, r.detail, r.explains, r.of] for r in result.reasons],
            }
            self._results.append(found)
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[OUTPUT] = {"results": self._results, "collected": self.collected}
        if self.plan is not None:
            self.plan.target.close()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """What a process of pytest-xdist found."""
        sent = getattr(node, "workeroutput", {}).get(OUTPUT)
        if sent:
            self._results += sent["results"]
            self.collected = max(self.collected, sent["collected"])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The reasons for the mismatches, and expectations that are stale."""
        lines = [*self._reasons(), *self._stale()]
        if lines:
            terminalreporter.section("fp8ref")
            for line in lines:
                terminalreporter.write_line(line)

    def _reasons(self) -> Iterator[str]:
        for op in dict.fromkeys(found["op"] for found in self._results):
            parts = [found for found in self._results if found["op"] == op]
            differ = sum(len(found["differ"]) for found in parts)
            if differ:
                yield f"{op}: {differ} of {sum(len(found['ran']) for found in parts)} cases differ"
            explained, of = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
            for kind, detail, explains, cases in (row for found in parts for row in found["reasons"]):
                explained[kind, detail] += explains
                of[kind, detail] += cases
            for key, explains in explained.most_common():
                words = ", ".join(filter(None, (key[1], share(Reason(*key, explains, of[key])))))
                yield f"  {key[0]}: {words}"

    def _stale(self) -> Iterator[str]:
        def names(what: str) -> list[str]:
            return [f"{found['op']}/{case}" for found in self._results for case in found[what]]

        ran = names("ran")
        scope = "all" if len(ran) == self.collected and self._options["cases"] == "*" else "some"
        stems = [found["op"] for found in self._results]
        yield from map(str, stale(self.xfails, ran, names("expected"), stems, scope))


class Cursor:
    """Cases are made anew when they run, in order, so that only one of them is in memory."""

    def __init__(self, plan: Plan, op: str) -> None:
        self._plan, self._op = plan, op
        self._cases = plan.cases(op)

    def seek(self, name: str) -> Case | ModelCase:
        """The case of that name: further on, or from the beginning."""
        for _ in range(2):
            for case in self._cases:
                if case.name == name:
                    return case
            self._cases = self._plan.cases(self._op)
        raise KeyError(f"{self._op}/{name}")


class Cases(pytest.Collector):
    """All cases of the target."""

    def __init__(self, *, suite: Suite, **rest: Any) -> None:
        super().__init__(**rest)
        self._suite = suite

    def collect(self) -> Iterator[pytest.Item]:
        """One item for each case."""
        assert self._suite.plan is not None
        for op in self._suite.plan.functions:
            for case in self._suite.plan.cases(op):
                self._suite.collected += 1
                name = f"{op}/{case.name}"
                yield CaseItem.from_parent(
                    self, name=name, nodeid=f"fp8ref::{name}", suite=self._suite, place=(op, case.name)
                )


class CaseItem(pytest.Item):
    """One case."""

    def __init__(self, *, suite: Suite, place: tuple[str, str], **rest: Any) -> None:
        super().__init__(**rest)
        self._suite, self._place = suite, place

    def runtest(self) -> None:
        """Ask golden and the target, and compare."""
        self._suite.run(*self._place)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The mismatch alone: a traceback into the suite would say nothing."""
        if isinstance(excinfo.value, Differs):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """The name that headings show."""
        return self.path, None, self.name


def _distributes(config: pytest.Config) -> bool:
    """Whether this process only hands out work to others. [REPORT-PYTEST]"""
    return config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
