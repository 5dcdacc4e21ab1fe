# SPDX-License-Identifier: Apache-2.0
"""The HTML page in a real browser: table and plots are there, nothing is fetched, nothing complains. [REPORT-HTML]

Needs the extra ``browser`` and a Chromium (Debian: ``apt-get install chromium``); skipped without.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.defective import report_of
from fp8ref.conformance.report import to_html

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium of the system."""
    api = pytest.importorskip("playwright.sync_api", reason="the extra browser is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium here")
    with api.sync_playwright() as play:
        running = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["last_tile_never_written", "scales_in_the_other_order"])
def test_the_page_opens_without_errors(browser: Any, tmp_path: Path, name: str, width: int, scheme: str) -> None:
    path = tmp_path / "report.html"
    path.write_text(to_html(report_of(name)), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    assert complaints == []
    assert requests == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # only tables scroll, by themselves
    assert page.locator("#table tbody tr").count() == 1
    assert page.locator("#table tbody .verdict").inner_text() == "differs"
    assert page.locator(".mismatches tbody").count() == min(40, len(report_of(name).results[0].mismatches))
    for kind, least in (("histogram", 1), ("map", 2), ("errors", 1)):
        plots = page.locator(f"svg.{kind}").all()
        assert len(plots) >= least
        for plot in plots:
            box = plot.bounding_box()
            assert box["width"] > 60 and box["height"] > 20
            assert plot.locator("rect, path").count() > 1
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, dark.strip("rgb()").split(","))) < 200) == (scheme == "dark")
    bar, ground = (
        page.locator(f"svg {what}").first.evaluate("e => getComputedStyle(e).fill") for what in (".bar", ".ground")
    )
    assert len({bar, ground, dark, "rgb(0, 0, 0)"}) == 4  # every one has a colour of its own
    page.close()
