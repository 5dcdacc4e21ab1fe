# SPDX-License-Identifier: Apache-2.0
"""Check a checkpoint completely and say what it holds. [CKPT-INSPECT], [CKPT-WARN]"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from ..golden._args import choice
from ..golden._llama_run import RULES as ACTIVATION_RULES
from ..golden.llama import Fp8Linear, LayerWeights, Linear, Mlp, Moe
from .config import model_dtype
from .folder import Checkpoint
from .layout import EXPERTS, MLP_PROJECTIONS, attention_shapes, mlp_shapes
from .names import is_vision, plain
from .ranges import SCANS, Ranges, merge, ranges
from .reader import LlamaReader
from .report import FileReport, LayerReport, ModuleReport, PartReport, Report
from .scheme import AUTOFP8, Quantization, Scheme

UNQUANTIZED = "bf16"
RELEASE = 1 << 28  # bytes of weights to read before their pages are given back
Progress = Callable[[int, int], None]

# What an observer of a config looks for, and the rule that it makes with a strategy.
OBSERVERS = {None: "minmax", "minmax": "minmax", "memoryless_minmax": "minmax", "static_minmax": "minmax"}
OBSERVERS |= {"mse": "mse", "memoryless_mse": "mse", AUTOFP8: AUTOFP8}
WEIGHT_RULES = {
    ("channel", "minmax"): "compressed_tensors.channel",
    ("tensor", "minmax"): "compressed_tensors.tensor",
    ("block", "minmax"): "compressed_tensors.block_128x128",
    ("channel", "mse"): "llm_compressor.mse_channel",
    ("tensor", "mse"): "llm_compressor.mse_tensor",
    ("tensor", AUTOFP8): "autofp8.per_tensor",
}

# The purpose of a tensor, by the first of these that its plain name holds.
PARTS = {
    "_scale": "scales",
    "feed_forward.router": "router",
    ".experts.": "experts",
    ".shared_expert.": "shared_expert",
    "attn.q_proj": "attention",
    "attn.k_proj": "attention",
    "attn.v_proj": "attention",
    "attn.o_proj": "attention",
    "_proj.": "mlp",
    "embed_tokens": "embeddings",
    "lm_head": "lm_head",
}
NOT_PARAMETERS = ("scales", "vision")


def scheme_text(scheme: Scheme) -> str:
    """A scheme in words."""
    return f"fp8 {scheme.weights} weights, {scheme.activations} activations"


def _groups(config: Quantization) -> tuple[str, ...]:
    lines = []
    for group in config.groups:
        targets = "all linear layers" if group.targets is None else ", ".join(group.targets.entries)
        observer = "" if group.scheme.observer in (None, AUTOFP8) else f" (observer {group.scheme.observer})"
        lines.append(f"{group.name}: {scheme_text(group.scheme)}{observer}; targets {targets}")
    return tuple(lines)


def _parts(checkpoint: Checkpoint) -> tuple[PartReport, ...]:
    """All tensors by purpose and dtype."""
    found: dict[tuple[str, str], list[int]] = {}
    for name in checkpoint.names:
        entry = checkpoint.entry(name)
        part = "vision" if is_vision(name) else next((p for k, p in PARTS.items() if k in plain(name)), "norms")
        row = found.setdefault((part, entry.dtype), [0, 0, 0])
        for index, value in enumerate((1, entry.elements, entry.nbytes)):
            row[index] += value
    order = [*dict.fromkeys(PARTS.values()), "norms", "vision"]
    return tuple(PartReport(*key, *found[key]) for key in sorted(found, key=lambda k: (order.index(k[0]), k[1])))


class _Row:
    """One row of the table while it grows: a projection, or the same one of expert after expert."""

    def __init__(self, reader: LlamaReader, name: str, scan: str) -> None:
        self._reader, self._name, self._scan = reader, name, scan
        self._ranges = Ranges()
        self._contradictions: Counter[str] = Counter()
        self._count = self._odd = self._suspicious = 0  # projections, with odd values, with suspicious scales
        self._input_scales: list[float] = []
        self._first: ModuleReport | None = None

    def add(self, module: str, projection: Linear) -> None:
        """A projection, which has the name ``module`` in the checkpoint if it is a tensor by itself."""
        found = ranges(projection, self._scan)
        self._ranges = merge((self._ranges, found))
        self._count += 1
        self._odd += bool(found.odd)
        self._suspicious += bool(found.suspicious)
        shape, fp8 = tuple(projection.weight.shape), isinstance(projection, Fp8Linear)
        if isinstance(projection, Fp8Linear):
            described = self._fp8(module, projection)
        else:
            described = ModuleReport(self._name, shape, "BF16", UNQUANTIZED)
        self._first = self._first or described
        if f"{module}.weight" in self._reader.tensors:  # fused experts are no linear layers
            self._compare(module, fp8)

    def _fp8(self, module: str, projection: Fp8Linear) -> ModuleReport:
        """The row of an FP8 projection, without its ranges."""
        scheme, entry = self._reader.quantization.of_fp8(module), self._reader.tensors.entry(f"{module}.weight_scale")
        kind = "block" if scheme.weights == "block" else "channel" if projection.weight_scale.ndim else "tensor"
        if kind != scheme.weights and projection.weight.shape[0] != 1:
            shown = f"weight_scale has shape {list(entry.shape)}"
            self._contradictions[f"config.json asks for {scheme.weights} scales, but {shown}"] += 1
        if projection.input_scale is not None:
            self._input_scales.append(float(projection.input_scale))
        return ModuleReport(
            self._name,
            projection.weight.shape,
            "F8_E4M3",
            scheme_text(Scheme(kind, projection.activations)),
            f"{entry.dtype} {list(entry.shape)}",
            weight_rule=WEIGHT_RULES.get((kind, OBSERVERS.get(scheme.observer, ""))),
            activation_rule=ACTIVATION_RULES[projection.activations],
        )

    def _compare(self, module: str, fp8: bool) -> None:
        """Where tensor and config contradict each other. [CKPT-WARN]"""
        configured = self._reader.quantization.configured(module)
        if fp8 and configured is None:
            self._contradictions["config.json leaves it alone, but the weight is F8_E4M3"] += 1
        if not fp8 and configured is not None:
            self._contradictions["config.json asks for FP8, but the weight is BF16"] += 1

    def report(self) -> ModuleReport:
        """The finished row."""
        assert self._first is not None
        largest = max(self._input_scales, default=None)
        fields = vars(self._first) | {"count": self._count, "ranges": self._ranges, "input_scale": largest}
        return ModuleReport(**fields)

    def warnings(self) -> Iterator[str]:
        """What is strange, a line each."""

        def line(message: str, count: int) -> str:
            return f"{self._name}: {message}" + (f" (of {count} of {self._count})" if self._count > 1 else "")

        for message, count in self._contradictions.items():
            yield line(f"{message}; the tensor decides", count)
        if self._ranges.odd:
            fp8 = self._first is not None and self._first.scheme != UNQUANTIZED
            what = "NaN codes (0x7F or 0xFF)" if fp8 else "values that are NaN or infinite"
            yield line(f"the weight holds {self._ranges.odd} {what}", self._odd)
        if self._ranges.suspicious:
            reasons = "zero, subnormal, or too large for the codes"
            yield line(f"{self._ranges.suspicious} scales are suspicious ({reasons})", self._suspicious)


class _Inspection:
    """Goes through the layers of one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, scan: str, on_progress: Progress | None) -> None:
        self.reader = LlamaReader(checkpoint)
        self.weights = self.reader.weights()  # all checks
        self.warnings: list[str] = []
        self.modules: list[ModuleReport] = []
        self._scan, self._on_progress = scan, on_progress
        self._done = self._unreleased = 0
        self._total = sum(7 + 3 * len(x.mlp.experts) if isinstance(x.mlp, Moe) else 7 for x in self.weights.layers)

    def _add(self, row: _Row, module: str, projection: Linear) -> None:
        """One projection, and give back the pages of those that were read."""
        row.add(module, projection)
        self._done += 1
        self._unreleased += projection.weight.nbytes if self._scan == "values" else 0
        if self._unreleased > RELEASE:
            self.reader.checkpoint.release()
            self._unreleased = 0
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)

    def _finish(self, rows: list[_Row]) -> list[ModuleReport]:
        reports = [row.report() for row in rows]
        self.modules += reports
        for row in rows:
            self.warnings += row.warnings()
        return reports

    def _single(self, prefix: str, paths: list[str], parts: object) -> list[ModuleReport]:
        """Projections with a row each; they are attributes of ``parts``."""
        rows = []
        for path in paths:
            row = _Row(self.reader, prefix + path, self._scan)
            self._add(row, prefix + path, getattr(parts, path.rpartition(".")[2]))
            rows.append(row)
        return self._finish(rows)

    def _experts(self, prefix: str, moe: Moe) -> list[ModuleReport]:
        """A row for each projection of the experts."""
        rows = [_Row(self.reader, f"{prefix}{EXPERTS}.*.{name}", self._scan) for name in MLP_PROJECTIONS]
        for number, expert in enumerate(moe.experts):
            for row, name in zip(rows, MLP_PROJECTIONS, strict=True):
                self._add(row, f"{prefix}{EXPERTS}.{number}.{name}", getattr(expert, name))
        return self._finish(rows)

    def layer(self, index: int, layer: LayerWeights) -> LayerReport:
        """One decoder layer."""
        config, prefix = self.reader.config, f"model.layers.{index}."
        kind = config.layer(index)
        parts = {"attention": self._single(prefix, [*attention_shapes(config, kind)], layer)}
        experts, layout, paths = 0, None, [*mlp_shapes(config, kind)]
        if isinstance(layer.mlp, Mlp):
            parts["mlp"] = self._single(prefix, paths, layer.mlp)
        else:
            experts, layout = len(layer.mlp.experts), "fused" if self.reader.is_fused(index) else "one_by_one"
            parts["shared_expert"] = self._single(prefix, paths, layer.mlp.shared_expert)
            parts["experts"] = self._experts(prefix, layer.mlp)
        schemes = {part: "; ".join(dict.fromkeys(row.scheme for row in rows)) for part, rows in parts.items()}
        fp8 = [row.ranges for rows in parts.values() for row in rows if row.scheme != UNQUANTIZED]
        scales = None
        if layer.k_scale is not None and layer.v_scale is not None:
            scales = float(layer.k_scale), float(layer.v_scale)
        return LayerReport(
            index,
            kind.attention,
            kind.rope,
            kind.chunk,
            kind.qk_norm,
            None if kind.temperature is None else kind.temperature.attn_scale,
            kind.mlp,
            experts,
            layout,
            schemes,
            scales,
            merge(fp8),
        )

    def warn_of_the_whole(self, dtype: str | None) -> None:
        """What concerns no projection. [CKPT-WARN]"""
        if dtype not in (None, "bfloat16"):
            self.warnings.append(f"config.json says dtype {dtype}, but the unquantized tensors are BF16")
        config = self.reader.config
        own = [i for i in range(config.num_hidden_layers) if config.layer(i).attention == "self"]
        scaled = [index for index in own if self.reader.kv_scale_names(index)]
        if config.kv_cache == "bfloat16" and scaled:
            self.warnings.append(f"{len(scaled)} layers have KV scales, but config.json asks for a bfloat16 cache")
        if config.kv_cache != "bfloat16" and len(scaled) < len(own):
            missing = len(own) - len(scaled)
            self.warnings.append(f"the KV cache is FP8, but {missing} of {len(own)} layers have no scales: they are 1")


def inspect(path: str | Path, on_progress: Progress | None = None, scan: str = "values") -> Report:
    """Check a checkpoint completely and say what it holds.

    Args:
        path: the folder.
        on_progress: called as ``on_progress(done, total)`` after each projection.
        scan: ``"values"`` reads every weight of a projection, in pieces; ``"headers"`` reads headers, scales and norms
            only, so that the largest checkpoint takes seconds.

    Raises:
        CheckpointError: it is damaged; the message names the file and the tensor or key.
        UnsupportedError: it asks for something that fp8ref does not implement.
        OpError: ``scan`` is another word.

    Example:
        >>> report = inspect("SmolLM2-135M-Instruct-FP8")   # doctest: +SKIP
        >>> report.schemes                                  # doctest: +SKIP
        {'fp8 channel weights, token activations': 210}
    """
    choice("inspect", "scan", scan, SCANS)
    checkpoint = Checkpoint(path)
    inspection = _Inspection(checkpoint, scan, on_progress)
    reader, dtype = inspection.reader, model_dtype(checkpoint.config)
    inspection.warn_of_the_whole(dtype)
    checkpoint.expect({"values": "whole", "headers": "scattered"}[scan])
    layers = tuple(inspection.layer(index, layer) for index, layer in enumerate(inspection.weights.layers))
    schemes: Counter[str] = Counter()
    for module in inspection.modules:
        schemes[module.scheme] += module.count
    parts = _parts(checkpoint)
    return Report(
        path=checkpoint.path,
        scan=scan,
        model=reader.config,
        dtype=dtype,
        method=reader.quantization.method,
        kv_cache=reader.config.kv_cache,
        groups=_groups(reader.quantization),
        ignore=reader.quantization.ignore.entries if reader.quantization.ignore else (),
        files=tuple(FileReport(f.path.name, f.path.stat().st_size, len(f.entries)) for f in checkpoint.files),
        parts=parts,
        layers=layers,
        modules=tuple(inspection.modules),
        schemes=dict(schemes),
        parameters=sum(part.elements for part in parts if part.name not in NOT_PARAMETERS),
        nbytes=sum(part.nbytes for part in parts),
        warnings=tuple(inspection.warnings),
    )
