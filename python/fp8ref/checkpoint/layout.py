# SPDX-License-Identifier: Apache-2.0
"""Which projections a model has, by name and shape. [CKPT-NAMES], [CKPT-EXPERTS]"""

from __future__ import annotations

from collections.abc import Iterator

from ..golden.llama import LayerKind, LlamaConfig

Shape = tuple[int, ...]

ATTENTION = {"self": "self_attn", "cross": "cross_attn"}
MLP = {"llama": "mlp", "llama4": "feed_forward", "mllama": "mlp"}
EXPERTS = "feed_forward.experts"
MLP_PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


def attention_shapes(config: LlamaConfig, kind: LayerKind) -> dict[str, Shape]:
    """(out, in) of the four projections of attention, by their path below ``model.layers.{i}.``."""
    h, block = config.hidden_size, ATTENTION[kind.attention]
    q, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    shapes = {"q_proj": (q, h), "k_proj": (kv, h), "v_proj": (kv, h), "o_proj": (h, q)}
    return {f"{block}.{name}": shape for name, shape in shapes.items()}


def gated_shapes(path: str, hidden: int, wide: int) -> dict[str, Shape]:
    """(out, in) of the three projections of a gated MLP at ``path``."""
    shapes = ((wide, hidden), (wide, hidden), (hidden, wide))
    return {f"{path}.{name}": shape for name, shape in zip(MLP_PROJECTIONS, shapes, strict=True)}


def mlp_shapes(config: LlamaConfig, kind: LayerKind) -> dict[str, Shape]:
    """Those of a dense layer's MLP, or of the shared expert."""
    if kind.mlp == "moe" and config.moe is not None:
        return gated_shapes("feed_forward.shared_expert", config.hidden_size, config.moe.intermediate_size)
    return gated_shapes(MLP[config.family], config.hidden_size, config.intermediate_size)


def expert_shapes(config: LlamaConfig, expert: int | str) -> dict[str, Shape]:
    """Those of one routed expert."""
    assert config.moe is not None
    return gated_shapes(f"{EXPERTS}.{expert}", config.hidden_size, config.moe.intermediate_size)


def projections(config: LlamaConfig) -> Iterator[tuple[str, Shape]]:
    """Names and shapes of the projections of the decoder layers but the routed experts', in order.

    Lazy: a number of layers is not trusted.
    """
    for index in range(config.num_hidden_layers):
        kind = config.layer(index)
        for path, shape in (attention_shapes(config, kind) | mlp_shapes(config, kind)).items():
            yield f"model.layers.{index}.{path}", shape
