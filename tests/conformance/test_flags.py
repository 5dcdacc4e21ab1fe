# SPDX-License-Identifier: Apache-2.0
"""Flags say what is in a case: no pattern is stale, each flag has cases, and the inputs are as the flag says.

The table of spec/conformance.md is made of them: python tests/conformance/test_flags.py writes it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fp8ref.conformance import FLAGS, Case, cases_of
from fp8ref.conformance.cases._flags import PATTERNS
from fp8ref.conformance.targets import BackendTarget

PAGE = Path(__file__).resolve().parents[2] / "spec" / "conformance.md"
MARKS = ("<!-- traps -->", "<!-- end of traps -->")
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
# Flags of the issue that concern an op at all; a mistake in the table of patterns would drop one silently.
WANTED = {
    "midpoint": {"e4m3", "quantize", "mma", "scaled_mm", "grouped_mm", "linear", "rmsnorm", "attention", "residual"}
    | {"rope", "route", "temperature"},
    "overflow": {"e4m3", "quantize", "mma", "scaled_mm", "grouped_mm", "linear", "rmsnorm", "attention", "residual"},
    "subnormal": {"e4m3", "quantize", "mma", "scaled_mm", "linear", "rmsnorm", "rope", "attention", "silu_mul"},
    "signed_zero": set(PATTERNS),
    "nan": set(PATTERNS),
    "infinity": set(PATTERNS),
    "amax_zero": {"quantize"},
    "dead_row": {"scaled_mm", "grouped_mm", "linear", "rmsnorm", "attention"},
    "rule_witness": {"quantize"},
    "k_tail": {"mma", "scaled_mm", "grouped_mm", "linear"},
    "odd_shape": set(PATTERNS) - {"mma"},
    "empty_shape": set(PATTERNS),
    "empty_group": {"grouped_mm", "route"},
    "padding_row": {"grouped_mm"},
    "exponent_spread": {"quantize", "mma", "scaled_mm", "grouped_mm", "linear", "rmsnorm", "attention"},
    "extreme_scale": {"quantize", "scaled_mm", "grouped_mm", "attention"},
    "cancellation": {"mma", "scaled_mm", "grouped_mm", "linear", "rope", "attention", "residual", "route"},
    "accumulator_probe": {"mma", "scaled_mm", "grouped_mm", "linear", "attention"},
    "known_bug": {"e4m3", "scaled_mm", "grouped_mm"},
    "misuse": set(PATTERNS),
}


@functools.cache
def quick(stem: str) -> tuple[Case, ...]:
    return tuple(case for case in cases_of(stem, "quick") if isinstance(case, Case))


def _numbers(case: Case) -> list[Any]:
    """The float inputs; uint8 holds E4M3 codes."""
    arrays = [np.asarray(x) for x in case.arguments.values() if isinstance(x, np.ndarray | np.generic | float)]
    codes = [x.view(E4M3) if x.dtype == np.uint8 else x for x in arrays]
    with np.errstate(invalid="ignore"):
        return [x.astype(np.float64) for x in codes if x.dtype.kind not in "biu"]


def _some(test: Callable[[Any], Any]) -> Callable[[Case], bool]:
    return lambda case: any(bool(np.any(test(x))) for x in _numbers(case))


def _depth(case: Case) -> int:
    return int(np.shape(case.arguments.get("a", case.arguments.get("x")))[-1])


def _dead(case: Case) -> bool:
    """A row of zeros; in attention, scores of minus infinity."""
    if case.function == "attention":
        return any(np.isinf(x).any() for x in _numbers(case))
    return any(x.ndim > 1 and x.shape[-1] > 0 and (x == 0).all(axis=-1).any() for x in _numbers(case))


def _no_amax(case: Case) -> bool:
    """A row of zeros or, for a given scale, zero."""
    return _dead(case) or case.arguments.get("scale") == 0


def _no_rows(case: Case) -> bool:
    """An expert that nobody has chosen, or whose rows are none."""
    if case.function == "dispatch":
        return len(np.unique(case.arguments["experts"])) < case.arguments["num_experts"]
    return len(set(_bounds(case))) < len(_bounds(case))


def _bounds(case: Case) -> list[int]:
    return [int(x) for x in case.arguments["offsets"]]


# What the inputs of a flagged case must have.
HOLDS: dict[str, Callable[[Case], bool]] = {
    "nan": _some(np.isnan),
    "infinity": _some(np.isinf),
    "signed_zero": _some(lambda x: (x == 0) & np.signbit(x)),
    "amax_zero": _no_amax,
    "dead_row": _dead,
    "k_tail": lambda case: _depth(case) % 128 != 0,
    "empty_shape": lambda case: any(np.size(x) == 0 for x in case.arguments.values()),
    "empty_group": _no_rows,
    "padding_row": lambda case: _bounds(case)[0] > 0 or _bounds(case)[-1] < len(case.arguments["a"]),
}


def test_flags_are_those_of_the_list() -> None:
    assert {flag for patterns in PATTERNS.values() for flag in patterns} == set(FLAGS) == set(WANTED)
    for flag, stems in WANTED.items():
        assert stems <= {stem for stem, patterns in PATTERNS.items() if flag in patterns}, flag


@pytest.mark.parametrize("stem", PATTERNS)
def test_no_pattern_is_stale(stem: str) -> None:
    for flag, patterns in PATTERNS[stem].items():
        for pattern in patterns:
            assert any(fnmatchcase(case.name, pattern) for case in quick(stem)), (flag, pattern)


@pytest.mark.parametrize("stem", PATTERNS)
def test_inputs_are_as_flagged(stem: str) -> None:
    for case in quick(stem):
        for flag in case.flags:
            assert flag not in HOLDS or HOLDS[flag](case), (case.name, flag)


@pytest.mark.parametrize("stem", PATTERNS)
def test_misuse_is_what_golden_refuses(stem: str) -> None:
    """So that no stranger is asked what has no answer. [CLAIM-CASES]"""
    golden = BackendTarget("golden")
    for case in quick(stem):
        if sum(np.size(value) for value in case.arguments.values()) > 200_000:
            assert "misuse" not in case.flags  # nothing that is refused needs to be large
            continue
        assert bool(golden.run(case).error) == ("misuse" in case.flags), case.name


def table() -> str:
    """A row for each flag, and the patterns of its cases by op."""
    lines = ["| flag | the trap | cases |", "|---|---|---|"]
    for flag, reason in FLAGS.items():
        cells = [
            f"{stem}: {', '.join(f'`{pattern}`' for pattern in patterns[flag])}"
            for stem, patterns in PATTERNS.items()
            if flag in patterns
        ]
        lines.append(f"| `{flag}` | {reason} | {'<br>'.join(cells)} |")
    return "\n".join(lines)


def _marked(text: str) -> str:
    return f"{MARKS[0]}\n{text}\n{MARKS[1]}"


def section(text: str) -> str:
    """What stands between the marks."""
    return text.split(f"{MARKS[0]}\n")[1].split(f"\n{MARKS[1]}")[0]


def test_the_page_has_the_table() -> None:
    assert section(PAGE.read_text(encoding="utf-8")) == table()


if __name__ == "__main__":
    whole = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(whole.replace(_marked(section(whole)), _marked(table())), encoding="utf-8")
