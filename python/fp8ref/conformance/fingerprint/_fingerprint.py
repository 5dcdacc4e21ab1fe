# SPDX-License-Identifier: Apache-2.0
"""The whole of it: probes, inference, verification, and the name. [FINGERPRINT-RESULT]"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..targets import Target
from ._arithmetic import Arithmetic, names_of
from ._epilogue import infer_epilogue
from ._infer import Finding, Inference
from ._subject import ROWS, Subject
from ._verify import Verified, unstable, verify


@dataclass(frozen=True)
class Fingerprint:
    """What was found: ``accumulator`` is None where no named one has these numbers."""

    target: str
    accumulator: str | None
    also: tuple[str, ...]  # others that cannot be told from it
    verdict: str
    findings: tuple[Finding, ...]
    numbers: Arithmetic | None  # the parameters of the sums, where they follow a pattern
    verified: Verified | None  # predictions of the parameters on random operands
    reproducible: str  # "yes" or "no"
    out_dtype: str
    calls: int
    facts: Mapping[str, str]

    def value(self, parameter: str) -> str | None:
        """The value of a parameter, None if nothing was found of it."""
        return next((f.value for f in self.findings if f.parameter == parameter), None)


def fingerprint(
    target: Target, given: Mapping[str, Any] | None = None, rows: int = ROWS, out_dtype: str = ""
) -> Fingerprint:
    """Infer the arithmetic of a target's ``scaled_mm``.

    Args:
        target: what is asked; it needs E4M3 operands with K a multiple of 128, M = N = ``rows``, and one value or
            rows as scales. NotImplementedError means that it does not support a call.
        given: arguments that every call has, such as ``accumulate``.
        rows: M and N of all calls.
        out_dtype: what is asked for; by default float32, or what the target supports.

    Raises:
        TargetError: the target has no scaled_mm, or answers no call.
    """
    subject = Subject(target, given, rows, out_dtype)
    shaky = unstable(subject)
    if shaky.differing:
        verdict = f"not reproducible: {shaky.differing} of {shaky.outputs} outputs changed from call to call"
        return _result(subject, (), verdict, (), None, None, "no")
    inference = Inference(subject)
    inference.run()
    arithmetic, checked = _verified(subject, inference.arithmetic)
    names, verdict = _named(inference, arithmetic, checked, str((given or {}).get("accumulate", "")))
    epilogue = tuple(infer_epilogue(subject))
    findings = (*inference.findings, *epilogue)
    return _result(subject, names, verdict, findings, arithmetic, checked, "yes")


def _verified(subject: Subject, arithmetic: Arithmetic | None) -> tuple[Arithmetic | None, Verified | None]:
    """The model, tried on random operands.

    Steps that lose nothing look the same to the probes whether the accumulator is added to the exact sum or to its
    rounding, as a chain of its own would be. [FINGERPRINT-VERIFY]
    """
    if arithmetic is None:
        return None, None
    checked = verify(subject, arithmetic)
    if checked.differing and arithmetic.fraction_bits is None and arithmetic.interval is not None:
        other = replace(arithmetic, interval=None)
        again = verify(subject, other)
        if not again.differing:
            return other, again
    return arithmetic, checked


def _named(
    inference: Inference, arithmetic: Arithmetic | None, checked: Verified | None, asked: str
) -> tuple[tuple[str, ...], str]:
    """The names, and the answer in a line. A name is given only where every prediction held. [FINGERPRINT-NAMES]"""
    held = checked is not None and not checked.differing
    names = names_of(arithmetic) if arithmetic is not None and held else ()
    names = tuple(sorted(names, key=lambda name: name != asked))  # of equals, the one that calls asked for
    if names:
        return names, " or ".join(names) + _split(arithmetic)
    if arithmetic is not None and held and arithmetic.block != 1:
        return (), f"none, with these measured parameters{_split(arithmetic)}"
    kind = inference.float_kind()
    if kind is not None:
        order = "added one after the other" if held else "in an order of its own"
        return (), f"{kind}, not a tensor core: sums {order}"
    if checked is not None and not held:
        return (), f"none: {checked.differing} of {checked.outputs} random outputs differ from the measured parameters'"
    return (), "none: the sums follow no known pattern"


def _split(arithmetic: Arithmetic | None) -> str:
    return "" if arithmetic is None or arithmetic.split_k == 1 else f", split_k={arithmetic.split_k}"


def _result(
    subject: Subject,
    names: tuple[str, ...],
    verdict: str,
    findings: tuple[Finding, ...],
    numbers: Arithmetic | None,
    verified: Verified | None,
    reproducible: str,
) -> Fingerprint:
    return Fingerprint(
        subject.target.name,
        names[0] if names else None,
        names[1:],
        verdict,
        findings,
        numbers,
        verified,
        reproducible,
        subject.out_dtype,
        subject.calls,
        subject.target.facts(),
    )
