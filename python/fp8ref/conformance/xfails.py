# SPDX-License-Identifier: Apache-2.0
"""Cases that the tester expects to fail, and which of these expectations are stale. [CLAIM-XFAIL] [REPORT-XFAILS]"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import Fp8RefError
from ..table import ops


class XfailError(Fp8RefError, ValueError):
    """A file of expected failures that cannot be read."""


@dataclass(frozen=True)
class Xfail:
    """A pattern of ``op/case``, as in a shell, and why it is expected to fail."""

    pattern: str
    reason: str = ""

    def matches(self, name: str) -> bool:
        """Whether ``op/case`` is meant.

        Example:
            >>> Xfail("scaled_mm/*/bfloat16").matches("scaled_mm/1x1x1/rows/exact/bfloat16")
            True
        """
        return fnmatchcase(name, self.pattern)


@dataclass(frozen=True)
class Stale:
    """An expectation that the run did not need: ``no mismatch`` of its cases, or ``no case`` of that name."""

    pattern: str
    why: str

    def __str__(self) -> str:
        what = "all its cases pass" if self.why == "no mismatch" else "no case of this run has such a name"
        return f"stale xfail {self.pattern}: {what}"


def parse_xfails(text: str, source: str = "xfails") -> tuple[Xfail, ...]:
    """One pattern in a line; ``#`` begins a comment; what follows `` # `` on a pattern's line is the reason.

    Raises:
        XfailError: a line with a pattern that has no ``/`` and so names no case.

    Example:
        >>> parse_xfails("# all of them\\nquantize/*/nan # the hardware has no NaN\\n")
        (Xfail(pattern='quantize/*/nan', reason='the hardware has no NaN'),)
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        pattern, _, reason = line.partition(" #")
        if "/" not in pattern:
            raise XfailError(f"{source}, line {number}: {pattern.strip()!r} is no pattern of OP/CASE")
        found.append(Xfail(pattern.strip(), reason.strip()))
    return tuple(found)


def read_xfails(path: str | Path) -> tuple[Xfail, ...]:
    """The patterns of a file.

    Raises:
        XfailError: the file cannot be read, or says something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise XfailError(f"xfails {path}: {getattr(error, 'strerror', None) or error}") from error
    return parse_xfails(text, f"xfails {path}")


def expectation(name: str, xfails: Iterable[Xfail]) -> Xfail | None:
    """The first that means ``op/case``."""
    return next((xfail for xfail in xfails if xfail.matches(name)), None)


def stale(
    xfails: Sequence[Xfail], ran: Sequence[str], failed: Sequence[str], stems: Sequence[str], scope: str
) -> tuple[Stale, ...]:
    """What the run did not need; patterns of ops that did not run are left alone.

    Args:
        xfails: the expectations.
        ran: ``op/case`` of all cases that the target answered or refused.
        failed: those of them with an expected mismatch.
        stems: the ops that ran.
        scope: ``all`` if every case of these ops ran; else a pattern that matches none may belong to another.
    """
    others = {op.stem for op in ops()} - set(stems)
    found = []
    for xfail in xfails:
        if any(map(xfail.matches, failed)):
            continue
        op = xfail.pattern.partition("/")[0]
        if any(map(xfail.matches, ran)):
            found.append(Stale(xfail.pattern, "no mismatch"))
        elif scope == "all" and not any(fnmatchcase(other, op) for other in others):
            found.append(Stale(xfail.pattern, "no case"))
    return tuple(found)
