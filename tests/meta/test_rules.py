# SPDX-License-Identifier: Apache-2.0
"""spec/quantize.md and the registry say the same: each rule's choices, its version and source, and its edge cases."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest

import fp8ref
from bits import E4M3, assert_same_bits, from_bits
from fp8ref.golden import _rule_edges
from fp8ref.golden._rule import MINS, Rule
from meta.tree import ROOT

TEXT = (ROOT / "spec" / "quantize.md").read_text(encoding="utf-8")
TYPES = {"float32": "float32", "input": "T", "float64": "float64"}
BITS = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16), "float32": np.dtype(np.float32)}


def _number(x: float) -> str:
    return {MINS: "MINS", 2.0**-23: "2^-23", 2.0**-126: "2^-126"}.get(x, f"{x:g}")


def choices(rule: Rule) -> list[str]:
    """The cells of the first table."""
    amax = [rule.amax_nan]
    amax += [f">= {rule.amax_floor:g} in {TYPES[rule.amax_type]}"] if rule.amax_floor else []
    amax += ["<= ub"] if rule.upper_bound == "amax" else []
    amax += [f"{rule.empty_amax:g} if empty"] if rule.empty_amax else []
    amax += ["mse"] if rule.search == "mse" else []
    then = [f"a = 1 at {rule.unit_amax}"] if rule.unit_amax != "none" else []
    then += [f"infinite a: {rule.infinite_multiplier}"] if rule.infinite_multiplier != "kept" else []
    then += ["<= ub"] if rule.upper_bound == "scale" else []
    then += [f">= {_number(rule.scale_floor)}"] if rule.scale_floor else []
    then += ["0 becomes eps(T)"] if rule.zero_scale == "epsilon" else []
    then += [f"power: {rule.power}"] if rule.power != "none" else []
    return [
        f"`{rule.name}`",
        rule.granularity,
        "-" if rule.given else ", ".join(amax),
        rule.scale,
        "-" if rule.given else TYPES[rule.scale_type],
        "; ".join(then) or "-",
        f"{rule.quantize}",
        TYPES[rule.quantize_type],
        f"0x{rule.nan_code:02X}",
        {"signed": "0x80", "positive": "0x00"}[rule.zero],
    ]


def sources(rule: Rule) -> list[str]:
    """The cells of the last table."""
    return [f"`{rule.name}`", rule.version, rule.source]


def edges(rule: Rule) -> list[str]:
    """The cells of the second table: what golden makes of short bfloat16 rows."""
    return [f"`{rule.name}`", *_rule_edges.edges(rule).values()]


def _table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    part = TEXT.split(f"\n## {heading}\n", 1)[1]
    lines = re.search(r"((?:^\|.*\n)+)", part, re.MULTILINE)
    assert lines
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1].splitlines()[2:]]


@pytest.mark.parametrize(
    ("heading", "cells"), [("The rules", choices), ("Edge cases of each rule", edges), ("Sources", sources)]
)
def test_the_page_has_the_registry(heading, cells):
    assert _table(heading) == [cells(rule) for rule in fp8ref.rules()]


def test_examples_have_the_bits_that_the_page_shows():
    rows = _table("Examples")
    assert len(rows) >= 20
    for rule, given, codes, scale in rows:
        dtype, numbers, *rest = re.fullmatch(r"(\w+) ([^;]+)(?:; (\w+) = (\S+))?", given).groups()
        x = np.array([[float(number) for number in numbers.split(", ")]], np.float32).astype(BITS[dtype])
        more = {} if rest[0] is None else {rest[0]: _scale(rest[1])}
        got, stored = fp8ref.quantize(x, rule.strip("`"), **more)
        assert_same_bits(got.ravel(), from_bits([int(code, 16) for code in codes.split()], E4M3))
        assert_same_bits(stored.ravel(), np.array([_scale(scale)]))


def _scale(text: str) -> np.float32:
    return from_bits(int(text, 16), np.float32)[()] if text.startswith("0x") else np.float32(text)
