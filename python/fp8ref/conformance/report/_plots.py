# SPDX-License-Identifier: Apache-2.0
"""Plots of a report as static SVG: no script, no font, no colour of their own; the page's style has the colours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from ..outcome import HISTOGRAM_LABELS
from ..picture import Picture

SHADES = 4  # of a map: the share of a cell's elements that differ


def _svg(width: float, height: float, title: str, body: Iterable[str], kind: str) -> str:
    """A picture that scales with its column; ``title`` is what a reader who does not see it hears."""
    box = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    opening = f'<svg class="{kind}" xmlns="http://www.w3.org/2000/svg" {box} role="img">'
    return f"{opening}<title>{escape(title)}</title>{''.join(body)}</svg>"


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _rectangle(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    tip = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}">{tip}</rect>'


def histogram_plot(counts: Sequence[int]) -> str:
    """Differing elements by distance; heights are logarithmic, so that one element is seen beside a million.

    Example:
        >>> histogram_plot((5, 0, 0, 0, 0, 0, 1, 0)).count('class="bar"')
        2
    """
    step, top, bottom, left = 60.0, 22.0, 150.0, 8.0
    width = left * 2 + step * len(HISTOGRAM_LABELS)
    most = max(max(counts), 1)
    parts = [f'<path class="axis" d="M{left:g} {bottom:g}H{width - left:g}"/>']
    for i, (label, count) in enumerate(zip(HISTOGRAM_LABELS, counts, strict=True)):
        middle = left + step * (i + 0.5)
        if count:
            height = (bottom - top) * (1 + math.log10(count)) / (1 + math.log10(most))
            tip = f"{label}: {count:,}"
            parts.append(_rectangle(middle - 15, bottom - height, 30, height, "bar", tip))
            parts.append(_text(middle, bottom - height - 5, _short(count), "middle"))
        parts.append(_text(middle, bottom + 16, label, "middle"))
    parts.append(_text(width / 2, bottom + 34, "distance in ulp (heights are logarithmic)", "middle"))
    words = ", ".join(f"{label}: {count:,}" for label, count in zip(HISTOGRAM_LABELS, counts, strict=True) if count)
    return _svg(width, bottom + 42, f"Differing elements by distance in ulp. {words}", parts, "histogram")


def map_plot(picture: Picture) -> str:
    """Where in the matrix the differences lie; darker cells hold a larger share of them."""
    rows, columns = picture.counts.shape
    size = min(10.0, max(2.0, 256.0 / max(rows, columns)))
    left, top = 46.0, 22.0
    wide, high = columns * size, rows * size
    last_row, last_column = (n - 1 for n in picture.matrix)
    parts = [_rectangle(left, top, wide, high, "ground")]
    parts += _cells(picture, size, left, top)
    parts.append(_rectangle(left, top, wide, high, "frame"))
    parts.append(_text(left, top - 7, "column 0" if last_column else "0"))
    parts.append(_text(left - 6, top + 10, "row 0", "end"))
    if last_column > 0 and wide > 110:
        parts.append(_text(left + wide, top - 7, f"{last_column:,}", "end"))
    if last_row > 0 and high > 24:
        parts.append(_text(left - 6, top + high, f"{last_row:,}", "end"))
    title = (
        f"Map of {picture.output} of {picture.case}: {picture.differing:,} elements differ in a matrix of "
        f"{picture.matrix[0]:,} x {picture.matrix[1]:,}; {_extent(picture.counts)}"
    )
    return _svg(left + max(wide, 64) + 8, top + max(high, 14) + 8, title, parts, "map")


def _cells(picture: Picture, size: float, left: float, top: float) -> list[str]:
    """One path for each shade: runs of equal cells in a row are one rectangle."""
    rows, columns = picture.matrix
    tall = np.minimum(picture.cell[0], rows - np.arange(picture.counts.shape[0]) * picture.cell[0])
    broad = np.minimum(picture.cell[1], columns - np.arange(picture.counts.shape[1]) * picture.cell[1])
    shade = np.ceil(picture.counts * SHADES / np.outer(tall, broad)).astype(np.int64)
    paths: dict[int, list[str]] = {}
    for y, row in enumerate(shade):
        edges = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
        for start, stop in itertools.pairwise(edges):
            if row[start]:
                x, run = left + start * size, (stop - start) * size
                paths.setdefault(int(row[start]), []).append(f"M{x:g} {top + y * size:g}h{run:g}v{size:g}h{-run:g}z")
    return [f'<path class="shade{key}" d="{"".join(path)}"/>' for key, path in sorted(paths.items())]


def _extent(counts: NDArray[np.int64]) -> str:
    """In which part of the map the differences are."""
    rows, columns = (np.flatnonzero(counts.any(axis=axis)) for axis in (1, 0))
    parts = []
    for size, found, word in ((counts.shape[0], rows, "rows"), (counts.shape[1], columns, "columns")):
        where = "" if len(found) == size else f"cells {found[0]} to {found[-1]} of {size} "
        parts.append(f"{where}{word}" if where else f"all {word}")
    return f"they lie in {' and '.join(parts)}"


def error_plot(picture: Picture) -> str:
    """How the distance depends on the magnitude of the right result: darker cells hold more elements."""
    bands, classes = picture.errors.shape
    wide, high, left, top = 46.0, 17.0, 74.0, 8.0
    most = max(int(picture.errors.max(initial=0)), 1)
    parts = [_rectangle(left, top, wide * classes, high * bands, "ground")]
    for i in range(bands):
        for j in range(classes):
            count = int(picture.errors[i, j])
            if count:
                shade = 1 + round((SHADES - 1) * (math.log10(count) / math.log10(most) if most > 1 else 1.0))
                tip = f"about 2^{picture.magnitudes[i]}, {HISTOGRAM_LABELS[j]} ulp: {count:,}"
                parts.append(_rectangle(left + j * wide, top + i * high, wide, high, f"shade{shade}", tip))
    parts.append(_rectangle(left, top, wide * classes, high * bands, "frame"))
    every = max(1, -(-bands // 12))
    parts += [_text(left - 6, top + i * high + 13, f"2^{picture.magnitudes[i]}", "end") for i in range(0, bands, every)]
    bottom = top + high * bands
    for j, label in enumerate(SHORT_LABELS):
        parts.append(_text(left + (j + 0.5) * wide, bottom + 14, label, "middle"))
    parts.append(_text(left + wide * classes / 2, bottom + 32, "distance in ulp, up to", "middle"))
    parts.append(_text(4, bottom + 14, "magnitude"))
    title = f"Distance in ulp against the magnitude of the right result, {picture.output} of {picture.case}"
    return _svg(left + wide * classes + 8, bottom + 40, title, parts, "errors")


SHORT_LABELS = tuple(label.rpartition("-")[2] if label[0].isdigit() else label[:4] for label in HISTOGRAM_LABELS)


def _short(count: int) -> str:
    """``12,345`` in at most six characters: ``12.3k``."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= limit:
            return f"{count / (1e3 if letter == 'k' else limit):.3g}{letter}"
    return f"{count:,}"
