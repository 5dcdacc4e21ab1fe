# SPDX-License-Identifier: Apache-2.0
"""The conformance suite: named inputs for every op, golden against a backend, bit for bit.

Example:
    >>> from fp8ref.conformance import check
    >>> check("golden", ["residual"]).equal
    True
"""

from __future__ import annotations

from .cases import LEVELS, Case, ModelCase, cases_of
from .runner import Mismatch, OpResult, Outcome, Report, check, stems

__all__ = ["LEVELS", "Case", "Mismatch", "ModelCase", "OpResult", "Outcome", "Report", "cases_of", "check", "stems"]
