# SPDX-License-Identifier: Apache-2.0
"""``fp8ref inspect``."""

from __future__ import annotations

import dataclasses
import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from .common import Scan, err, out, progress

if TYPE_CHECKING:
    from ..checkpoint import LayerReport, Report

SHOWN = 8  # entries of a long list


def inspect(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint folder.")],
    scan: Annotated[
        Scan, typer.Option(help="values reads every weight; headers reads headers, scales and norms only.")
    ] = Scan.VALUES,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, every module included.")] = False,
) -> None:
    """Check a checkpoint completely and say what it holds.

    Contradictions that do not keep the model from loading are warnings; damage is an error. Weights are read once, in
    pieces: as fast as the disk gives them, in little memory.

    [bold]Examples[/]

      fp8ref inspect SmolLM2-135M-Instruct-FP8

      fp8ref inspect Llama-4-Scout-17B-16E-Instruct-FP8-dynamic --scan headers

      fp8ref inspect SmolLM2-135M-Instruct-FP8 --json | jq .schemes
    """
    from ..checkpoint import inspect as inspect_checkpoint

    with progress("reading weights") as step:
        report = inspect_checkpoint(checkpoint, on_progress=step, scan=scan.value)
    if json:
        print(jsonlib.dumps(dataclasses.asdict(report), indent=2, default=_plain))
        return
    for table in (_summary(report), _parts(report), _modules(report), _layers(report)):
        out.print(table)
    for warning in report.warnings:
        err.print(f"warning: {warning}", markup=False)


def _plain(value: Any) -> Any:
    """What JSON has no type for."""
    return list(value) if isinstance(value, range) else str(value)


def _short(entries: Sequence[str]) -> str:
    """The first entries of a long list, and how many there are."""
    more = "" if len(entries) <= SHOWN else f", ... ({len(entries)} in all)"
    return ", ".join(entries[:SHOWN]) + more


def _summary(report: Report) -> Table:
    """The model's numbers, files and quantization, one per line."""
    m = report.model
    heads = f"{m.num_attention_heads} query, {m.num_key_value_heads} key, head_dim {m.head_dim}"
    scaling = "none" if m.rope_scaling is None else f"llama3 {dataclasses.asdict(m.rope_scaling)}"
    rows: list[tuple[str, Any]] = [
        ("family", m.family),
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
        ("schemes", _schemes(report)),
        *((("groups", "\n".join(report.groups)),) if report.groups else ()),
        *((("ignored", _short(report.ignore)),) if report.ignore else ()),
        ("KV cache", report.kv_cache),
        ("scan", "every weight was read" if report.scan == "values" else "headers, scales and norms only"),
    ]
    if m.moe is not None:
        of_each = f"{m.moe.num_experts_per_tok} of {m.moe.num_local_experts} for a token"
        rows.insert(2, ("experts", f"{of_each}, intermediate {m.moe.intermediate_size}, and a shared one"))
    table = Table(title=escape(str(report.path)), show_header=False, title_justify="left")
    for name, value in rows:
        table.add_row(name, escape(str(value)))
    return table


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    """An empty table, with columns of words and columns of numbers."""
    table = Table(title=title, title_justify="left")
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _parts(report: Report) -> Table:
    """Tensors of one purpose and dtype as one row."""
    table = _table("tensors", ("part", "dtype"), ("tensors", "elements", "bytes"))
    for part in report.parts:
        name = f"{part.name} (not read)" if part.name == "vision" else part.name
        table.add_row(name, part.dtype, f"{part.tensors:,}", f"{part.elements:,}", f"{part.nbytes:,}")
    return table


def _modules(report: Report) -> Table:
    """Projections of one kind as one row."""
    rows: dict[tuple[str, ...], int] = {}
    for module in report.modules:
        path, _, name = module.name.rpartition(".")
        part = "experts" if "experts" in path else path.rpartition(".")[2]
        activations = (module.activation_rule or "bf16").removeprefix("vllm.")
        shape = "x".join(map(str, module.shape))
        row = (f"{part}.{name}", shape, module.dtype, module.weight_scale or "none", activations)
        rows[row] = rows.get(row, 0) + module.count
    table = _table("projections", ("projection", "shape", "weight", "weight scale", "activations"), ("count",))
    for cells, count in rows.items():
        table.add_row(*map(escape, cells), str(count))
    return table


def _schemes(report: Report) -> str:
    """How many projections have which scheme, and the rules by which it quantizes."""
    rows: dict[tuple[str, ...], int] = {}
    for module in report.modules:
        rules = f"weights by {module.weight_rule or 'no known rule'}, activations by {module.activation_rule}"
        row = (module.scheme, rules) if module.activation_rule else (module.scheme,)
        rows[row] = rows.get(row, 0) + module.count
    return "\n".join(f"{count} x {', '.join(row)}" for row, count in rows.items())


def _kind(layer: LayerReport) -> str:
    """What a layer computes, in few words."""
    words = ["cross-attention" if layer.attention == "cross" else "no RoPE" if layer.rope == "none" else "RoPE"]
    words += [f"chunks of {layer.chunk}"] if layer.chunk else []
    words += [f"{layer.qk_norm} qk norm"] if layer.qk_norm != "none" else []
    words += ["temperature"] if layer.temperature is not None else []
    words += [f"{layer.experts} experts, {layer.experts_layout}".replace("_", " ")] if layer.experts else []
    return ", ".join(words)


def _short_scheme(scheme: str) -> str:
    """``fp8 channel, token``: the column is narrow."""
    return scheme.replace(" weights", "").replace(" activations", "")


def _numbers(values: Sequence[float | None], between: str) -> str:
    return "-" if None in values else between.join(f"{value:.3g}" for value in values)


def _layers(report: Report) -> Table:
    """A row for each layer: what is FP8 in it, and how large its numbers are."""
    table = _table("layers", ("layer", "what it is"), ("codes to", "scales", "NaN,\nsuspicious"))
    for layer in report.layers:
        parts: dict[str, list[str]] = {}
        for part, scheme in layer.schemes.items():
            parts.setdefault(scheme, []).append(part)
        lines = [_kind(layer), *(f"{', '.join(names)}: {_short_scheme(scheme)}" for scheme, names in parts.items())]
        if layer.kv_scales is not None:
            lines.append(f"k, v scale: {_numbers(layer.kv_scales, ', ')}")
        found = layer.ranges
        table.add_row(
            str(layer.index),
            escape("\n".join(lines)),
            _numbers([found.largest_code], ""),
            _numbers([found.scale_min, found.scale_max], " to "),
            _numbers([found.odd, found.suspicious], ", "),
        )
    return table
