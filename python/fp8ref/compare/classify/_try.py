# SPDX-License-Identifier: Apache-2.0
"""The search: hypotheses are tried on calls until they explain them, the cheap ones first. [CLASSIFY-SEARCH]"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._bits import alike, difference
from ._evidence import Array, Evidence, Reason

SMALL = 1 << 16  # bytes of a call; larger ones are tried only where there are few others
SCREEN, WRONG, RIGHT = 8, 24, 24  # calls that a hypothesis must pass at first, and later
ENOUGH_WRONG = 3  # smaller mismatching calls, so that very large ones need not be tried
LATER = 4  # calls of the screen of later waves, which are long, and of later reasons
ROUNDS = 4  # reasons that are looked for
CONTRADICTION = 0.5  # what a share of contradicted matching calls takes from a share of explained ones
ENOUGH = 0.3  # the score of an idea that explains everything, so that no later wave is tried
CLEAR = 0.6  # the score of an idea that explains everything, so that the screen can end
PARTLY = 0.6  # of the differing elements, for a reason that reproduces no call as a whole
PENALTY = 0.5  # what elements wrongly predicted take from that

NAMED = ("accumulator", "scale_rule")  # kinds whose details are names, of which several may have the same bits

Predict = Callable[[Evidence], Any]


@dataclass(frozen=True)
class Hypothesis:
    """What a careless implementation would answer: arrays by name, in order, or one; None where it is not concerned."""

    kind: str
    detail: str
    predict: Predict
    wave: int = 0  # later waves are tried only where no earlier one explains everything
    concerns: Callable[[Evidence], bool] | None = None  # a cheap test of a call, before it is computed


@dataclass(frozen=True)
class Sign:
    """What expected and actual results show by themselves: the detail, or nothing. ``weight`` is its credit."""

    kind: str
    look: Callable[[Evidence, Sequence[Evidence]], str | None]
    weight: float = 0.9


@dataclass
class Search:
    """The calls of one function, and what is known of hypotheses about them."""

    calls: Sequence[Evidence]
    known: dict[tuple[int, int], bool | None] = field(default_factory=dict)
    concerned: dict[tuple[int, int], bool] = field(default_factory=dict)
    details: dict[int, tuple[int, str]] = field(default_factory=dict)  # of signs: size of the largest call, its detail

    def verdict(self, idea: Hypothesis | Sign, call: Evidence) -> bool | None:
        """Whether an idea reproduces a call; None where it does not concern it."""
        key = id(idea), id(call)
        if key not in self.known:
            if isinstance(idea, Sign):
                self.known[key] = self._sign(idea, call)
            else:
                self.known[key] = reproduces(idea, call) if self._concerned(idea, call) else None
        return self.known[key]

    def _concerned(self, idea: Hypothesis, call: Evidence) -> bool:
        if idea.concerns is None:
            return True
        key = id(idea.concerns), id(call)
        if key not in self.concerned:
            self.concerned[key] = idea.concerns(call)
        return self.concerned[key]

    def _sign(self, idea: Sign, call: Evidence) -> bool:
        try:
            detail = idea.look(call, self.calls)
        except Exception:  # as in predicted
            return False
        if detail:
            self.details[id(idea)] = max(self.details.get(id(idea), (0, "")), (call.size, detail))
        return bool(detail)

    def score(
        self, idea: Hypothesis | Sign, wrong: Sequence[Evidence], right: Sequence[Evidence], least: float = 0.0
    ) -> float:
        """Its share of explained calls, less what it contradicts; 0 as soon as it cannot exceed ``least``."""
        credit = idea.weight if isinstance(idea, Sign) else 1.0
        explained = 0
        for i, call in enumerate(wrong):
            explained += self.verdict(idea, call) is True
            if credit * (explained + len(wrong) - i - 1) <= least * len(wrong):
                return 0.0
        share = credit * explained / len(wrong)
        if isinstance(idea, Sign) or not explained:
            return share
        denied = 0
        for call in right:
            denied += self.verdict(idea, call) is False
            if share - CONTRADICTION * denied / len(right) <= least:
                return 0.0
        return share - CONTRADICTION * denied / max(len(right), 1)

    def best(
        self, ideas: Sequence[Hypothesis | Sign], wrong: list[Evidence], right: list[Evidence], later: int
    ) -> Hypothesis | Sign | None:
        """The idea with the highest score above zero; of equals the earlier. [CLASSIFY-PRECEDENCE]"""
        few, some = spread(right, RIGHT), spread(wrong, WRONG)
        top = 0.0
        found: Hypothesis | Sign | None = None
        for wave in sorted({getattr(idea, "wave", 0) for idea in ideas}):
            left = [idea for idea in ideas if getattr(idea, "wave", 0) == wave]
            for call in spread(wrong, LATER if wave or later else SCREEN):
                hits = [idea for idea in left if self.verdict(idea, call)]
                for idea in hits:
                    score = self.score(idea, some, few, top + 1e-9)
                    if score > top:
                        top, found = score, idea
                if found is not None and top > CLEAR and all(self.verdict(found, wrong) for wrong in some):
                    return found  # whatever else explains all has explained this call
                tried = {id(idea) for idea in hits}
                left = [idea for idea in left if id(idea) not in tried]
            if found is not None and top > ENOUGH and all(self.verdict(found, call) for call in some):
                break
        return found

    def reasons(self, ideas: Sequence[Hypothesis | Sign], wrong: list[Evidence]) -> tuple[list[Reason], list[Evidence]]:
        """Reasons that together explain as much as can be, and the calls that none explains. [CLASSIFY-COVER]"""
        right = [call for call in self.calls if call.equal]
        rest, found = list(wrong), list[Reason]()
        for _ in range(ROUNDS):
            chosen = [idea for idea in ideas if not found or not getattr(idea, "wave", 0)]
            idea = self.best(chosen, rest, right, len(found)) if rest else None
            if idea is None:
                break
            mine = [call for call in rest if self.verdict(idea, call) is True]
            found.append(self._reason(idea, mine, wrong, right, ideas))
            rest = [call for call in rest if self.verdict(idea, call) is not True]
        return sorted(found, key=lambda reason: -reason.explains), rest

    def _reason(
        self,
        idea: Hypothesis | Sign,
        mine: list[Evidence],
        wrong: list[Evidence],
        right: list[Evidence],
        ideas: Sequence[Hypothesis | Sign],
    ) -> Reason:
        detail = self.details.get(id(idea), (0, ""))[1] if isinstance(idea, Sign) else idea.detail
        if isinstance(idea, Hypothesis) and idea.kind in NAMED and not idea.wave:
            detail = "; or ".join([detail, *self._others(idea, mine, right, ideas)])
        return Reason(idea.kind, detail, len(mine), len(wrong), tuple(call.case for call in mine))

    def _others(
        self, idea: Hypothesis, mine: list[Evidence], right: list[Evidence], ideas: Sequence[Hypothesis | Sign]
    ) -> list[str]:
        """The details of other hypotheses of its kind that nothing tells from it."""
        some, few = spread(mine, WRONG), spread(right, RIGHT)
        score = self.score(idea, some, few)
        found = []
        for other in ideas:
            if not isinstance(other, Hypothesis) or other.kind != idea.kind or other.wave or other is idea:
                continue
            if not other.detail.startswith(idea.detail) and self.score(other, some, few, score - 1e-9) >= score:
                found.append(other.detail)
        return found[:3]


def outputs_of(call: Evidence, answer: Any) -> dict[str, Array] | None:
    """A prediction by the names of the call's results."""
    if answer is None:
        return None
    if isinstance(answer, Mapping):
        return {name: np.asarray(value) for name, value in answer.items()}
    values = answer if isinstance(answer, tuple) else (answer,)
    return dict(zip(call.expected, map(np.asarray, values), strict=True))


def predicted(idea: Hypothesis, call: Evidence) -> dict[str, Array] | None:
    """What a hypothesis says of a call, or None."""
    with np.errstate(all="ignore"):
        try:
            return outputs_of(call, idea.predict(call))
        except Exception:  # what cannot be computed for a stranger's call says nothing of it; the verdict stands
            return None


def reproduces(idea: Hypothesis, call: Evidence) -> bool | None:
    """Whether a hypothesis gives the target's bits; None where it says nothing."""
    answer = predicted(idea, call)
    if answer is None:
        return None
    return all(name in call.got and alike(array, call.got[name]) for name, array in answer.items())


def tried(calls: Sequence[Evidence]) -> list[Evidence]:
    """The calls without very large ones, if enough others mismatch."""
    small = [call for call in calls if call.size <= SMALL]
    wrong = sum(not call.equal for call in small)
    return small if wrong >= min(ENOUGH_WRONG, sum(not call.equal for call in calls)) else list(calls)


def spread(calls: Sequence[Evidence], count: int) -> list[Evidence]:
    """So many calls from the smallest to the largest, evenly."""
    pool = sorted(calls, key=lambda call: call.size)
    if len(pool) <= count:
        return pool
    return [pool[i] for i in sorted({round(i * (len(pool) - 1) / (count - 1)) for i in range(count)})]


def partly(ideas: Iterable[Hypothesis | Sign], rest: list[Evidence], of: int, waves: int) -> Reason | None:
    """The hypothesis that reproduces most of the differing elements of calls that none reproduces whole.

    [CLASSIFY-PARTLY]
    """
    calls = spread(rest, LATER)
    top, found, share = PARTLY, None, 0.0
    for idea in ideas:
        if isinstance(idea, Hypothesis) and idea.wave < waves:
            hit, false = _elements(idea, calls)
            if hit - PENALTY * false > top:
                top, found, share = hit - PENALTY * false, idea, hit
    if found is None:
        return None
    detail = f"{found.detail}, in {100 * share:.0f} % of the differing elements of {len(rest)} more cases"
    return Reason(found.kind, detail, 0, of)


def _elements(idea: Hypothesis, calls: list[Evidence]) -> tuple[float, float]:
    """The share of differing elements that a hypothesis reproduces, and of the others that it denies."""
    hits = wrong = false = right = 0
    for call in calls:
        answer = predicted(idea, call)
        for name, want in call.expected.items():
            have, guess = call.got.get(name), (answer or {}).get(name)
            if have is None or have.shape != want.shape or have.dtype != want.dtype:
                continue
            differs = difference(want, have)
            wrong += int(differs.sum())
            right += int((~differs).sum())
            if guess is None or guess.shape != want.shape or guess.dtype != want.dtype:
                continue
            off = difference(guess, have)
            hits += int((differs & ~off).sum())
            false += int((~differs & off).sum())
    return hits / max(wrong, 1), false / max(right, 1)
