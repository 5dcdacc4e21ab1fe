# SPDX-License-Identifier: Apache-2.0
"""``re:`` patterns: the answers of Python's ``re.match``, in a time that no pattern can blow up. [CKPT-PATTERN]"""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp8ref.checkpoint.patterns import compile_pattern
from fp8ref.errors import UnsupportedError

NAMES = ["lm_head", "model.layers.0.self_attn.q_proj", "model.layers.31.mlp.down_proj", "model-layers", "", "Model 7"]

USED = [
    "lm_head",
    ".*lm_head",
    "model.*",
    r"model\.layers\.\d+\.mlp\..*",
    r".*layers\.(0|3[01])\..*",
    ".*self_attn",
    r".*\.(q|k|v)_proj$",
    "^model",
    "^lm_head$",
    "(?:model|vision_model).*",
    "[^l].*_proj",
    "[a-f0-9]*",
    r"[\w.]+\.[qo]_proj",
    r"\w+\.\w+\.\d{1,2}\..*",
    r".*\.\d{2}\.",
    "m{0}lm|x{2,}",
    "(m?o?d?e?l?)+?[.]layers",
    r"[a\-]",
    r".*\W\d",
    "a|",
    "",
]


@pytest.mark.parametrize("pattern", USED)
def test_matches_as_python_does(pattern: str) -> None:
    matches = compile_pattern(pattern)
    assert [matches(name) for name in NAMES] == [bool(re.match(pattern, name)) for name in NAMES]


def _join(parts: list[str]) -> str:
    return "".join(parts)


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\d", "^", "$", "1"])
MARKS = st.sampled_from(["", "", "*", "+", "?", "*?", "{2}", "{1,2}", "{1,}", "{0,2}"])


def _pieces(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = st.builds(lambda x, y, m: f"({x}|{y}){m}", inner, inner, MARKS)
    single = st.builds(lambda a, m: a if a in "^$" else a + m, ATOMS, MARKS)
    return st.lists(single | group, max_size=4).map(_join)


PATTERNS = st.recursive(st.lists(ATOMS, max_size=3).map(_join), _pieces, max_leaves=6)


@given(PATTERNS, st.text("ab1.", max_size=8))
def test_random_patterns_match_as_python_does(pattern: str, name: str) -> None:
    try:
        matches = compile_pattern(pattern)
    except UnsupportedError:
        return  # too deep
    assert matches(name) == bool(re.match(pattern, name))


@pytest.mark.parametrize(
    "pattern",
    ["(a*)*x", "(a|a)*x", "(.*)*(.*)*(.*)*x", ".*" * 60 + "x", ".?" * 80 + "x", "(.|.)" * 40 + "x", "((((.*)*)*)*)*x",
     "((((.{0,32}){0,32}){0,32}){0,32}){0,32}x", "(((.*.)*.)*.)*x",
     "((((.?){32}){32}){32}){32}x", "(((^|.){32}){32}){32}x"],
)  # fmt: skip
def test_no_pattern_hangs(pattern: str) -> None:
    start = time.monotonic()
    with contextlib.suppress(UnsupportedError):
        assert not compile_pattern(pattern)("model.layers.10.self_attn.q_proj" * 2)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "a)", "[", "[]", "[]a]", "[b-a]", "*", "a**", "a{", "a{x}", "a{3,1}", "a{33}", "^*", "(?=a)", "(?i)a",
     "(?P<n>a)", r"\1", r"\b", r"\Z", "\\", r"\é", "[[:alpha:]]", "a" * 257, "(" * 5 + ")" * 5, "a++"],
)  # fmt: skip
def test_outside_of_the_subset(pattern: str) -> None:
    with pytest.raises(UnsupportedError):
        compile_pattern(pattern)
