# SPDX-License-Identifier: Apache-2.0
"""``fp8ref inspect``."""

from __future__ import annotations

import dataclasses
import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from .common import err, out, progress

if TYPE_CHECKING:
    from ..checkpoint import Report


def inspect(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, every module included.")] = False,
) -> None:
    """Check a checkpoint completely and say what it holds.

    Every weight is read. Contradictions that do not keep the model from loading are warnings; damage is an error.

    [bold]Examples[/]

      fp8ref inspect SmolLM2-135M-Instruct-FP8

      fp8ref inspect SmolLM2-135M-Instruct-FP8 --json | jq .schemes
    """
    from ..checkpoint import inspect as inspect_checkpoint

    with progress("reading weights") as step:
        report = inspect_checkpoint(checkpoint, on_progress=step)
    if json:
        print(jsonlib.dumps(dataclasses.asdict(report), indent=2, default=str))
        return
    out.print(_summary(report))
    out.print(_modules(report))
    for warning in report.warnings:
        err.print(f"warning: {warning}", markup=False)


def _summary(report: Report) -> Table:
    """The model's numbers, files and quantization, one per line."""
    m = report.model
    heads = f"{m.num_attention_heads} query, {m.num_key_value_heads} key, head_dim {m.head_dim}"
    scaling = "none" if m.rope_scaling is None else f"llama3 {dataclasses.asdict(m.rope_scaling)}"
    rows: list[tuple[str, Any]] = [
        ("layers", m.num_hidden_layers),
        ("sizes", f"hidden {m.hidden_size}, intermediate {m.intermediate_size}, vocabulary {m.vocab_size}"),
        ("heads", heads),
        ("rope", f"theta {m.rope_theta:g}, scaling {scaling}, {m.max_position_embeddings} positions"),
        ("embeddings", "tied" if m.tie_word_embeddings else "with an lm_head of their own"),
        ("end tokens", ", ".join(map(str, m.eos_token_ids)) or "none"),
        ("parameters", f"{report.parameters:,}"),
        ("bytes", f"{report.nbytes:,} in {len(report.files)} file(s)"),
        ("dtype", report.dtype or "not said"),
        ("quantization", report.method),
        *((("groups", "\n".join(report.groups)),) if report.groups else ()),
        *((("ignored", ", ".join(report.ignore)),) if report.ignore else ()),
    ]
    table = Table(title=escape(str(report.path)), show_header=False, title_justify="left")
    for name, value in rows:
        table.add_row(name, escape(str(value)))
    return table


def _modules(report: Report) -> Table:
    """Projections of one kind as one row."""
    rows: dict[tuple[str, ...], int] = {}
    for module in report.modules:
        fp8 = module.weight_scale is not None
        activations = "bf16" if not fp8 else "token" if module.input_scale is None else "static"
        shape = "x".join(map(str, module.shape))
        row = (module.name.rpartition(".")[2], shape, module.dtype, module.weight_scale or "none", activations)
        rows[row] = rows.get(row, 0) + 1
    table = Table(title="projections", title_justify="left")
    for name in ("projection", "shape", "weight", "weight scale", "activations"):
        table.add_column(name)
    table.add_column("count", justify="right")
    for cells, count in rows.items():
        table.add_row(*map(escape, cells), str(count))
    return table
