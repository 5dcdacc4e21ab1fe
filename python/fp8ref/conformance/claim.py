# SPDX-License-Identifier: Apache-2.0
"""What a target claims to compute: an accumulator, a scale rule, an order of scales; bit for bit, or within a bound.

[CLAIM-CONTRACT]
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..backends import backend
from ..golden._mm_args import ALL_EPILOGUES
from ..golden._rules import RULES
from ..golden._units import MODES, UNIT_NAMES
from ..golden.scaled_mm import ACCUMULATORS
from ..table import ops
from .cases import Case, ModelCase, cases_of
from .cases._bound import bound_cases
from .derive import under

BOUNDED = ("scaled_mm", "grouped_mm", "linear")  # functions whose results have a bound
BOUND_ONLY = ("float32",)  # accumulators that have a bound and a statistic, but no one order and so no bits
# The arguments that say what an implementation is, and their values. All names are distinct, so a value says which.
POLICIES: dict[str, tuple[str, ...]] = {
    "accumulate": tuple(dict.fromkeys(("exact", *ACCUMULATORS, *UNIT_NAMES, *MODES, *BOUND_ONLY))),
    "epilogue": ALL_EPILOGUES,
    "rule": tuple(RULES),
}
CHECKS = ("bits", "bound", "every")


@dataclass(frozen=True)
class Claim:
    """``check`` is ``bits``, ``bound`` (:mod:`fp8ref.compare`) or ``every``: bits under every policy, as backends have.

    ``policies`` has the claimed values by argument; what it lacks has the default of the golden function.

    Example:
        >>> Claim.parse("sm90_wgmma,b_a").policies
        {'accumulate': 'sm90_wgmma', 'epilogue': 'b_a'}
    """

    check: str = "bits"
    policies: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def parse(text: str) -> Claim:
        """Names separated by commas: ``bound``, ``every``, or values of policies, also as ``accumulate=exact``.

        Raises:
            ValueError: an unknown name, or two values of one policy.
        """
        check, policies = "bits", dict[str, str]()
        for word in filter(None, (part.strip() for part in text.split(","))):
            if word in CHECKS:
                check = word
                continue
            policy, _, value = word.rpartition("=")
            owners = [name for name, values in POLICIES.items() if value in values and policy in ("", name)]
            if not owners:
                names = itertools.chain(CHECKS, *POLICIES.values())
                raise ValueError(f"unknown contract {word!r}; known: {', '.join(names)}")
            if policies.setdefault(owners[0], value) != value:
                raise ValueError(f"contract: two values of {owners[0]}: {policies[owners[0]]}, {value}")
        if check == "bound":
            policies.setdefault("accumulate", BOUND_ONLY[0])
        if check != "bound" and policies.get("accumulate") in BOUND_ONLY:
            raise ValueError(f"contract: {policies['accumulate']} has no bits of its own; add bound")
        return Claim(check, policies)

    def of(self, function: str) -> dict[str, str]:
        """The policies of a function with the claimed values; empty under ``every``.

        Raises:
            ValueError: the function has a policy without a default, which is not claimed.
        """
        if self.check == "every":
            return {}
        found: dict[str, str] = {}
        for name, default in defaults(function).items():
            if name in POLICIES:
                value = self.policies.get(name, default)
                if value in BOUND_ONLY and function not in BOUNDED:  # it has no such sums to claim
                    value = default
                if value is inspect.Parameter.empty:
                    raise ValueError(f"{function}: a contract must name the {name} that the target follows, or every")
                found[name] = value
        return found

    def covers(self, case: Case) -> bool:
        """Whether the claim says what the result of a case is."""
        known = defaults(case.function)
        return all(case.arguments.get(name, known[name]) == value for name, value in self.of(case.function).items())

    def __str__(self) -> str:
        names = ("" if self.check == "bits" else self.check, *self.policies.values())
        return ",".join(filter(None, names)) or "defaults"


EVERY = Claim("every")


@functools.cache
def _defaults(function: str) -> tuple[tuple[str, Any], ...]:
    parameters = inspect.signature(getattr(backend("golden"), function)).parameters
    return tuple((name, parameter.default) for name, parameter in parameters.items())


def defaults(function: str) -> dict[str, Any]:
    """The arguments of a golden function in order, with their defaults (``inspect.Parameter.empty`` for none)."""
    return dict(_defaults(function))


def claimed_cases(
    stem: str, level: str, claim: Claim, functions: Collection[str] | None = None
) -> Iterator[Case | ModelCase]:
    """The cases of an op that a claim covers, and the others under what it claims. [CLAIM-CASES]

    ``functions`` are those that are asked for, by default all of the op; of no other need the claim say anything.

    Example:
        >>> names = [case.name for case in claimed_cases("scaled_mm", "quick", Claim.parse("sm100_tcgen05"))]
        >>> "float32_midpoint/sm100_tcgen05/bfloat16" in names
        True
    """
    models = not any(op.functions for op in ops() if op.stem == stem)  # which have no policy to claim
    if claim.check == "every" or models:
        yield from (case for case in cases_of(stem, level) if isinstance(case, ModelCase) or _wanted(case, functions))
    elif claim.check == "bits":
        yield from _under(stem, level, claim, functions)
    else:
        yield from _bounded(stem, level, claim, functions)


def _wanted(case: Case, functions: Collection[str] | None) -> bool:
    return functions is None or case.function in functions


def _under(stem: str, level: str, claim: Claim, functions: Collection[str] | None) -> Iterator[Case]:
    def cases() -> Iterator[Case]:
        return (case for case in cases_of(stem, level) if isinstance(case, Case) and _wanted(case, functions))

    return under(cases, claim.covers, claim.of, defaults)


def _bounded(stem: str, level: str, claim: Claim, functions: Collection[str] | None) -> Iterator[Case]:
    """The same under ``bound``, and larger ones; of an accumulator without bits golden has the exact result.

    Such an accumulator is named to nobody: golden refuses it, and a target knows what it is. [CLAIM-BOUND-CASES]
    """
    asked = Claim("bits", {name: value for name, value in claim.policies.items() if value not in BOUND_ONLY})
    for case in _under(stem, level, asked, functions):
        unnamed = claim.of(case.function).get("accumulate") in BOUND_ONLY
        hidden = {"accumulate"} if unnamed else set[str]()
        yield replace(case, arguments={name: x for name, x in case.arguments.items() if name not in hidden})
    for case in (case for case in bound_cases(stem, level) if _wanted(case, functions)):
        known = defaults(case.function)
        named = {name: value for name, value in asked.of(case.function).items() if value != known[name]}
        yield replace(case, arguments={**case.arguments, **named})
