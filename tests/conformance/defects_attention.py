# SPDX-License-Identifier: Apache-2.0
"""Wrong attention by a tensor core: golden's with another number, or another function, in one place; wrong chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np

import fp8ref
from conformance.defects import Array, bf16, defect, f32, f64
from conformance.defects_nn import refused
from fp8ref.golden import _attention_unit as unit
from fp8ref.golden import _attention_weight, _tensor_core

MODES = ("sm90", "sm89", "sm80")


def _changed(name: str, **change: Any) -> None:
    """golden with other names in its module, for the time of a call."""

    def wrong(**arguments: Any) -> Array:
        with patch.multiple(unit, create=True, **change):
            return fp8ref.attention(**arguments)

    wrong.__name__ = name
    wrong.modes = MODES  # type: ignore[attr-defined]
    defect("attention")(wrong)


def _backward(*bounds: int) -> list[int]:
    return [*range(*bounds)][::-1]


def _weights(change: Callable[[Array, Array, Array], Array]) -> Callable[..., Array]:
    """Other weights: of the exact ones relative to 2**M in float64, M, and t."""

    def wrong(t: Array, top: Array, term: Array) -> Array:
        m, n = _attention_weight.weights(t)
        relative = np.ldexp(m, np.clip(n - top[:, None], -300, 0).astype(int) - 7)
        with np.errstate(all="ignore"):
            return np.where(term, change(relative, top[:, None], t), 0).astype(unit.BFLOAT16)

    return wrong


def _block(columns_of: Callable[[Array], Array]) -> Callable[..., Any]:
    right = unit._block
    return lambda core, t, term, value: right(core, t, term, columns_of(value))


def _late_chain(core: Any, a: Array, b: Array) -> Array:
    """Each step from +0, and the accumulator added to what it gives."""
    total = np.zeros((len(a), len(b)), np.float32)
    with np.errstate(all="ignore"):
        for k in range(0, a.shape[1], core.block):
            total = total + _tensor_core.chain(core, a[:, k : k + core.block], b[:, k : k + core.block])
    return total


def _float32_chain(core: Any, a: Array, b: Array) -> Array:
    del core
    with np.errstate(all="ignore"):
        return f32(f64(a) @ f64(b).T)


def _one_exact(core: Any, a: Array, b: Array, scores: bool) -> Array:
    """The scores, or the denominators, in float64; a column of ones tells the products with v."""
    right, sums = _tensor_core.chain(core, a, b), _float32_chain(core, a, b)
    if not np.array_equal(b[-1:], np.ones_like(b[-1:])):
        return sums if scores else right
    if not scores:
        right[:, -1] = sums[:, -1]
    return right


def _leaking(core: Any, t: Array, term: Array, value: Array) -> Any:
    """0 times a value that is not finite."""
    top = np.ceil(np.max(t, axis=1, initial=-np.inf, where=term)).astype(np.float64)
    w = unit.block_weights(np.where(term, t, 0).astype(np.float64), top, term)
    columns = np.concatenate([value.T, np.ones((1, len(value)), value.dtype)])
    return unit.State(top, _tensor_core.chain(core, w, columns))


def _merged_apart(first: Any, second: Any) -> Any:
    """Powers of two of two numbers that are each rounded on the way are not the same as one of the difference."""
    top = np.maximum(first.top, second.top)
    with np.errstate(all="ignore"):
        parts = [f64(s.sums) * np.exp2(np.nan_to_num(s.top - top, nan=-np.inf))[:, None] for s in (first, second)]
        return unit.State(top, f32(np.nan_to_num(parts[0]) + np.nan_to_num(parts[1])))


_changed("blocks_of_64_keys", BLOCK=64)
_changed("blocks_of_256_keys", BLOCK=256)
_changed("one_chain_over_all_keys", BLOCK=1 << 30, SUPERBLOCK=1 << 30)
_changed("no_superblocks", SUPERBLOCK=1 << 30)
_changed("superblocks_of_15_blocks", SUPERBLOCK=15 * 128)
_changed("superblocks_of_17_blocks", SUPERBLOCK=17 * 128)
_changed("blocks_merge_backward", range=_backward)
_changed("factors_below_normal_numbers", FARTHEST=149)
_changed("factors_end_early", FARTHEST=125)
_changed("one_rounding_of_a_merge", merge=_merged_apart)
_changed("accumulator_added_last", chain=_late_chain)
_changed("float32_sums", chain=_float32_chain)
_changed("exact_scores", chain=lambda core, a, b: _one_exact(core, a, b, True))
_changed("exact_denominators", chain=lambda core, a, b: _one_exact(core, a, b, False))
_changed("steps_of_half_the_length", chain=lambda core, a, b: _tensor_core.chain(replace(core, block=4), a, b))
_changed("values_of_no_terms_leak", _block=_leaking)
_changed(
    "infinite_values_are_the_largest", _block=_block(lambda v: np.where(np.isinf(f32(v)), 3e38, v).astype(v.dtype))
)
_changed("subnormal_weights_are_flushed", block_weights=_weights(lambda w, m, t: np.where(w < 2.0**-126, 0, bf16(w))))
_changed(
    "subnormal_weights_are_cut",
    block_weights=_weights(lambda w, m, t: np.where(w < 2.0**-126, np.trunc(w * 2.0**133) * 2.0**-133, w)),
)
_changed(
    "subnormal_weights_round_up_at_ties",
    block_weights=_weights(lambda w, m, t: np.where(w < 2.0**-126, np.floor(w * 2.0**133 + 0.5) * 2.0**-133, w)),
)
_changed("weights_rounded_once", block_weights=_weights(lambda w, m, t: bf16(np.exp2(t - m))))
_changed(
    "largest_t_itself",
    block_weights=lambda t, top, term: np.where(
        term, bf16(np.exp2(t - np.max(t, axis=1, keepdims=True, initial=-np.inf, where=term))), 0
    ).astype(unit.BFLOAT16),
)


def mode_ignored(**arguments: Any) -> Array:
    return fp8ref.attention(**{**arguments, "accumulate": "exact"})


def blocks_begin_with_the_first_query(**arguments: Any) -> Array:
    """Blocks counted from where a forward begins: keys of score -Inf put the first query at the edge of a block."""
    (t, _, d), length = arguments["q"].shape, len(arguments["k"])
    gap = -(length - t) % 128
    if not 0 < t < length or not gap:
        return fp8ref.attention(**arguments)
    wide = {x: np.pad(arguments[x], ((0 if x == "q" else gap, 0), (0, 0), (0, 1))) for x in "qkv"}
    wide["q"][:, :, d], wide["k"][:gap, :, d] = 1, np.float32(-np.inf)
    scale = d**-0.5 if arguments.get("scale") is None else arguments["scale"]
    return fp8ref.attention(**{**arguments, **wide, "scale": scale})[:, :, :d]


for _wrong in (mode_ignored, blocks_begin_with_the_first_query):
    _wrong.modes = MODES  # type: ignore[attr-defined]
    defect("attention")(_wrong)


# ---- chunked attention -----------------------------------------------------------------------------------------------
def _chunked(arguments: dict[str, Any], first: Any, last: Any = lambda p, c: p) -> Array:
    """Chunked attention whose query at a position p sees the keys first(p, chunk, prefix) to last(p, chunk)."""
    if arguments.get("mask") != "chunked" or refused(fp8ref.attention, **arguments):
        return fp8ref.attention(**arguments)
    q, k, v = (arguments[name] for name in "qkv")
    prefix, chunk = len(k) - len(q), min(arguments["chunk"], len(k) + 1)
    rows = [np.zeros((0, *q.shape[1:]), q.dtype)]
    for i in range(len(q)):
        begin, end = max(first(prefix + i, chunk, prefix), 0), last(prefix + i, chunk) + 1
        one = {"q": q[i : i + 1], "k": k[begin:end], "v": v[begin:end], "mask": "full", "chunk": None}
        rows.append(fp8ref.attention(**{**arguments, **one}))
    return np.concatenate(rows)


@defect("attention")
def chunk_counted_from_the_query(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: p - c + 1)


@defect("attention")
def chunk_counted_from_the_first_query(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: prefix + (p - prefix) // c * c)


@defect("attention")
def chunk_of_one_key_more(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: p // (c + 1) * (c + 1))


@defect("attention")
def chunk_not_causal(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: p // c * c, lambda p, c: p // c * c + c - 1)


@defect("attention")
def blocks_counted_from_the_chunk(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: p // c * c)


blocks_counted_from_the_chunk.modes = MODES  # type: ignore[attr-defined]


@defect("attention")
def chunks_forgotten(**arguments: Any) -> Array:
    return _chunked(arguments, lambda p, c, prefix: 0)
