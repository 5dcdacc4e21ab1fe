# SPDX-License-Identifier: Apache-2.0
"""A report as one HTML page that needs nothing else: no script, no network. [REPORT-HTML]"""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, Any

from ...compare.classify import KINDS
from ..result import OpResult, Report
from . import _words
from ._plots import error_plot, histogram_plot, map_plot

if TYPE_CHECKING:
    from jinja2 import Template

SHOWN = 40  # mismatches of an op in its table; the JSON has all of them


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(place=_words.place, distance=_words.distance, histogram=_words.histogram)
    environment.globals.update(counted=_words.counted, SPEC=_words.SPEC)
    page = resources.files("fp8ref.conformance.report") / "page.html"
    return environment.from_string(page.read_text(encoding="utf-8"))


def to_html(report: Report) -> str:
    """The page: verdict, facts, ops; of each differing op reasons, plots and mismatches; what was refused or expected.

    Example:
        >>> from fp8ref.conformance import check
        >>> page = to_html(check("golden", ["residual"]))
        >>> page.startswith("<!DOCTYPE html>"), "<script" in page
        (True, False)
    """
    facts = {
        "target": report.subject,
        "contract": report.contract,
        "level": report.level,
        "date": report.date,
        **({"checked by": report.who} if report.who else {}),
        **report.facts,
        **_words.machine(),
    }
    page = _template().render(
        report=report,
        summary=_words.summary(report),
        facts={name: value for name, value in facts.items() if value},
        seconds=sum(result.seconds for result in report.results),
        differing=[_section(result) for result in report.results if not result.equal],
        shown=SHOWN,
    )
    return _words.clean(page)


def _section(result: OpResult) -> dict[str, Any]:
    """What the page says of an op that differs."""
    from markupsafe import Markup

    reasons = []
    for reason in result.reasons:
        page, clause = _words.CLAUSES[reason.kind]
        link = f"{_words.SPEC}/{page}.md"
        meaning = {"meaning": KINDS[reason.kind], "share": _words.share(reason)}
        reasons.append({"reason": reason, "link": link, "clause": clause, **meaning})
    counts = _words.total(result)
    pictures = [{"picture": picture, "map": Markup(map_plot(picture))} for picture in result.pictures]
    widest = max(result.pictures, key=lambda picture: len(picture.magnitudes), default=None)
    errors = None
    if widest is not None and len(widest.magnitudes) > 1:
        errors = {"picture": widest, "plot": Markup(error_plot(widest))}
    histogram = Markup(histogram_plot(counts)) if any(counts) else ""
    return {
        "result": result,
        "reasons": reasons,
        "histogram": histogram,
        "counts": counts,
        "pictures": pictures,
        "errors": errors,
    }
