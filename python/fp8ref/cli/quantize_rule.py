# SPDX-License-Identifier: Apache-2.0
"""``fp8ref quantize-rule``."""

from __future__ import annotations

import dataclasses
import json as jsonlib
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table

from ..golden._rule import Rule
from ..golden._rule_edges import edges
from ..golden._rules import RULES
from .common import misuse, out

app = typer.Typer(
    help="The scale rules of quantize: which there are, and the steps of each.",
    no_args_is_help=True,
    add_completion=False,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print the rows of data as JSON.")]

PER = {
    "row": "one scale per row: x (rows, K), scale (rows, 1)",
    "tensor": "one scale per tensor: x of any shape, scale ()",
    "group": "one scale per 1 x 128: x (rows, K), scale (rows, ceil(K/128))",
    "block": "one scale per 128 x 128: x (rows, K), scale (ceil(rows/128), ceil(K/128))",
}
POWERS = {
    "down": "a = the largest power of two <= a (mantissa cleared)",
    "log2 down": "a = 2^floor(RN32(log2 a))",
    "up": "s = the least power of two >= s (exponent, + 1 where the mantissa is not 0)",
    "up, finite": "s = the least power of two >= s (exponent, + 1 where the mantissa is not 0); Inf and NaN: 2^127",
    "log2 up": "s = 2^ceil(RN32(log2 s))",
    "log2 up, no infinity": "s = 2^ceil(RN32(log2 s)), Inf: NaN (float8_e8m0fnu)",
    "log2 nearest": "s = 2^round(RN_T(log2 s)), ties to even",
}
R448 = "RN32(1/448)"
ROUNDED = {"float32": "RN32", "input": "RN_T", "float64": "RN64"}


def _rn(name: str, expression: str) -> str:
    return f"{ROUNDED[name]}({expression})"


def _number(x: float) -> str:
    return {2.0**-23: "2^-23", 2.0**-126: "2^-126"}.get(x, f"{x:.8g}")


def _amax(rule: Rule) -> Iterator[str]:
    nan = {"ignored": "NaN ignored", "propagates": "NaN stays NaN"}[rule.amax_nan]
    yield f"amax = max |x| ({nan})"
    if rule.empty_amax:
        yield f"amax = {rule.empty_amax:g} where there are no elements"
    if rule.amax_floor:
        yield f"amax = max(amax, {_rn(rule.amax_type, _number(rule.amax_floor))})"
    if rule.upper_bound == "amax":
        yield f"amax = min(amax, {'scale_ub' if rule.amax_type == 'float32' else 'RN_T(scale_ub)'}), if it is given"
    if rule.search == "mse":
        yield "amax = of amax * (1 - i/100), i = 0..19, the one whose error is least [QUANT-MSE]"


def _scale(rule: Rule) -> Iterator[str]:
    """The lines from amax to the multiplier, or to the scale."""
    kind = rule.scale_type
    by_name = {
        "amax/448": [f"s = {_rn(kind, 'amax / 448')}"],
        "amax*(1/448)": [f"s = {_rn(kind, f'amax * {R448}')}"],
        "1/(448/amax)": [f"a = {_rn(kind, '448 / amax')}"],
        "1/((1/amax)*448)": [f"a = {_rn(kind, _rn(kind, '1 / amax') + ' * 448')}"],
        "amax*(1/448), 448/amax": [f"s = {_rn(kind, f'amax * {R448}')}", f"a = {_rn(kind, '448 / amax')}"],
        "given": ["s = the scale that is given"],
        "given multiplier": ["a = the multiplier that is given as scale", "s = RN32(1 / a)"],
    }
    yield from by_name[rule.scale]
    if kind == "float64":
        yield "a = RN32(a)"
    if rule.unit_amax != "none":
        yield f"a = 1 where amax is {rule.unit_amax}"
    if rule.infinite_multiplier != "kept":
        limit = {"one": "1", "largest float32": "the largest float32", "largest input": "the largest number of T"}
        yield f"a = {limit[rule.infinite_multiplier]} where a is infinite"
    if rule.power in ("down", "log2 down"):
        yield POWERS[rule.power]
    if rule.scale.startswith("1/("):
        yield "s = RN32(1 / a)"


def _floors(rule: Rule) -> Iterator[str]:
    if rule.upper_bound == "scale":
        yield "s = min(s, scale_ub), if it is given"
    if rule.scale_floor:
        yield f"s = max(s, {_number(rule.scale_floor)})"
    if rule.zero_scale == "epsilon":
        yield "s = eps(T) where s is 0 (2^-7 bfloat16, 2^-10 float16, 2^-23 float32)"
    if rule.power not in ("none", "down", "log2 down"):
        yield POWERS[rule.power]


def steps(rule: Rule) -> list[str]:
    """The rule as formulas in order; each RN is one rounding, T is the type of x. spec/quantize.md"""
    kind = rule.quantize_type
    inverse = f"x * {_rn(kind, '1 / s')}"
    y = {"x/s": "x / s", "x*(1/s)": inverse, "x*(1/s), 1/0 is 0": inverse, "x*a": "x * a"}[rule.quantize]
    guard = " (where s is 0: x * 0)" if rule.quantize == "x*(1/s), 1/0 is 0" else ""
    quotient = [f"y = {_rn(kind, y)}{guard}"]
    if rule.zero == "positive":
        quotient.append("y = y + 0, so that -0 becomes +0")
    code = f"code = E4M3 nearest to min(max(y, -448), 448), ties to even; NaN: 0x{rule.nan_code:02X}"
    first = [] if rule.given else list(_amax(rule))
    return [*first, *_scale(rule), *_floors(rule), *quotient, code, "stored: s as float32; code * s is near x"]


@app.command("list")
def list_rules(json: JsonOption = False) -> None:
    """Name every rule, with the version of the system whose bits it has.

    [bold]Examples[/]

      fp8ref quantize-rule list

      fp8ref quantize-rule list --json | jq '.[].name'
    """
    if json:
        print(jsonlib.dumps([dataclasses.asdict(rule) for rule in RULES.values()], indent=2))
        return
    table = Table(title=f"{len(RULES)} scale rules", title_justify="left")
    table.add_column("rule", no_wrap=True)
    table.add_column("one scale per")
    table.add_column("version")
    for rule in RULES.values():
        table.add_row(rule.name, rule.granularity, rule.version)
    out.print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that the list has.")], json: JsonOption = False
) -> None:
    """Print a rule as its numbered steps, with its source.

    [bold]Examples[/]

      fp8ref quantize-rule show vllm.per_token

      fp8ref quantize-rule show deepgemm.group_128_ue8m0 --json
    """
    if name not in RULES:
        misuse(f"no rule {name!r}; fp8ref quantize-rule list names them")
    rule = RULES[name]
    if json:
        print(jsonlib.dumps({**dataclasses.asdict(rule), "steps": steps(rule)}, indent=2))
        return
    lines = [rule.name, f"  version  {rule.version}", f"  source   {rule.source}", f"  {PER[rule.granularity]}"]
    lines += [f"  {i:2}. {step}" for i, step in enumerate(steps(rule), 1)]
    lines += [f"  {label:11} becomes {text}" for label, text in edges(rule).items()]
    out.print("\n".join(lines), markup=False, soft_wrap=True)
