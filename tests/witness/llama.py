# SPDX-License-Identifier: Apache-2.0
"""A Llama forward pass, put together from the witness's operations.

The model is a dict of patterns under the names of a Hugging Face checkpoint. A projection is FP8 where
``<name>.weight_scale`` exists (fp32 patterns, one for each output or a single one); its activations are quantized by
token, or by the fp32 ``<name>.input_scale`` where that exists. All other tensors are bf16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .attention import attention
from .formats import BF16, FP32, decode, encode
from .linear import linear
from .mma import MODES
from .quantize import quantize
from .residual import residual
from .rmsnorm import rmsnorm
from .rope import rope_frequencies, rope_table, rotate
from .scaled_mm import scaled_mm
from .silu_mul import silu_mul

Rows = list[list[int]]


class Llama:
    """`forward` appends tokens to the KV cache; `trace` then holds what it computed, by the names of [LLAMA-TRACE].

    `config` has the keys of config.json that matter here: hidden_size, num_hidden_layers, num_attention_heads,
    num_key_value_heads, head_dim, rms_norm_eps, rope_theta, rope_scaling (None, or llama3's four numbers) and
    tie_word_embeddings.
    """

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Any], accumulator: str) -> None:
        self.config = config
        self.tensors = tensors
        self.accumulator = MODES.get(accumulator, (accumulator, None))[0]
        self.mode = accumulator if accumulator in MODES else "exact"
        self.frequencies = rope_frequencies(config["head_dim"], config["rope_theta"], config["rope_scaling"])
        self.keys: list[list[Rows]] = [[] for _ in range(config["num_hidden_layers"])]
        self.values: list[list[Rows]] = [[] for _ in range(config["num_hidden_layers"])]
        self.trace: dict[str, Rows] = {}

    def forward(self, tokens: Sequence[int], logits_rows: int) -> Rows:
        """fp32 logits of the last `logits_rows` tokens."""
        self.trace = {}
        start = len(self.keys[0])
        self.table = rope_table(range(start, start + len(tokens)), self.frequencies)
        x = self._note("embed_tokens", [list(self.tensors["model.embed_tokens.weight"][t]) for t in tokens])
        for layer in range(self.config["num_hidden_layers"]):
            x = self._layer(layer, x)
        x = self._note("norm", self._norm("model.norm.weight", x))
        if not logits_rows:
            return []
        head = "model.embed_tokens.weight" if self.config["tie_word_embeddings"] else "lm_head.weight"
        logits = linear(x[len(x) - logits_rows :], self.tensors[head], accumulate=self.mode)
        return self._note("logits", [[encode(FP32, decode(BF16, v)) for v in row] for row in logits])

    def _note(self, name: str, rows: Rows) -> Rows:
        self.trace[name] = rows
        return rows

    def _layer(self, layer: int, x: Rows) -> Rows:
        prefix, module = f"layers.{layer}.", f"model.layers.{layer}."
        h = self._note(prefix + "input_layernorm", self._norm(module + "input_layernorm.weight", x))
        q, k, v = (self._project(layer, "self_attn", name, h) for name in ("q_proj", "k_proj", "v_proj"))
        a = self._note(prefix + "attention", self._attend(layer, q, k, v))
        x = self._note(prefix + "attention_residual", _add(x, self._project(layer, "self_attn", "o_proj", a)))
        h = self._norm(module + "post_attention_layernorm.weight", x)
        h = self._note(prefix + "post_attention_layernorm", h)
        gate, up = (self._project(layer, "mlp", name, h) for name in ("gate_proj", "up_proj"))
        h = [[silu_mul(g, u) for g, u in zip(gs, us, strict=True)] for gs, us in zip(gate, up, strict=True)]
        h = self._project(layer, "mlp", "down_proj", self._note(prefix + "silu_mul", h))
        return self._note(prefix + "mlp_residual", _add(x, h))

    def _norm(self, name: str, x: Rows) -> Rows:
        return [rmsnorm(row, self.tensors[name], self.config["rms_norm_eps"]) for row in x]

    def _project(self, layer: int, block: str, name: str, x: Rows) -> Rows:
        """One projection, its quantized input noted before it."""
        module, label = f"model.layers.{layer}.{block}.{name}", f"layers.{layer}.{name}"
        weight, bias = self.tensors[module + ".weight"], self.tensors.get(module + ".bias")
        scale = self.tensors.get(module + ".weight_scale")
        if scale is None:
            return self._note(label, linear(x, weight, bias, accumulate=self.mode))
        static = self.tensors.get(module + ".input_scale")
        rule = "vllm.per_token" if static is None else "vllm.per_tensor_static"
        codes, scales = quantize(x, BF16, rule, static)
        input_scales = list(scales.values())
        self._note(label + ".input_codes", codes)
        self._note(label + ".input_scale", [[s] for s in input_scales])
        return self._note(label, scaled_mm(codes, weight, input_scales, scale, bias, BF16, BF16, self.accumulator))

    def _attend(self, layer: int, q: Rows, k: Rows, v: Rows) -> Rows:
        q, k, v = (self._heads(rows) for rows in (q, k, v))
        q, k = self._rotate(q), self._rotate(k)
        prefix = f"layers.{layer}."
        self._note(prefix + "q_rope", _flat(q))
        self._note(prefix + "k_rope", _flat(k))
        self.keys[layer] += k
        self.values[layer] += v
        return _flat(attention(q, self.keys[layer], self.values[layer], accumulate=self.mode))

    def _heads(self, rows: Rows) -> list[Rows]:
        d = self.config["head_dim"]
        return [[row[i : i + d] for i in range(0, len(row), d)] for row in rows]

    def _rotate(self, tokens: list[Rows]) -> list[Rows]:
        return [[rotate(head, c, s) for head in heads] for heads, c, s in zip(tokens, *self.table, strict=True)]


def _flat(tokens: list[Rows]) -> Rows:
    return [[x for head in heads for x in head] for heads in tokens]


def _add(x: Rows, y: Rows) -> Rows:
    return [[residual(a, b) for a, b in zip(r, s, strict=True)] for r, s in zip(x, y, strict=True)]
