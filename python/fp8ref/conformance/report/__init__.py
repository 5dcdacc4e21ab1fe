# SPDX-License-Identifier: Apache-2.0
"""What a run found, for people and for programs: a table, JSON, JUnit XML, one HTML page, a claim. spec/report.md

Example:
    >>> from fp8ref.conformance import check
    >>> import json
    >>> json.loads(to_json(check("golden", ["residual"])))["verdict"]
    'equal'
"""

from __future__ import annotations

from ._claim import to_claim
from ._html import to_html
from ._json import schema, to_json
from ._junit import to_junit
from ._table import print_report

__all__ = ["print_report", "schema", "to_claim", "to_html", "to_json", "to_junit"]
