# SPDX-License-Identifier: Apache-2.0
"""The numbers of a Llama, and what each of its layers is. spec/llama.md"""

from __future__ import annotations

from dataclasses import dataclass

FAMILIES = ("llama", "llama4", "mllama")  # model_type, of the text model
KV_CACHES = ("bfloat16", "float8_e4m3fn")


@dataclass(frozen=True)
class RopeScaling:
    """The numbers of llama3 RoPE scaling, as config.json gives them."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int


@dataclass(frozen=True)
class Temperature:
    """The numbers of the attention temperature of layers without RoPE. [LLAMA-TEMPERATURE]"""

    floor_scale: float
    attn_scale: float


@dataclass(frozen=True)
class MoeConfig:
    """The mixture of experts of a Llama 4. [LLAMA-MOE]"""

    num_local_experts: int
    num_experts_per_tok: int
    intermediate_size: int  # of a routed expert, and of the shared one
    layers: tuple[int, ...] | range  # the other layers have a dense MLP


@dataclass(frozen=True)
class LayerKind:
    """What one decoder layer computes. [LLAMA-LAYERS]

    Attributes:
        attention: ``"self"`` or ``"cross"``.
        rope: ``"rotate_half"``, ``"interleaved"`` or ``"none"``.
        chunk: positions of a chunk of attention, None where a token sees all before it.
        qk_norm: ``"none"``, ``"weightless"`` (after RoPE) or ``"weighted"`` (in cross-attention).
        temperature: what grows the queries, or None.
        mlp: ``"dense"`` or ``"moe"``.
    """

    attention: str = "self"
    rope: str = "rotate_half"
    chunk: int | None = None
    qk_norm: str = "none"
    temperature: Temperature | None = None
    mlp: str = "dense"


@dataclass(frozen=True)
class LlamaConfig:
    """What the forward pass needs to know of config.json; the names are Hugging Face's.

    ``intermediate_size`` is that of dense layers. ``embedding_rows`` counts the rows of ``embed_tokens``, of which
    Llama 3.2 Vision has 8 more than logits; 0 stands for ``vocab_size``.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: RopeScaling | None = None
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    eos_token_ids: tuple[int, ...] = ()
    family: str = "llama"
    embedding_rows: int = 0
    kv_cache: str = "bfloat16"
    # Llama 4
    moe: MoeConfig | None = None
    no_rope_layers: tuple[int, ...] | range = ()  # sorted indices of the layers without RoPE
    attention_chunk_size: int | None = None
    qk_norm: str = "none"
    temperature: Temperature | None = None
    # Llama 3.2 Vision
    cross_attention_layers: tuple[int, ...] = ()

    @property
    def token_ids(self) -> int:
        """How many token ids there are: the rows of the embedding. [LLAMA-TOKENS]"""
        return self.embedding_rows or self.vocab_size

    def layer(self, index: int) -> LayerKind:
        """What layer ``index`` is. [LLAMA-LAYERS]"""
        if index in self.cross_attention_layers:
            return LayerKind("cross", rope="none", qk_norm="weighted")
        mlp = "moe" if self.moe is not None and index in self.moe.layers else "dense"
        if self.family != "llama4":
            return LayerKind(mlp=mlp)
        if index in self.no_rope_layers:
            return LayerKind(rope="none", temperature=self.temperature, mlp=mlp)
        return LayerKind(rope="interleaved", chunk=self.attention_chunk_size, qk_norm=self.qk_norm, mlp=mlp)
