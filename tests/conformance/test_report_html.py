# SPDX-License-Identifier: Apache-2.0
"""The HTML page: well formed, complete, in need of nothing else; its plots say what they should. [REPORT-HTML]"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import ml_dtypes
import numpy as np
import pytest

from conformance.defective import ODD, report_of
from fp8ref.conformance import Outcome
from fp8ref.conformance.outcome import HISTOGRAM_LABELS
from fp8ref.conformance.picture import CELLS, gallery, pictures, reduced
from fp8ref.conformance.report import to_html
from fp8ref.conformance.report._plots import error_plot, histogram_plot, map_plot

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "link", "br"}
DEFECTS = ("last_tile_never_written", "scales_in_the_other_order")


class Page(HTMLParser):
    """Tags must be closed in order; keeps ids, links and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.text += " "
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not any(name.startswith("on") for name in values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _svgs(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


@pytest.mark.parametrize("name", DEFECTS)
def test_the_page_stands_alone_and_is_whole(name: str) -> None:
    text = to_html(report_of(name))
    page = Page(text)
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    assert {"summary", "ops", "table", "op-scaled_mm", "mismatches-scaled_mm", "xfails", "unsupported"} <= set(page.ids)
    for link in page.links:
        assert link == "data:," or link.startswith("https://github.com/fp8ref/") or link.removeprefix("#") in page.ids
    assert not re.search(r"@import|url\(|src=", text)  # nothing is fetched
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


@pytest.mark.parametrize("name", DEFECTS)
def test_the_page_says_what_the_report_says(name: str) -> None:
    report = report_of(name)
    (result,) = report.results
    text = " ".join(Page(to_html(report)).text.split())
    assert ODD in text  # escaped once, and no more
    for mismatch in result.mismatches[:40]:
        assert f"{mismatch.case} {mismatch.output}[" in text
        assert f"{mismatch.expected} {mismatch.got}" in text
        assert all(operand in text for operand in mismatch.operands)
    assert "fp8ref check --target <x>&y" in text
    assert "a tester" in text
    assert "no float16 \\x00 <here>" in text
    for reason in result.reasons:
        assert reason.kind.replace("_", " ") in text
        assert reason.detail in text
    assert "stale scaled_mm/nothing/*: no case of this run has such a name" in text
    assert "out[0, 0] is 0x3f80, then 0x3f81" in text


@pytest.mark.parametrize("name", DEFECTS)
def test_every_plot_has_a_title_and_a_size(name: str) -> None:
    (result,) = report_of(name).results
    plots = _svgs(to_html(report_of(name)))
    kinds = [plot.get("class") for plot in plots]
    assert kinds.count("histogram") == 1
    assert kinds.count("map") == len(result.pictures) >= 2
    assert kinds.count("errors") == 1
    for plot in plots:
        assert plot[0].tag == f"{SVG}title"
        assert plot[0].text
        assert plot.get("role") == "img"
        _, _, width, height = map(float, (plot.get("viewBox") or "").split())
        assert width >= 100
        assert height >= 20
        for shape in plot.iter(f"{SVG}rect"):
            x, y, w, h = (float(shape.get(key, "nan")) for key in ("x", "y", "width", "height"))
            assert x >= 0 and y >= 0 and x + w <= width and y + h <= height


# ---- plots -----------------------------------------------------------------------------------------------------------
def _picture(expected: np.ndarray, got: np.ndarray) -> object:
    (found,) = pictures("a case", Outcome({"out": expected}), Outcome({"out": got}))
    return found


def test_a_map_counts_every_difference_once() -> None:
    """[REPORT-PICTURES]"""
    rng = np.random.default_rng(5)
    for shape in ((1, 1), (3, 500), (300, 7), (129, 257), (1000, 1000)):
        different = rng.random(shape) < 0.2
        cell, counts = reduced(different)
        assert counts.sum() == different.sum()
        assert max(counts.shape) <= CELLS
        for _ in range(20):
            i, j = (int(rng.integers(n)) for n in counts.shape)
            part = different[i * cell[0] : (i + 1) * cell[0], j * cell[1] : (j + 1) * cell[1]]
            assert counts[i, j] == part.sum()


def test_a_map_shows_the_tile_that_is_wrong() -> None:
    expected = np.ones((256, 250), np.float32)
    got = expected.copy()
    got[128:192, 64:] = 0
    found = _picture(expected, got)
    plot = ElementTree.fromstring(map_plot(found))
    (path,) = plot.iter(f"{SVG}path")
    assert path.get("class") == "shade4"  # whole cells
    runs = re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)", path.get("d", ""))
    rows = sorted(float(y) for _, y, _ in runs)
    size = rows[1] - rows[0]
    top = float(next(plot.iter(f"{SVG}rect")).get("y", ""))
    assert [round((y - top) / size) for y in rows] == list(range(64, 96))
    assert "cells 64 to 95 of 128 rows and cells 32 to 124 of 125 columns" in (plot[0].text or "")


def test_errors_against_magnitude() -> None:
    expected = np.float32([1, 1, 4, 4, 2.0**-20])
    got = np.nextafter(expected, np.float32(9), dtype=np.float32)
    got[3] = np.nan
    found = _picture(expected, got)
    assert found.errors.sum() == 5
    assert found.errors[-1].tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
    plot = ElementTree.fromstring(error_plot(found))
    tips = [rect[0].text for rect in plot.iter(f"{SVG}rect") if len(rect)]
    assert tips == ["about 2^-20, 1 ulp: 1", "about 2^0, 1 ulp: 2", "about 2^2, 1 ulp: 1", "about 2^2, special ulp: 1"]


def test_bars_grow_with_what_they_count() -> None:
    counts = (1, 0, 10, 1000, 5, 100000, 7, 2)
    plot = ElementTree.fromstring(histogram_plot(counts))
    bars = {rect[0].text.split(":")[0]: float(rect.get("height", "")) for rect in plot.iter(f"{SVG}rect")}
    order = sorted(bars, key=lambda label: bars[label])
    wanted = sorted((c, label) for c, label in zip(counts, HISTOGRAM_LABELS, strict=True) if c)
    assert order == [label for _, label in wanted]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, ml_dtypes.float8_e4m3fn, ml_dtypes.bfloat16, np.float64])
def test_pictures_of_any_type_and_shape(dtype: type) -> None:
    for shape in ((), (1,), (0, 3), (3, 0), (2, 3, 4)):
        expected = np.zeros(shape, dtype)
        got = np.ones(shape, dtype)
        found = pictures("a case", Outcome({"out": expected}), Outcome({"out": got}))
        assert len(found) == bool(expected.size)
        for drawn in found:
            assert drawn.differing == expected.size
            assert ElementTree.fromstring(map_plot(drawn)).tag == f"{SVG}svg"
    assert pictures("a case", Outcome({"out": np.zeros(2, dtype)}), Outcome({"out": np.zeros(3, dtype)})) == []
    assert pictures("a case", Outcome({"out": np.zeros(2, dtype)}), Outcome(error="ValueError")) == []


def test_the_gallery_prefers_matrices_of_different_shapes() -> None:
    shapes = [(1, 9), (40, 50), (40, 50), (3, 3), (9, 9), (2, 70), (1, 500)]
    found = [_picture(np.zeros(shape, np.float32), np.eye(*shape, dtype=np.float32)) for shape in shapes]
    assert [drawn.shape for drawn in gallery(found)] == [(40, 50), (9, 9), (3, 3), (2, 70)]
