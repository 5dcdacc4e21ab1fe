# SPDX-License-Identifier: Apache-2.0
"""Seeded defects as targets, and one report of a run that has something of everything; for tests of reports."""

from __future__ import annotations

import functools
import inspect
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import fp8ref
from conformance.defects import DEFECTS
from fp8ref.conformance import CallableTarget, Claim, Invariance, Report, check

ODD = "a.package.whose.name.says.everything.about.it.and.<more>&:scaled_mm"


# For programs in other folders: fp8ref from where this process has it.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(fp8ref.__file__).parents[1])}


def target_of(name: str, title: str = "") -> CallableTarget:
    """A defect of tests/conformance/defects.py, called as a stranger's function is."""
    defect = next(defect for defect in DEFECTS if defect.name == name)
    signature = inspect.signature(getattr(fp8ref, defect.function))

    def wrong(*positional: Any, **named: Any) -> Any:
        bound = signature.bind(*positional, **named)
        bound.apply_defaults()
        if bound.arguments.get("out_dtype") == "float16":
            raise NotImplementedError("no float16 \x00 <here>")
        return defect.wrong(**bound.arguments)

    wrong.__signature__ = signature
    return CallableTarget({defect.function: wrong}, name=title or f"defects:{defect.function}")


@functools.cache
def report_of(name: str) -> Report:
    """scaled_mm with a defect: mismatches, refusals, an expected failure, stale ones, invariances."""
    xfails = ("scaled_mm/1x65x64/rows/*", "scaled_mm/5x7x32/*", "scaled_mm/nothing/*")
    report = check(target_of(name, ODD), ["scaled_mm"], claim=Claim.parse("exact"), xfails=xfails)
    kept = (
        Invariance("scaled_mm", "batch", "held"),
        Invariance("scaled_mm", "run", "broken", "out[0, 0] is 0x3f80, then 0x3f81"),
        Invariance("scaled_mm", "threads", "unsupported", "the module has no set_threads"),
        Invariance("scaled_mm", "split_k", "broken", "not the same bits", "reported"),
    )
    return replace(report, invariances=kept, command="fp8ref check --target <x>&y", who="a tester")
