# SPDX-License-Identifier: Apache-2.0
"""A mixture of experts equals its plain definition, each token through its experts alone. [LLAMA-MOE]"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fp8ref
from bits import BF16, assert_same_bits, same_bits
from fp8ref.golden._llama_mlp import mlp, moe
from fp8ref.golden._llama_run import Run
from fp8ref.golden.llama import GOLDEN, KVCache, Moe
from fp8ref.golden.quantize import quantize
from inputs.llama import Model
from inputs.llama_families import BLOCK, CHANNEL, llama4
from inputs.llama_tensors import Scheme

TOKENS, EXPERTS = 8, 8
SCHEMES = {
    "bf16": Scheme(),
    "channel_token": Scheme(CHANNEL),
    "tensor_static": Scheme("compressed_tensors.tensor", "static"),
    "block_group": BLOCK,
}
FP8 = {"exact": "exact", "sm90": "sm90_wgmma"}  # by mode
NAMES = ("gate_proj", "up_proj", "down_proj")


def layer(scheme: str, top_k: int) -> tuple[Model, Moe]:
    """A layer with experts; K has two blocks, the second short."""
    moe_config = {"num_local_experts": EXPERTS, "num_experts_per_tok": top_k, "intermediate_size": 136, "layers": (0,)}
    config = llama4(top_k, (0,), (), hidden_size=160, num_hidden_layers=1, moe=moe_config)
    model = Model(f"moe {scheme}", config, "exact", SCHEMES[scheme])
    weights = model.golden()[1].layers[0].mlp
    assert isinstance(weights, Moe)
    return model, weights


def tokens(seed: int = 0, count: int = TOKENS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 160)).astype(np.float32).astype(BF16)


def run_of(model: Model, mode: str, trace: Any = None, **ops: Any) -> Run:
    """A forward that computes nothing but MLPs."""
    config, none = model.golden()[0], np.empty(0, np.float32)
    operations = SimpleNamespace(**{**vars(GOLDEN), **ops})
    return Run(config, operations, FP8[mode], mode, KVCache(config), none, none, None, None, {}, trace)


def plain(run: Run, weights: Moe, h: np.ndarray) -> np.ndarray:
    """The definition, a token and one of its choices at a time."""
    rows = []
    for token in h[:, None]:
        experts, scores = GOLDEN.route(run.linear(token, weights.router), run.config.moe.num_experts_per_tok)
        one = np.zeros((1, 1), np.int64)
        inputs = [GOLDEN.dispatch(token, one, scores[:, j : j + 1], 1)[0] for j in range(scores.shape[1])]
        parts = [mlp(run, "", weights.experts[e], x) for e, x in zip(experts[0], inputs, strict=True)]
        shared = mlp(run, "", weights.shared_expert, token)
        rows.append(GOLDEN.combine(np.concatenate(parts), np.arange(len(parts)), shared))
    return np.concatenate(rows)


def towards(weights: Moe, expert: int) -> Moe:
    """Positive tokens all choose that expert first."""
    router = np.full(weights.router.weight.shape, -1, np.float32)
    router[expert] = 1
    return Moe(type(weights.router)(router.astype(BF16)), weights.experts, weights.shared_expert)


@pytest.mark.parametrize("mode", FP8)
@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_token_alone(scheme: str, top_k: int, mode: str) -> None:
    model, weights = layer(scheme, top_k)
    seen: dict[str, np.ndarray] = {}
    out = moe(run_of(model, mode, seen.__setitem__), "", weights, tokens())
    counts = np.bincount(seen["experts"].ravel(), minlength=EXPERTS)
    assert counts.max() > 1, "no expert has several tokens"
    assert top_k > 1 or counts.min() == 0, "every expert has tokens"
    assert_same_bits(out, plain(run_of(model, mode), weights, tokens()))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_expert_takes_all_tokens(scheme: str) -> None:
    model, weights = layer(scheme, 1)
    chosen, h, seen = towards(weights, 5), np.abs(tokens()), dict[str, np.ndarray]()
    out = moe(run_of(model, "exact", seen.__setitem__), "", chosen, h)
    assert (seen["experts"] == 5).all()
    assert_same_bits(out, plain(run_of(model, "exact"), chosen, h))


@pytest.mark.parametrize("top_k", [1, 2, EXPERTS])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_order_and_company_of_tokens(scheme: str, top_k: int) -> None:
    """Tokens in any order, and in any batch, have the same bits, in every intermediate."""
    model, weights = layer(scheme, top_k)
    whole = traced(model, weights, tokens())
    for rows in (np.random.default_rng(1).permutation(TOKENS), np.arange(TOKENS)[::-1], np.array([7, 2, 5])):
        some = traced(model, weights, tokens()[rows])
        assert_same_bits(some, {name: x[rows] if len(x) == TOKENS else x for name, x in whole.items()})


def traced(model: Model, weights: Moe, h: np.ndarray) -> dict[str, np.ndarray]:
    seen: dict[str, np.ndarray] = {}
    moe(run_of(model, "exact", seen.__setitem__), "", weights, h)
    return seen


@pytest.mark.parametrize("mode", FP8)
@pytest.mark.parametrize("top_k", [1, 3])
@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "bf16"])
def test_grouped_mm_of_stacked_experts(scheme: str, top_k: int, mode: str) -> None:
    """Each product of the experts, of all their rows at once. [GROUPED-ROWS]"""
    model, weights = layer(scheme, top_k)
    seen: dict[str, np.ndarray] = {}
    moe(run_of(model, mode, seen.__setitem__), "", weights, tokens())
    _, order, offsets = GOLDEN.dispatch(tokens(), seen["experts"], seen["scores"], EXPERTS)

    def rows(name: str) -> np.ndarray:
        return seen[f"experts.{name}"].reshape(len(order), -1)[order]

    for name in NAMES:
        stacked = [getattr(expert, name) for expert in weights.experts]
        b, b_scale = (np.stack([getattr(p, part) for p in stacked]) for part in ("weight", "weight_scale"))
        how = {"accumulate": FP8[mode], "epilogue": "deepgemm" if (scheme, mode) == ("block_group", "sm90") else "a_b"}
        codes, scales = rows(f"{name}.input_codes"), rows(f"{name}.input_scale")
        assert_same_bits(fp8ref.grouped_mm(codes, b, scales, b_scale, offsets, **how), rows(name), name)


def _scale_of_the_group(x: Any, rule: str, scale: Any = None) -> Any:
    """One scale for all rows of an expert."""
    if rule != "vllm.per_token":
        return quantize(x, rule, scale)
    codes, shared = quantize(x, "vllm.per_tensor")
    return codes, np.full((len(x), 1), shared)


def _rows_not_put_back(routed: Any, order: Any, shared: Any) -> Any:
    return GOLDEN.combine(routed, np.arange(len(order)), shared)


@pytest.mark.parametrize(
    "wrong", [{"quantize": _scale_of_the_group}, {"combine": _rows_not_put_back}], ids=lambda wrong: next(iter(wrong))
)
def test_what_depends_on_company_is_noticed(wrong: dict[str, Any]) -> None:
    model, weights = layer("channel_token", 1)
    out = moe(run_of(model, "exact", **wrong), "", weights, tokens())
    assert not same_bits(out, plain(run_of(model, "exact"), weights, tokens()))
