# SPDX-License-Identifier: Apache-2.0
"""``fp8ref quantize-rule``: its list is the registry, the steps it shows are those of the rule, misuse exits with 2."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import fp8ref
from fp8ref.cli import app
from fp8ref.cli.quantize_rule import steps
from fp8ref.golden._rule_edges import edges

RULES = {rule.name: rule for rule in fp8ref.rules()}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["quantize-rule", *arguments], env={"COLUMNS": "100"})


def test_help_has_examples() -> None:
    assert run("--help").exit_code == 0
    for command in ("list", "show"):
        done = run(command, "--help")
        assert done.exit_code == 0
        assert f"fp8ref quantize-rule {command}" in done.stdout


def test_list_names_every_rule() -> None:
    done = run("list")
    assert done.exit_code == 0
    words = set(done.stdout.split())
    assert set(RULES) <= words
    assert [row["name"] for row in json.loads(run("list", "--json").stdout)] == list(RULES)


@pytest.mark.parametrize("name", RULES)
def test_show(name: str) -> None:
    done = run("show", name)
    assert done.exit_code == 0
    assert RULES[name].version in done.stdout
    assert RULES[name].source in done.stdout
    assert all(f"{i}. {step}" in done.stdout for i, step in enumerate(steps(RULES[name]), 1))


def test_json_has_the_row_and_its_steps() -> None:
    document = json.loads(run("show", "fbgemm.per_row", "--json").stdout)
    assert document["upper_bound"] == "amax"
    assert document["steps"] == [
        "amax = max |x| (NaN ignored)",
        "amax = min(amax, scale_ub), if it is given",
        "s = RN32(amax / 448)",
        "s = max(s, 4.3596542e-06)",
        "y = RN32(x / s)",
        "code = E4M3 nearest to min(max(y, -448), 448), ties to even; NaN: 0x7F",
        "stored: s as float32; code * s is near x",
    ]


def test_rules_of_different_rows_have_different_steps() -> None:
    """Nothing that makes bits is missing from the steps: same steps are same choices."""
    seen: dict[tuple[str, ...], str] = {}
    for name, rule in RULES.items():
        choices = {k: v for k, v in vars(rule).items() if k not in ("name", "version", "source", "granularity")}
        assert seen.setdefault(tuple(steps(rule)), repr(choices)) == repr(choices), name


def test_edges_are_those_of_the_rule() -> None:
    smallest = np.float32(1 / (448 * 512)).view(np.uint32)
    assert edges(RULES["vllm.per_token"])["0, -0"] == f"0x00 0x80 by 0x{smallest:08X}"
    assert edges(RULES["sglang.per_token"])["0, -0"] == "0x7E 0x7E by 0x00000000"
    assert edges(RULES["compressed_tensors.channel"])["NaN, 1, -2"] == "0x7F 0x7F 0x7F by NaN"


@pytest.mark.parametrize("arguments", [("show", "nobody.knows"), ("show",), ("unknown",)])
def test_misuse(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
