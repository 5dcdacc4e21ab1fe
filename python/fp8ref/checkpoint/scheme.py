# SPDX-License-Identifier: Apache-2.0
"""The quantization config: which modules are FP8, and how their activations are quantized. spec/checkpoint.md"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import UnsupportedError
from .families import NESTED, unsupported
from .names import spellings
from .patterns import compile_pattern
from .strict_json import Section, show

FORMATS = ("float-quantized", "naive-quantized")
CLASS_NAME = "Linear"
BLOCK = 128
AUTOFP8 = "autofp8"  # in the place of an observer

# Strategy and ``dynamic`` of the activations, and what this project calls them.
ACTIVATIONS = {("token", True): "token", ("tensor", False): "static", ("group", True): "group"}
# What ``block_structure`` and ``group_size`` must be, by strategy; null elsewhere. [CKPT-ARGS]
BLOCK_STRUCTURES = {"block": ([BLOCK, BLOCK], f"{BLOCK}x{BLOCK}")}
GROUP_SIZES = {"group": (BLOCK,)}
# Schemes that a group may name instead of writing them out. [CKPT-CT]
PRESETS = {"FP8": ("tensor", "static"), "FP8_DYNAMIC": ("channel", "token"), "FP8_BLOCK": ("block", "group")}


@dataclass(frozen=True)
class Scheme:
    """How an FP8 projection is quantized.

    Attributes:
        weights: one scale per ``"channel"`` (output row), per ``"tensor"`` or per ``"block"`` of 128x128.
        activations: ``"token"``: dynamic, one scale per token; ``"static"``: one stored scale; ``"group"``: dynamic,
            one scale per token and 128 columns.
        observer: what looked for the weights' scales, as the config names it; None if it does not. No bit of a
            forward depends on it.
    """

    weights: str
    activations: str
    observer: str | None = field(default=None, compare=False)


class Names:
    """A list of module names, ``re:`` patterns and class names. [CKPT-MATCH]"""

    def __init__(self, section: Section, key: str) -> None:
        self.entries = section.strings(key)
        self.exact = frozenset(entry for entry in self.entries if not entry.startswith("re:"))
        self.patterns: list[Callable[[str], bool]] = []
        for entry in self.entries:
            if entry.startswith("re:"):
                try:
                    self.patterns.append(compile_pattern(entry[3:]))
                except UnsupportedError as error:
                    path = section.path(key)
                    raise UnsupportedError(f"{section.file}: key {path}: pattern {show(entry)}: {error}") from None

    def rank(self, module: str) -> int | None:
        """How a module matches, in any spelling: 0 by its name, 1 by a pattern, 2 by its class; None if not at all."""
        names = spellings(module)
        if not self.exact.isdisjoint(names):
            return 0
        if any(matches(name) for matches in self.patterns for name in names):
            return 1
        return 2 if CLASS_NAME in self.exact else None


@dataclass(frozen=True)
class Group:
    """Modules that share a scheme; ``targets`` of None is every linear layer."""

    name: str
    targets: Names | None
    scheme: Scheme


@dataclass(frozen=True)
class Quantization:
    """A checkpoint's quantization config.

    Attributes:
        method: ``"none"``, ``"compressed-tensors"`` or ``"fp8"`` (AutoFP8).
        file: the file that it comes from.
        kv_cache: dtype of the KV cache. [CKPT-KV]
        groups: the groups, in the file's order.
        ignore: the modules that no group reaches; None if there is no config.
    """

    method: str
    file: str
    kv_cache: str = "bfloat16"
    groups: tuple[Group, ...] = ()
    ignore: Names | None = None

    def configured(self, module: str) -> Scheme | None:
        """What the config says of a module: its scheme, or None where it is to be left alone. [CKPT-MATCH]"""
        if self.ignore is not None and self.ignore.rank(module) is not None:
            return None
        ranked = [(2 if g.targets is None else g.targets.rank(module), g.scheme) for g in self.groups]
        found = [(rank, scheme) for rank, scheme in ranked if rank is not None]
        return min(found, key=lambda pair: pair[0])[1] if found else None

    def of_fp8(self, module: str) -> Scheme:
        """The scheme of a module whose weight is FP8, whether or not the config reaches it. [CKPT-ACTIVATIONS]

        Raises:
            UnsupportedError: nothing says how its activations are quantized.
        """
        if len({group.scheme for group in self.groups}) == 1:
            return self.groups[0].scheme
        scheme = self.configured(module)
        if scheme is not None:
            return scheme
        if len({group.scheme.activations for group in self.groups}) != 1:
            reason = "several groups disagree" if self.groups else "there is no quantization config"
            message = f"the weight is F8_E4M3, but {reason} on how activations are quantized"
            raise UnsupportedError(f"{self.file}: module {module!r}: {message}")
        return self.groups[0].scheme


def _only(section: Section, key: str, allowed: tuple[object, ...], default: object, where: str = "") -> None:
    """UnsupportedError unless the value (or the format's default for it) is one of ``allowed``."""
    value = section.values[key] if section.has(key) else default
    if not any(value is a or (type(value) is type(a) and value == a) for a in allowed):
        raise unsupported(section, key, ", ".join(repr(a) for a in allowed) + where)


def _args(args: Section) -> tuple[str, bool]:
    """Strategy and ``dynamic`` of symmetric E4M3 arguments. [CKPT-ARGS]"""
    args.integer("num_bits", 8, low=1, high=64)
    args.string("type", "int")
    args.boolean("symmetric")
    _only(args, "type", ("float",), "int")
    _only(args, "num_bits", (8,), 8)
    _only(args, "symmetric", (True,), True)
    _only(args, "dynamic", (True, False), False)
    strategy = args.string("strategy", "tensor")
    for key, table in (("group_size", GROUP_SIZES), ("block_structure", BLOCK_STRUCTURES)):
        _only(args, key, table.get(strategy, (None,)), None, f" with strategy {strategy!r}")
    return strategy, args.boolean("dynamic")


def _group(name: str, group: Section) -> Group:
    """One of ``config_groups``. [CKPT-CT]"""
    _only(group, "format", (None, *FORMATS), None)
    _only(group, "output_activations", (None,), None)
    for key in ("weights", "input_activations"):
        if not group.has(key):
            raise unsupported(group, key, "FP8 weights with FP8 input activations")
    weights, activations = group.section("weights"), group.section("input_activations")
    strategy, dynamic = _args(weights)
    if strategy not in ("channel", "tensor", "block") or dynamic:
        raise unsupported(group, "weights", "strategy 'channel', 'tensor' or 'block', not dynamic")
    kind = ACTIVATIONS.get(_args(activations))
    if kind is None or (kind == "group") != (strategy == "block"):
        allowed = "'group' and dynamic" if strategy == "block" else "'token' and dynamic, or 'tensor' and static"
        raise unsupported(group, "input_activations", f"with weights of strategy {strategy!r}: strategy {allowed}")
    observer = weights.values.get("observer")
    named = observer if isinstance(observer, str) else None  # a hint for inspect: it refuses nothing
    return Group(name, Names(group, "targets"), Scheme(strategy, kind, named))


def _preset(groups: Section, name: str) -> Group:
    """A group that is a list of targets under the name of a scheme. [CKPT-CT]"""
    if name not in PRESETS:
        raise unsupported(groups, name, f"a group written out, or one of the presets {', '.join(PRESETS)}")
    return Group(name, Names(groups, name), Scheme(*PRESETS[name]))


def _kv_cache(config: Section) -> str:
    """[CKPT-KV]"""
    key = "kv_cache_scheme"
    if not config.has(key):
        return "bfloat16"
    args = config.section(key)
    _args(args)
    _only(args, "strategy", ("tensor",), "tensor")
    _only(args, "dynamic", (False,), False)
    return "float8_e4m3fn"


def _compressed_tensors(config: Section) -> Quantization:
    """[CKPT-CT]"""
    if not config.has("format"):
        raise config.wrong("format", "the name of a storage format")
    config.string("format")
    _only(config, "format", FORMATS, None)
    _only(config, "quantization_status", ("compressed", None), None)
    if config.section("transform_config").values:
        raise unsupported(config, "transform_config", "empty")
    sparsity = config.section("sparsity_config")
    if sparsity.values:
        _only(sparsity, "format", ("dense",), None)
    groups = config.section("config_groups")
    if not groups.values:
        raise config.wrong("config_groups", "an object that is not empty")
    parsed = tuple(
        _preset(groups, name) if isinstance(value, list) else _group(name, groups.section(name))
        for name, value in groups.values.items()
    )
    return Quantization("compressed-tensors", str(config.file), _kv_cache(config), parsed, Names(config, "ignore"))


def _autofp8(config: Section) -> Quantization:
    """[CKPT-AUTOFP8]"""
    _only(config, "weight_block_size", (None,), None)
    _only(config, "kv_cache_scheme", (None, "static"), None)
    if config.string("activation_scheme") != "static":
        raise unsupported(config, "activation_scheme", "'static' (AutoFP8's 'dynamic' is one scale for all tokens)")
    ignore = Names(config, "ignored_layers" if config.has("ignored_layers") else "modules_to_not_convert")
    kv_cache = "float8_e4m3fn" if config.has("kv_cache_scheme") else "bfloat16"
    groups = (Group("all", None, Scheme("tensor", "static", AUTOFP8)),)
    return Quantization("fp8", str(config.file), kv_cache, groups, ignore)


def _locate(config: Section) -> Section | None:
    """The quantization config among its three places. [CKPT-QUANT-KEY]"""
    for parent, key in (
        (config, "quantization_config"),
        (config.section(NESTED), "quantization_config"),
        (config, "compression_config"),
    ):
        if parent.has(key):
            return parent.section(key)
    return None


def quantization(config: Section) -> Quantization:
    """The quantization config of a checkpoint.

    Args:
        config: config.json.

    Raises:
        CheckpointError: a value of wrong type.
        UnsupportedError: a method, format or scheme that is not implemented; the message names the key and its value.

    Example:
        >>> quantization(Section("config.json", {"model_type": "llama"})).method
        'none'
    """
    section = _locate(config)
    if section is None:
        return Quantization("none", str(config.file))
    implied = "compressed-tensors" if section.has("config_groups") else None
    method = section.string("quant_method", implied)
    if method == "compressed-tensors":
        return _compressed_tensors(section)
    if method == "fp8":
        return _autofp8(section)
    raise unsupported(section, "quant_method", "'compressed-tensors', 'fp8'")
