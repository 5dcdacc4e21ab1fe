# SPDX-License-Identifier: Apache-2.0
"""A Llama forward pass, put together from the witness's operations: Llama 3, Llama 4, Llama 3.2 Vision.

The model is a dict of patterns under the names of a Hugging Face checkpoint. A projection is FP8 where
``<name>.weight_scale`` exists: fp32 patterns, one for each output or a single one, or rows of them for blocks of 128;
its activations are quantized by token, in groups where the scales are of blocks, or by the fp32 ``<name>.input_scale``
where that exists. All other tensors are bf16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .attention import attention
from .formats import BF16, FP32, decode, encode
from .linear import linear
from .mma import MODES
from .quantize import dequantize, quantize
from .residual import gated_residual, residual
from .rmsnorm import rmsnorm
from .rope import rope_frequencies, rope_table, rotate, rotate_interleaved
from .route import combine, dispatch, route
from .scaled_mm import block_scaled_mm, scaled_mm
from .silu_mul import silu_mul
from .temperature import temperature, temperature_factor

Rows = list[list[int]]
ONE = encode(FP32, 1)


class Llama:
    """`forward` appends tokens to the KV cache; `trace` then holds what it computed, by the names of [LLAMA-TRACE].

    `config` has the keys of config.json that matter here: hidden_size, num_hidden_layers, num_attention_heads,
    num_key_value_heads, head_dim, rms_norm_eps, rope_theta, rope_scaling (None, or llama3's four numbers) and
    tie_word_embeddings. Of a Llama 4 also family, moe, no_rope_layers, attention_chunk_size, qk_norm and temperature,
    of an Mllama family and cross_attention_layers; and kv_cache where that holds codes.
    """

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Any], accumulator: str) -> None:
        self.config = config
        self.tensors = tensors
        self.accumulator = MODES.get(accumulator, (accumulator, None))[0]
        self.mode = accumulator if accumulator in MODES else "exact"
        self.frequencies = rope_frequencies(config["head_dim"], config["rope_theta"], config["rope_scaling"])
        self.keys: list[list[Rows]] = [[] for _ in range(config["num_hidden_layers"])]
        self.values: list[list[Rows]] = [[] for _ in range(config["num_hidden_layers"])]
        self.image: dict[int, tuple[list[Rows], list[Rows]]] = {}  # keys and values by layer of cross-attention
        self.length = 0
        self.trace: dict[str, Rows] = {}

    def forward(self, tokens: Sequence[int], logits_rows: int, vision: Rows | None = None) -> Rows:
        """fp32 logits of the last `logits_rows` tokens."""
        self.trace, self.vision = {}, vision
        if vision is not None:
            self.image = {}
        self.positions = range(self.length, self.length + len(tokens))
        self.table = rope_table(self.positions, self.frequencies)
        x = self._note("embed_tokens", [list(self.tensors["model.embed_tokens.weight"][t]) for t in tokens])
        for layer in range(self.config["num_hidden_layers"]):
            x = self._layer(layer, x)
        x = self._note("norm", self._norm("model.norm.weight", x))
        self.length += len(tokens)
        if not logits_rows:
            return []
        head = "model.embed_tokens.weight" if self.config["tie_word_embeddings"] else "lm_head.weight"
        logits = linear(x[len(x) - logits_rows :], self.tensors[head], accumulate=self.mode)
        return self._note("logits", [[encode(FP32, decode(BF16, v)) for v in row] for row in logits])

    def _note(self, name: str, rows: Rows) -> Rows:
        self.trace[name] = rows
        return rows

    # ---- a layer -----------------------------------------------------------------------------------------------------

    def _layer(self, layer: int, x: Rows) -> Rows:
        label, module = f"layers.{layer}.", f"model.layers.{layer}."
        cross = layer in self.config.get("cross_attention_layers", ())
        if cross and self.vision is None and layer not in self.image:
            return x
        gates = [self.tensors[f"{module}cross_attn_{name}_gate"][0] if cross else None for name in ("attn", "mlp")]
        h = self._note(label + "input_layernorm", self._norm(module + "input_layernorm.weight", x))
        a = self._cross(layer, h) if cross else self._attend(layer, h)
        a = self._project(f"{module}{'cross' if cross else 'self'}_attn.o_proj", label + "o_proj", _flat(a))
        x = self._note(label + "attention_residual", _add(x, a, gates[0]))
        h = self._norm(module + "post_attention_layernorm.weight", x)
        h = self._mlp_of(layer, self._note(label + "post_attention_layernorm", h))
        return self._note(label + "mlp_residual", _add(x, h, gates[1]))

    def _norm(self, name: str, x: Rows) -> Rows:
        return [rmsnorm(row, self.tensors[name], self.config["rms_norm_eps"]) for row in x]

    def _project(self, module: str, label: str, x: Rows) -> Rows:
        """One projection, its quantized input noted before it."""
        weight, bias = self.tensors[module + ".weight"], self.tensors.get(module + ".bias")
        scale = self.tensors.get(module + ".weight_scale")
        if scale is None:
            return self._note(label, linear(x, weight, bias, accumulate=self.mode))
        if isinstance(scale, list) and isinstance(scale[0], list):
            return self._note(label, self._project_blocks(label, x, weight, scale, bias))
        static = self.tensors.get(module + ".input_scale")
        codes, scales = quantize(x, BF16, "vllm.per_token" if static is None else "vllm.per_tensor_static", static)
        input_scales = list(scales.values())
        self._note(label + ".input_codes", codes)
        self._note(label + ".input_scale", [[s] for s in input_scales])
        weight_scales = scale if isinstance(scale, list) else [scale]
        rest = (input_scales, weight_scales, bias, BF16, BF16, self.accumulator)
        return self._note(label, scaled_mm(codes, weight, *rest))

    def _project_blocks(self, label: str, x: Rows, weight: Rows, scale: Rows, bias: list[int] | None) -> Rows:
        codes, scales = quantize(x, BF16, "vllm.group_128")
        groups = [[scales[i, j] for j in range(len(scale[0]))] for i in range(len(x))]
        self._note(label + ".input_codes", codes)
        self._note(label + ".input_scale", groups)
        order = "a_b" if self.accumulator == "exact" else "deepgemm"
        if order == "a_b" and len(scale[0]) == 1 and len(scale) in (1, len(weight)):
            function, factors = scaled_mm, [[s for (s,) in rows] for rows in (groups, scale)]  # [MM-SCALES-BLOCK]
        else:
            function, factors = block_scaled_mm, [groups, scale]
        return function(codes, weight, *factors, bias, BF16, BF16, self.accumulator, order)

    # ---- attention ---------------------------------------------------------------------------------------------------

    def _heads(self, rows: Rows) -> list[Rows]:
        d = self.config["head_dim"]
        return [[row[i : i + d] for i in range(0, len(row), d)] for row in rows]

    def _each_head(self, name: str, tokens: list[Rows], change: Any) -> list[Rows]:
        """change(position in the forward, head) of every head, noted."""
        changed = [[change(t, head) for head in heads] for t, heads in enumerate(tokens)]
        self._note(name, [[x for head in heads for x in head] for heads in changed])
        return changed

    def _attend(self, layer: int, h: Rows) -> list[Rows]:
        config, label, module = self.config, f"layers.{layer}.", f"model.layers.{layer}.self_attn."
        parts = [self._project(module + name, label + name, h) for name in ("q_proj", "k_proj", "v_proj")]
        q, k, v = (self._heads(rows) for rows in parts)
        mask, chunk, llama4 = "causal", None, config.get("family") == "llama4"
        if not (llama4 and layer in config["no_rope_layers"]):
            turn = rotate_interleaved if llama4 else rotate
            cos, sin = self.table
            q, k = (
                self._each_head(f"{label}{name}_rope", x, lambda t, head: turn(head, cos[t], sin[t]))
                for name, x in (("q", q), ("k", k))
            )
            if config.get("attention_chunk_size"):
                mask, chunk = "chunked", config["attention_chunk_size"]
            if config.get("qk_norm", "none") == "weightless":
                q, k = (
                    self._each_head(
                        f"{label}{name}_norm", x, lambda t, head: rmsnorm(head, None, config["rms_norm_eps"])
                    )
                    for name, x in (("q", q), ("k", k))
                )
        elif config["temperature"]:
            factors = [temperature_factor(p, **config["temperature"]) for p in self.positions]
            q = self._each_head(label + "q_temperature", q, lambda t, head: [temperature(x, factors[t]) for x in head])
        keys, values = self._cached(layer, k, v)
        a = attention(q, keys, values, mask=mask, accumulate=self.mode, chunk=chunk)
        self._note(label + "attention", _flat(a))
        return a

    def _cached(self, layer: int, k: list[Rows], v: list[Rows]) -> tuple[list[Rows], list[Rows]]:
        """Keys and values of all tokens; where the cache holds codes, what these stand for."""
        for name, new, kept in (("k", k, self.keys[layer]), ("v", v, self.values[layer])):
            if self.config.get("kv_cache", "bfloat16") == "bfloat16":
                kept += new
                continue
            scale = self.tensors.get(f"model.layers.{layer}.self_attn.{name}_scale", ONE)
            codes, _ = quantize(_flat(new), BF16, "vllm.kv_cache", scale)
            self._note(f"layers.{layer}.{name}_codes", codes)
            kept += self._heads(dequantize(codes, lambda i, j, scale=scale: scale, BF16))
        return self.keys[layer], self.values[layer]

    def _cross(self, layer: int, h: Rows) -> list[Rows]:
        label, module, eps = f"layers.{layer}.", f"model.layers.{layer}.cross_attn.", self.config["rms_norm_eps"]

        def normed(name: str, x: list[Rows]) -> list[Rows]:
            weight = self.tensors[f"{module}{name}.weight"]
            return self._each_head(label + name, x, lambda t, head: rmsnorm(head, weight, eps))

        q = self._heads(self._project(module + "q_proj", label + "q_proj", h))
        new = ()
        if self.vision is not None:
            new = [self._heads(self._project(module + n, label + n, self.vision)) for n in ("k_proj", "v_proj")]
        q = normed("q_norm", q)
        if new:
            self.image[layer] = normed("k_norm", new[0]), new[1]
        a = attention(q, *self.image[layer], mask="full", accumulate=self.mode)
        self._note(label + "attention", _flat(a))
        return a

    # ---- MLP ---------------------------------------------------------------------------------------------------------

    def _mlp_of(self, layer: int, h: Rows) -> Rows:
        label, module, moe = f"layers.{layer}.", f"model.layers.{layer}.", self.config.get("moe")
        module += "feed_forward." if self.config.get("family") == "llama4" else "mlp."
        if moe is None or layer not in moe["layers"]:
            return self._mlp(module, label, h)
        logits = self._note(label + "router", linear(h, self.tensors[module + "router.weight"], accumulate=self.mode))
        chosen = [route(row, moe["num_experts_per_tok"]) for row in logits]
        self._note(label + "experts", [experts for experts, _ in chosen])
        self._note(label + "scores", [scores for _, scores in chosen])
        shared = self._mlp(module + "shared_expert.", label + "shared_expert.", h)
        outputs = self._experts(module + "experts.", label + "experts.", h, chosen)
        out = [combine(parts, range(len(parts)), [row])[0] for parts, row in zip(outputs, shared, strict=True)]
        return self._note(label + "combine", out)

    def _mlp(self, module: str, label: str, h: Rows) -> Rows:
        gate, up = (self._project(module + name, label + name, h) for name in ("gate_proj", "up_proj"))
        h = [[silu_mul(g, u) for g, u in zip(gs, us, strict=True)] for gs, us in zip(gate, up, strict=True)]
        return self._project(module + "down_proj", label + "down_proj", self._note(label + "silu_mul", h))

    def _experts(self, module: str, label: str, h: Rows, chosen: list[tuple[list[int], list[int]]]) -> list[Rows]:
        """The outputs of each token's experts, each token alone; its choices are noted side by side."""
        trace, rows, outputs = self.trace, {}, []
        for token, (experts, scores) in zip(h, chosen, strict=True):
            outputs.append([])
            seen: dict[str, list[int]] = {}
            for expert, score in zip(experts, scores, strict=True):
                self.trace = {}
                x = self._note(label + "inputs", dispatch([token], [[0]], [[score]], 1)[0])
                outputs[-1] += self._mlp(f"{module}{expert}.", label, x)
                for name, (row,) in self.trace.items():
                    seen.setdefault(name, []).extend(row)
            for name, row in seen.items():
                rows.setdefault(name, []).append(row)
        self.trace = trace | rows
        return outputs


def _flat(tokens: list[Rows]) -> Rows:
    return [[x for head in heads for x in head] for heads in tokens]


def _add(x: Rows, y: Rows, gate: int | None) -> Rows:
    def sum_of(a: int, b: int) -> int:
        return residual(a, b) if gate is None else gated_residual(a, b, gate)

    return [[sum_of(a, b) for a, b in zip(r, s, strict=True)] for r, s in zip(x, y, strict=True)]
