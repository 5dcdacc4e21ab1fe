# SPDX-License-Identifier: Apache-2.0
"""The conformance suite: named inputs for every op, golden against a target, bit for bit or as its contract says.

Example:
    >>> from fp8ref.conformance import check
    >>> check("golden", ["residual"]).equal
    True
"""

from __future__ import annotations

from . import invariance
from .cases import FLAGS, LEVELS, Case, ModelCase, cases_of
from .claim import EVERY, Claim
from .outcome import Mismatch, Outcome
from .result import CaseResult, Invariance, OpResult, Report
from .results import ResultsTarget
from .runner import check, stems
from .targets import BackendTarget, CallableTarget, LibraryTarget, PipeTarget, Target, TargetError
from .xfails import Stale, Xfail, XfailError

__all__ = [
    "EVERY",
    "FLAGS",
    "LEVELS",
    "BackendTarget",
    "CallableTarget",
    "Case",
    "CaseResult",
    "Claim",
    "Invariance",
    "LibraryTarget",
    "Mismatch",
    "ModelCase",
    "OpResult",
    "Outcome",
    "PipeTarget",
    "Report",
    "ResultsTarget",
    "Stale",
    "Target",
    "TargetError",
    "Xfail",
    "XfailError",
    "cases_of",
    "check",
    "invariance",
    "stems",
]
