# SPDX-License-Identifier: Apache-2.0
"""``re:`` patterns of a config, matched without backtracking. [CKPT-PATTERN]

A checkpoint is not trusted, and Python's ``re`` can be made to run for years by twenty characters. So a pattern is
compiled to functions from a set of positions in the name to the set of positions that it can reach; a set has at most
as many members as the name has characters, whatever the pattern.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UnsupportedError

MAX_LENGTH = 256
MAX_DEPTH = 4
MAX_COUNT = 32

Positions = frozenset[int]
Step = Callable[[str, Positions], Positions]

_NONE: Positions = frozenset()
_DIGITS = frozenset("0123456789")
_WORD = _DIGITS | frozenset("_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SPACE = frozenset(" \t\n\r\f\v")
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACE}


def _dot(character: str) -> bool:
    return character != "\n"


def _one(accepts: Callable[[str], bool]) -> Step:
    """One character."""
    return lambda name, at: frozenset(i + 1 for i in at if i < len(name) and accepts(name[i]))


def _chain(steps: list[Step]) -> Step:
    """One step after the other."""

    def run(name: str, at: Positions) -> Positions:
        for step in steps:
            at = step(name, at) if at else at
        return at

    return run


def _either(options: list[Step]) -> Step:
    """Any of the options."""
    return options[0] if len(options) == 1 else lambda name, at: _NONE.union(*(o(name, at) for o in options))


def _repeat(step: Step, low: int, high: int | None) -> Step:
    """The step ``low`` to ``high`` times; None is any number.

    Nested counts multiply, so both loops end early: where a step changes nothing (then no further one does), and where
    no new position appears.
    """

    def run(name: str, at: Positions) -> Positions:
        for _ in range(low):
            before, at = at, step(name, at)
            if at == before:
                break
        seen, frontier, count = at, at, low
        while frontier and (high is None or count < high):
            frontier = step(name, frontier) - seen
            seen, count = seen | frontier, count + 1
        return seen

    return run


def _rest(name: str, at: Positions) -> Positions:
    """What ``.*`` reaches, the most frequent step by far, without a set for each character."""
    if "\n" in name:
        return _repeat(_one(_dot), 0, None)(name, at)
    return frozenset(range(min(at), len(name) + 1)) if at else at


class _Parser:
    """Recursive descent over the supported subset of Python's syntax."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def fail(self, message: str) -> UnsupportedError:
        return UnsupportedError(f"{message} at character {self.at}")

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        self.at += 1
        return self.text[self.at - 1 : self.at]

    def accept(self, token: str) -> bool:
        found = self.text.startswith(token, self.at)
        self.at += len(token) if found else 0
        return found

    def alternatives(self, depth: int) -> Step:
        options = [self.sequence(depth)]
        while self.accept("|"):
            options.append(self.sequence(depth))
        return _either(options)

    def sequence(self, depth: int) -> Step:
        steps: list[Step] = []
        while self.peek() not in ("", "|", ")"):
            steps.append(self.repetition(depth))
        return _chain(steps)

    def repetition(self, depth: int) -> Step:
        anchor, dot = self.peek() in ("^", "$"), self.peek() == "."
        step = self.atom(depth)
        bounds = self.bounds()
        if bounds is None:
            return step
        if anchor or self.peek() in ("*", "+", "?", "{"):
            raise self.fail("unsupported repetition")
        return _rest if dot and bounds == (0, None) else _repeat(step, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        """What follows an atom: nothing, ``* + ?`` or ``{m,n}``; a lazy mark changes no match."""
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        bounds = simple.get(self.peek())
        if bounds is not None:
            self.at += 1
        elif self.peek() == "{":
            bounds = self.counts()
        else:
            return None
        self.accept("?")
        return bounds

    def counts(self) -> tuple[int, int | None]:
        end = self.text.find("}", self.at)
        low, comma, high = self.text[self.at + 1 : end].partition(",")
        numbers = [low] if not comma or not high else [low, high]
        if end < 0 or not all(n.isascii() and n.isdigit() and len(n) <= 2 and int(n) <= MAX_COUNT for n in numbers):
            raise self.fail("unsupported repetition")
        self.at = end + 1
        upper = int(low) if not comma else int(high) if high else None
        if upper is not None and upper < int(low):
            raise self.fail("repetition with its bounds swapped")
        return int(low), upper

    def atom(self, depth: int) -> Step:
        c = self.take()
        if c == "(":
            return self.group(depth + 1)
        if c == "[":
            return self.char_class()
        if c == "^":
            return lambda name, at: at & {0}
        if c == "$":
            return lambda name, at: at & {len(name)}
        if c == ".":
            return _one(_dot)
        if c in "*+?{}]":
            raise self.fail(f"unsupported {c!r}")
        return _one(self.escape() if c == "\\" else c.__eq__)

    def group(self, depth: int) -> Step:
        if depth > MAX_DEPTH:
            raise self.fail(f"groups nested more than {MAX_DEPTH} deep")
        if not self.accept("?:") and self.peek() == "?":
            raise self.fail("unsupported kind of group")
        inside = self.alternatives(depth)
        if not self.accept(")"):
            raise self.fail("missing ')'")
        return inside

    def escape(self) -> Callable[[str], bool]:
        c = self.take()
        if c.lower() in _CLASSES and c:
            members = _CLASSES[c.lower()]
            return members.__contains__ if c.islower() else lambda x: x not in members
        if not c or c.isalnum() or not c.isascii():
            raise self.fail(f"unsupported escape '\\{c}'")
        return c.__eq__

    def char_class(self) -> Step:
        negated = self.accept("^")
        tests: list[Callable[[str], bool]] = []
        while not self.accept("]"):
            c = self.take()
            if not c or c == "[":
                raise self.fail("unsupported character class")
            if c == "\\":
                tests.append(self.escape())
            elif self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("", "]"):
                tests.append(self.span(c))
            else:
                tests.append(c.__eq__)
        if not tests:
            raise self.fail("unsupported empty character class")
        return _one(lambda x: any(test(x) for test in tests) != negated)

    def span(self, low: str) -> Callable[[str], bool]:
        self.at += 1
        high = self.take()
        if high in "\\[" or high < low:
            raise self.fail("unsupported range of characters")
        return lambda x: low <= x <= high


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A predicate that says whether a pattern matches at the start of a name, as ``re.match`` does. [CKPT-PATTERN]

    Args:
        pattern: without the ``re:`` that a config puts before it.

    Raises:
        UnsupportedError: the pattern is outside of the supported subset.

    Example:
        >>> matches = compile_pattern(r".*layers\\.[0-3]\\..*_proj")
        >>> matches("model.layers.2.mlp.up_proj"), matches("model.layers.7.mlp.up_proj")
        (True, False)
    """
    if len(pattern) > MAX_LENGTH:
        raise UnsupportedError(f"longer than {MAX_LENGTH} characters")
    parser = _Parser(pattern)
    step = parser.alternatives(0)
    if parser.at != len(pattern):
        raise parser.fail("unmatched ')'")
    return lambda name: bool(step(name, frozenset({0})))
