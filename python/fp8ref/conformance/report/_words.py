# SPDX-License-Identifier: Apache-2.0
"""The words that all forms of a report share."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from ...compare.classify import Reason
from ..outcome import HISTOGRAM_LABELS, Mismatch
from ..result import OpResult, Report

# What XML and HTML cannot hold, not even escaped, and what a terminal would obey.
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SPEC = "https://github.com/fp8ref/fp8ref/blob/main/spec"
# The clause that a reason breaks, and the page that has it.
CLAUSES: dict[str, tuple[str, str]] = {
    "tie_rule": ("README", "[ROUND-NEAREST]"),
    "truncation": ("README", "[ROUND-NEAREST]"),
    "double_rounding": ("README", "[ROUND-ONCE]"),
    "missing_rounding": ("README", "[ROUND-ONCE]"),
    "overflow_policy": ("e4m3", "[E4M3-OVERFLOW]"),
    "subnormal_flush": ("README", "[ROUND-NEAREST]"),
    "special_values": ("README", "[SUM-SPECIAL]"),
    "scale_rule": ("quantize", "[QUANT-RULE]"),
    "reciprocal": ("quantize", "[QUANT-DIVIDE]"),
    "accumulator": ("mma", "[MMA-UNITS]"),
    "epilogue_order": ("scaled_mm", "[MM-EPILOGUE-A-B]"),
    "factor": ("scaled_mm", "[MM-SCALES]"),
    "scale_broadcast": ("scaled_mm", "[MM-SCALES]"),
    "layout": ("scaled_mm", "[MM-CODES]"),
    "k_tail": ("scaled_mm", "[MM-EXACT]"),
    "group_boundary": ("grouped_mm", "[GROUPED-OFFSETS]"),
    "stale_output": ("grouped_mm", "[GROUPED-OUT]"),
    "unwritten": ("conformance", "[TARGET-CALL]"),
    "nondeterministic": ("conformance", "[CLAIM-BITS]"),
    "interface": ("conformance", "[TARGET-CALL]"),
    "unknown": ("conformance", "[CLAIM-BITS]"),
}


def clean(text: str) -> str:
    """The text with control characters written as escapes.

    Example:
        >>> clean("a\\x00b")
        'a\\\\x00b'
    """
    return FORBIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def summary(report: Report) -> str:
    """The verdict in one sentence."""
    wrong = [result.op for result in report.results if not result.equal]
    broken = [f"{item.op} {item.name}" for item in report.invariances if item.broken]
    cases = sum(result.checked for result in report.results)
    if report.verdict == "unsupported":
        return "The target refused every case: nothing was checked."
    parts = []
    if wrong:
        verb = "differs" if len(wrong) == 1 else "differ"
        parts.append(f"{len(wrong)} of {counted(len(report.results), 'op')} {verb}: {', '.join(wrong)}.")
    if broken:
        parts.append(f"Not invariant: {', '.join(broken)}.")
    if parts:
        return " ".join(parts)
    right = f"{counted(cases, 'case')} of {counted(len(report.results), 'op')} {'is' if cases == 1 else 'are'} right"
    failed = sum(len(result.expected_failures) for result in report.results)
    return f"{right}, but for {counted(failed, 'expected failure')}." if failed else f"{right}."


def counted(number: int, word: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def place(mismatch: Mismatch) -> str:
    """``out[3, 17]``."""
    index = f"[{', '.join(map(str, mismatch.index))}]" if mismatch.index else ""
    return f"{mismatch.output}{index}"


def distance(mismatch: Mismatch) -> str:
    """``3 ulp``; nothing where no distance exists."""
    return "" if mismatch.ulp is None else f"{mismatch.ulp:,} ulp"


def share(reason: Reason) -> str:
    """How many of the cases a reason reproduces."""
    return f"explains {reason.explains} of {counted(reason.of, 'case')}, bit for bit" if reason.explains else ""


def histogram(counts: Iterable[int]) -> str:
    """``1 ulp: 12, 5-16 ulp: 3, special: 1``."""
    words = {"more": "more", "special": "without distance"}
    return ", ".join(
        f"{words.get(label, f'{label} ulp')}: {count:,}"
        for label, count in zip(HISTOGRAM_LABELS, counts, strict=False)
        if count
    )


def total(result: OpResult) -> tuple[int, ...]:
    """The histogram of all mismatches of an op."""
    rows = [m.histogram for m in result.mismatches if m.histogram]
    return tuple(map(sum, zip(*rows, strict=True))) if rows else (0,) * len(HISTOGRAM_LABELS)


def message(mismatch: Mismatch) -> str:
    """A mismatch in one line."""
    apart = f", {distance(mismatch)} apart" if mismatch.ulp is not None else ""
    return f"{place(mismatch)}: expected {mismatch.expected}, got {mismatch.got}{apart}"


def details(mismatch: Mismatch) -> list[str]:
    """What else is known of a mismatch, a line each."""
    lines = [f"{mismatch.differing:,} of {counted(mismatch.size, 'element')} differ"] if mismatch.size else []
    spread = histogram(mismatch.histogram)
    return [*mismatch.operands, *lines, *([spread] if spread else [])]


def machine() -> dict[str, str]:
    """What golden ran on."""
    from ... import __version__

    return {
        "fp8ref": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cpus": str(os.cpu_count() or ""),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
