# SPDX-License-Identifier: Apache-2.0
"""Mistakes in Hugging Face's own models: each must change the logits by more than a comparison with them allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

Change = Callable[[Any], None]


def _layers4(model: Any) -> Any:
    return model.language_model.model.layers


def _moe(model: Any) -> Iterator[Any]:
    return (layer.feed_forward for layer in _layers4(model) if layer.is_moe_layer)


def _attentions(model: Any, rope: bool) -> Iterator[Any]:
    return (layer.self_attn for layer in _layers4(model) if bool(layer.self_attn.use_rope) == rope)


def _zero_routed_experts(model: Any) -> None:
    for part in _moe(model):
        part.experts.down_proj.zero_()


def _rotate_router(model: Any) -> None:
    for part in _moe(model):
        part.router.weight.copy_(part.router.weight.roll(1, 0))


def _drop_shared_expert(model: Any) -> None:
    for part in _moe(model):
        part.shared_expert.down_proj.weight.zero_()


def _rope_on_nope_layers(model: Any) -> None:
    """The temperature stays: it is not what is tested here."""
    import torch
    from transformers.models.llama4.modeling_llama4 import apply_rotary_emb

    rotary = model.language_model.model.rotary_emb

    def rotate(module: Any, _: Any, out: Any) -> Any:
        heads = out.view(*out.shape[:-1], -1, width)
        table = rotary(out, torch.arange(out.shape[1])[None])
        return apply_rotary_emb(heads, heads, table)[0].reshape(out.shape)

    width = model.config.text_config.head_dim
    for attention in _attentions(model, rope=False):
        attention.q_proj.register_forward_hook(rotate)
        attention.k_proj.register_forward_hook(rotate)


def _rope_of_halves(model: Any) -> None:
    """Llama 3's pairs (i, i + d/2) in the place of (2i, 2i + 1)."""

    def columns(module: Any, _: Any, out: Any) -> Any:
        heads = out.view(*out.shape[:-1], -1, 2, width // 2)
        return heads.transpose(-1, -2).reshape(out.shape)

    width = model.config.text_config.head_dim
    for attention in _attentions(model, rope=True):
        attention.q_proj.register_forward_hook(columns)
        attention.k_proj.register_forward_hook(columns)


def _score_on_output(model: Any) -> None:
    def forward(part: Any, x: Any) -> Any:
        x = x.reshape(-1, part.hidden_dim)
        scores, logits = part.router(x)
        # An expert that was not chosen has the score 0 here too.
        routed = part.experts(x.repeat(scores.shape[1], 1)) * scores.transpose(0, 1).reshape(-1, 1)
        return part.shared_expert(x) + routed.view(scores.shape[1], *x.shape).sum(0), logits

    for part in _moe(model):
        part.forward = MethodType(forward, part)


def _router(score: Callable[[Any, Any], Any]) -> Change:
    """Another score of the chosen experts; ``score`` gets all logits (T, E), and those chosen (T, k)."""

    def forward(router: Any, x: Any) -> Any:
        _, logits = type(router).forward(router, x)
        values, indices = logits.topk(router.top_k, dim=1)
        scores = score(logits.float(), values.float()).to(logits.dtype)
        return logits.new_zeros(logits.shape).scatter_(1, indices, scores), logits

    def change(model: Any) -> None:
        for part in _moe(model):
            part.router.forward = MethodType(forward, part.router)

    return change


def _no_chunks(model: Any) -> None:
    for config in (model.config.text_config, model.language_model.config, model.language_model.model.config):
        config.attention_chunk_size = config.max_position_embeddings


def _no_temperature(model: Any) -> None:
    for attention in _attentions(model, rope=False):
        attention.attn_temperature_tuning = False


def _no_qk_norm(model: Any) -> None:
    import torch

    for attention in _attentions(model, rope=True):
        attention.qk_norm = torch.nn.Identity()


def _text(model: Any) -> Any:
    return model.model.language_model if hasattr(model, "model") else model.language_model.model


def _no_rope_scaling(model: Any) -> None:
    rotary = _text(model).rotary_emb
    rotary.inv_freq = rotary.compute_default_rope_parameters(rotary.config)[0]


def _cross(model: Any) -> Iterator[Any]:
    return (layer for layer in _text(model).layers if hasattr(layer, "cross_attn"))


def _no_cross_attention(model: Any) -> None:
    for layer in _cross(model):
        layer.cross_attn.o_proj.weight.zero_()


def _no_cross_mlp(model: Any) -> None:
    for layer in _cross(model):
        layer.mlp.down_proj.weight.zero_()


def _no_tanh(model: Any) -> None:
    """The gate itself as the factor: the weights that it multiplies grow by gate / tanh(gate)."""
    for layer in _cross(model):
        gates = (layer.cross_attn_attn_gate, layer.cross_attn.o_proj), (layer.cross_attn_mlp_gate, layer.mlp.down_proj)
        for gate, module in gates:
            module.weight.mul_(gate / gate.tanh())


def _no_cross_norms(model: Any) -> None:
    import torch

    for layer in _cross(model):
        layer.cross_attn.q_norm = layer.cross_attn.k_norm = torch.nn.Identity()


def _cross_norms_without_weights(model: Any) -> None:
    for layer in _cross(model):
        layer.cross_attn.q_norm.weight.fill_(1)
        layer.cross_attn.k_norm.weight.fill_(1)


def _swap_block_scales(model: Any) -> None:
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            module.weight_scale.copy_(module.weight_scale.flip(1))


def _no_cache_scales(model: Any) -> None:
    for layer in model.model.layers:
        layer.self_attn.k_scale.fill_(1)
        layer.self_attn.v_scale.fill_(1)


def _mean(cosines: Any, kept: Any) -> float:
    return float(cosines.mean())


def _median(cosines: Any, kept: Any) -> float:
    return float(cosines[kept].median())


@dataclass(frozen=True)
class Ablation:
    """A mistake, and the statistic of the cosines with the right model that must fall below a bound.

    Attributes:
        change: makes it, in place.
        statistic: of the cosines (rows, T); the second argument says which positions a comparison keeps.
        below: the bound; None is the family's own, of the comparison.
    """

    change: Change
    statistic: Callable[[Any, Any], float] = _median
    below: float | None = None


FEED_FORWARD = 0.9
LLAMA4 = {
    "routed experts zeroed": Ablation(_zero_routed_experts, _mean, FEED_FORWARD),
    "router rotated by one expert": Ablation(_rotate_router, _mean, FEED_FORWARD),
    "shared expert dropped": Ablation(_drop_shared_expert, _mean, FEED_FORWARD),
    "RoPE on NoPE layers": Ablation(_rope_on_nope_layers),
    "RoPE of halves": Ablation(_rope_of_halves),
    "score on the output": Ablation(_score_on_output),
    "softmax router": Ablation(_router(lambda logits, chosen: (chosen - logits.logsumexp(1, keepdim=True)).exp())),
    "softmax of the chosen": Ablation(_router(lambda logits, chosen: chosen.softmax(1))),
    "no chunks": Ablation(_no_chunks),
    "no temperature": Ablation(_no_temperature),
}
SCOUT = {
    **LLAMA4,
    "no q and k norm": Ablation(_no_qk_norm),
    "no RoPE scaling": Ablation(_no_rope_scaling),
}
MLLAMA = {
    "no cross-attention": Ablation(_no_cross_attention),
    "no MLP in cross layers": Ablation(_no_cross_mlp),
    "no tanh": Ablation(_no_tanh),
    "no q and k norms": Ablation(_no_cross_norms),
    "q and k norms without weights": Ablation(_cross_norms_without_weights),
    "no RoPE scaling": Ablation(_no_rope_scaling),
}
ABLATIONS = {
    "scout": SCOUT,
    "maverick": LLAMA4,
    "top2": LLAMA4,
    "mllama": MLLAMA,
    "llama-block": {"scales of other blocks": Ablation(_swap_block_scales)},
    "llama-kv": {"no scales of the cache": Ablation(_no_cache_scales)},
}
