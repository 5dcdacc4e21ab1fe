# SPDX-License-Identifier: Apache-2.0
"""From a Llama GGUF file to the contents of a Hugging Face checkpoint: bf16 tensors, config, tokenizer, chat template.

The weights are the GGUF's values dequantized to float32 by the package ``gguf`` and rounded once to bf16, with the rows
of q_proj and k_proj put back into the rotate-half order that llama.cpp permutes away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..errors import Fp8RefError

Array = NDArray[Any]

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OUTER = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
CONTROL = 3  # gguf's TokenType.CONTROL: never text, always one token


class Gguf:
    """A Llama model in a GGUF file with tied embeddings and a byte-level BPE tokenizer."""

    def __init__(self, path: Path) -> None:
        try:
            import gguf
        except ImportError as error:
            raise Fp8RefError("demo: reading GGUF needs the package gguf: pip install 'fp8ref[demo]'") from error
        self._dequantize = gguf.quants.dequantize
        self._reader = gguf.GGUFReader(path)
        self._values: dict[str, Any] = {}

    def value(self, key: str) -> Any:
        """A metadata value; arrays are lists."""
        if key not in self._values:
            field = self._reader.get_field(key)
            if field is None:
                raise Fp8RefError(f"demo: the GGUF file has no {key}")
            self._values[key] = field.contents()
        return self._values[key]

    def config(self) -> dict[str, Any]:
        """config.json, in the spelling that every version of transformers and vLLM reads."""
        heads = self.value("llama.attention.head_count")
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.value("llama.vocab_size"),
            "hidden_size": self.value("llama.embedding_length"),
            "intermediate_size": self.value("llama.feed_forward_length"),
            "num_hidden_layers": self.value("llama.block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self.value("llama.attention.head_count_kv"),
            "head_dim": self.value("llama.embedding_length") // heads,
            "max_position_embeddings": self.value("llama.context_length"),
            "hidden_act": "silu",
            "rms_norm_eps": self.value("llama.attention.layer_norm_rms_epsilon"),
            "rope_theta": self.value("llama.rope.freq_base"),
            "rope_scaling": None,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": True,
            "bos_token_id": self.value("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.value("tokenizer.ggml.eos_token_id"),
            "pad_token_id": self.value("tokenizer.ggml.padding_token_id"),
            "torch_dtype": "bfloat16",
        }

    def tensors(self, on_tensor: Callable[[int, int], None] = lambda done, total: None) -> Iterator[tuple[str, Array]]:
        """(name, bf16 array) for every tensor, under the names of Hugging Face; ``on_tensor(done, total)`` follows."""
        rows = self._reader.tensors
        for done, tensor in enumerate(rows):
            on_tensor(done, len(rows))
            values = self._dequantize(tensor.data, tensor.tensor_type)
            yield self._name(tensor.name), self._unpermuted(tensor.name, values).astype(ml_dtypes.bfloat16)
        on_tensor(len(rows), len(rows))

    def _name(self, name: str) -> str:
        if name in OUTER:
            return OUTER[name]
        block, layer, kind, _ = name.split(".")
        if block != "blk" or kind not in NAMES:
            raise Fp8RefError(f"demo: the GGUF file has a tensor of unknown meaning, {name}")
        return f"model.layers.{layer}.{NAMES[kind]}.weight"

    def _unpermuted(self, name: str, values: Array) -> Array:
        """Rows of a head as (half, 2) interleaved pairs become (2, half): the first half, then the second."""
        heads = {"attn_q": "llama.attention.head_count", "attn_k": "llama.attention.head_count_kv"}
        for kind, key in heads.items():
            if f".{kind}." in name:
                count = self.value(key)
                pairs = values.reshape(count, values.shape[0] // count // 2, 2, values.shape[1])
                return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)
        return values

    def tokenizer(self) -> str:
        """tokenizer.json: byte-level BPE, with the control tokens as special tokens."""
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

        tokens = self.value("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ")) for merge in self.value("tokenizer.ggml.merges")]
        model = models.BPE({token: i for i, token in enumerate(tokens)}, merges, fuse_unk=False)
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        kinds = self.value("tokenizer.ggml.token_type")
        control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
        return str(tokenizer.to_str())

    def tokenizer_config(self) -> dict[str, Any]:
        """tokenizer_config.json: the marked tokens and the chat template."""
        tokens = self.value("tokenizer.ggml.tokens")
        names = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
        marked = {name: tokens[self.value(f"tokenizer.ggml.{key}_token_id")] for name, key in names.items()}
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_prefix_space": False,
            "model_max_length": self.value("llama.context_length"),
            "chat_template": self.value("tokenizer.chat_template"),
            **marked,
        }

    def write_text_files(self, folder: Path) -> None:
        """tokenizer.json, tokenizer_config.json, chat_template.jinja and generation_config.json."""
        config = self.config()
        ends = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
        marked = self.tokenizer_config()
        texts = {
            "tokenizer.json": self.tokenizer(),
            "tokenizer_config.json": json.dumps(marked, indent=2),
            "chat_template.jinja": marked["chat_template"],
            "generation_config.json": json.dumps(ends, indent=2),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
