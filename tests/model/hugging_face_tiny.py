# SPDX-License-Identifier: Apache-2.0
"""Tiny checkpoints of every family: Hugging Face transformers writes them, llm-compressor quantizes them.

The weights are random, but not those that the libraries start with: a model made of those is nearly its embedding, and
a comparison with it sees nothing. ``GAINS`` makes every part matter (``ablations.py`` says how much), and keeps the
models well-conditioned: bf16 roundings and FP8 must not change which expert a token takes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fp8ref.demo import default_cache
from fp8ref.demo.fetch import published

HIDDEN, VOCABULARY, EXPERTS, BLOCK = 128, 320, 8, 128

TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
LLAMA3 = {**ROPE, "rope_type": "llama3", "original_max_position_embeddings": 16}

LLAMA4 = {
    **TEXT,
    "head_dim": 32,
    "intermediate_size": 96,
    "intermediate_size_mlp": 192,
    "num_local_experts": EXPERTS,
    "num_experts_per_tok": 1,
    "attention_chunk_size": 16,
    "floor_scale": 8,
    "attn_scale": 0.5,
}
# Scout: MoE in all layers, q and k norm, scaled RoPE with low = high.
SCOUT = {
    **LLAMA4,
    "use_qk_norm": True,
    "no_rope_layer_interval": 2,
    "rope_parameters": {**LLAMA3, "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0},
}
# Maverick: dense and MoE layers in turn, neither norm nor scaling. RoPE, NoPE, NoPE, RoPE: all four combinations.
MAVERICK = {
    **LLAMA4,
    "use_qk_norm": False,
    "interleave_moe_layer_step": 2,
    "no_rope_layers": [1, 0, 0, 1],
    "rope_parameters": ROPE,
}
TOP2 = {**MAVERICK, "num_experts_per_tok": 2}
MLLAMA = {
    **TEXT,
    "intermediate_size": 192,
    "cross_attention_layers": [1, 3],
    "rope_parameters": {**LLAMA3, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
}
# Hugging Face runs block scales only where the columns are a multiple of the block.
LLAMA = {**TEXT, "hidden_size": 2 * BLOCK, "head_dim": 64, "intermediate_size": 3 * BLOCK, "num_hidden_layers": 2}

VISION = {"hidden_size": 64, "intermediate_size": 128, "patch_size": 14}
VISION_LLAMA4 = {
    **VISION,
    "image_size": 28,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vision_output_dim": 64,
    "projector_input_dim": 64,
    "projector_output_dim": 64,
}
VISION_MLLAMA = {
    **VISION,
    "image_size": 56,
    "num_hidden_layers": 2,
    "num_global_layers": 1,
    "attention_heads": 2,
    "vision_output_dim": 128,
    "max_num_tiles": 2,
    "intermediate_layers_indices": [0],
    "supported_aspect_ratios": [[1, 1], [1, 2]],
}
TILES, PATCHES = 2, (56 // 14) ** 2 + 1  # of VISION_MLLAMA: an image has TILES * PATCHES tokens

Fill = Callable[[np.random.Generator, tuple[int, ...]], Any]


def _uniform(low: float, high: float) -> Fill:
    return lambda random, shape: random.uniform(low, high, shape)


def _gate(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Where tanh is far from its argument, of both signs."""
    return random.uniform(1.0, 2.0, shape) * random.choice([-1, 1], shape)


def _normal(gain: float) -> Fill:
    """Keeps the size of what it multiplies, times ``gain``."""
    return lambda random, shape: random.standard_normal(shape) * gain / np.sqrt(shape[-1])


def _directions() -> Any:
    """A unit vector for each expert, orthogonal to the others: (E, H)."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((HIDDEN, EXPERTS)))
    return basis.T


def _embedding(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Noise and the direction of one expert: routers with a clear choice."""
    direction = _directions()[np.arange(shape[0]) % EXPERTS] * np.sqrt(HIDDEN)
    return random.standard_normal(shape) + 1.25 * direction


def _router(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Another order of the experts in each layer; scores from 0.5 to 0.9, where a sigmoid is no softmax."""
    return (2.0 * random.permutation(_directions()) + 0.1 * random.standard_normal(shape)) / np.sqrt(HIDDEN)


def _fused(gain: float) -> Fill:
    """Experts [E, in, out]."""
    return lambda random, shape: random.standard_normal(shape) * gain / np.sqrt(shape[-2])


def _blocks(gain: float) -> Fill:
    """Blocks and heads of different sizes, so that a scale in another's place is seen."""

    def fill(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
        sizes = 2.0 ** random.uniform(-1.5, 1.5, [-(-n // (BLOCK // 2)) for n in shape])
        for axis, count in enumerate(shape):
            sizes = np.repeat(sizes, BLOCK // 2, axis)[(slice(None),) * axis + (slice(count),)]
        return _normal(gain)(random, shape) * sizes

    return fill


NORM = (r"layernorm|norm\.weight", _uniform(0.5, 1.5))
PLAIN = (r"vision|projector|lm_head|v_proj", _normal(1.0))


def _gains_llama4(routed: float, dense: float) -> tuple[tuple[str, Fill], ...]:
    """What routed experts and all other MLPs, the shared experts among them, add to the stream."""
    return (
        PLAIN,
        NORM,
        (r"embed", _embedding),
        (r"router", _router),
        (r"[qk]_proj", _normal(1.2)),
        (r"o_proj", _normal(2.0)),
        (r"experts\.gate_up", _fused(2.0)),
        (r"experts\.down", _fused(routed)),
        (r"(gate|up)_proj", _normal(1.5)),
        (r"down_proj", _normal(dense)),
    )


GAINS_MLLAMA = (
    PLAIN,
    (r"attn\.[qk]_norm", _uniform(1.0, 2.0)),
    NORM,
    (r"gate$", _gate),
    (r"embed", _uniform(-1.7, 1.7)),
    (r"cross_attn\.[qk]_proj", _normal(0.4)),
    (r"[qk]_proj", _normal(1.0)),
    (r"o_proj|(gate|up)_proj", _normal(1.2)),
    (r"down_proj", _normal(0.6)),
)
SMALL = 2.0**-10  # keys and values that E4M3 has no codes for, unless the cache scales them
GAINS_LLAMA = (
    (r"lm_head", _normal(1.0)),
    NORM,
    (r"embed", _uniform(-1.7, 1.7)),
    (r"q_proj", _blocks(0.8 / SMALL)),
    (r"k_proj", _blocks(0.8 * SMALL)),
    (r"v_proj", _blocks(SMALL)),
    (r"o_proj", _blocks(1 / SMALL)),
    (r"", _blocks(1.0)),
)


@dataclass(frozen=True)
class Kind:
    """A model.

    Attributes:
        model: Hugging Face's name of its class.
        config: that of its config's class.
        configs: arguments of that.
        gains: patterns and how to fill parameters; the first pattern found in a parameter's name holds.
    """

    model: str
    config: str
    configs: dict[str, Any]
    gains: tuple[tuple[str, Fill], ...]


def _llama4(text: dict[str, Any], routed: float, dense: float) -> Kind:
    configs = {"text_config": text, "vision_config": VISION_LLAMA4}
    tokens = {f"{name}_token_index": VOCABULARY - 3 + i for i, name in enumerate(("boi", "eoi", "image"))}
    return Kind("Llama4ForConditionalGeneration", "Llama4Config", {**configs, **tokens}, _gains_llama4(routed, dense))


KINDS = {
    "scout": _llama4(SCOUT, routed=0.6, dense=0.5),
    "maverick": _llama4(MAVERICK, routed=1.1, dense=0.8),
    "top2": _llama4(TOP2, routed=1.0, dense=0.9),
    "mllama": Kind(
        "MllamaForConditionalGeneration",
        "MllamaConfig",
        {"text_config": MLLAMA, "vision_config": VISION_MLLAMA, "image_token_index": VOCABULARY},
        GAINS_MLLAMA,
    ),
    "llama": Kind("LlamaForCausalLM", "LlamaConfig", LLAMA, GAINS_LLAMA),
}


def _filled(kind: Kind) -> Any:
    """The model with its weights in bf16. Buffers keep their types: some are complex."""
    import torch
    import transformers

    model = getattr(transformers, kind.model)(getattr(transformers, kind.config)(**kind.configs))
    random = np.random.default_rng(0)
    for name, parameter in sorted(model.named_parameters()):
        fill = next(fill for pattern, fill in kind.gains if re.search(pattern, name))
        values = np.asarray(fill(random, tuple(parameter.shape)), np.float32)
        parameter.data = torch.from_numpy(values).to(torch.bfloat16)
    return model


@functools.cache
def cache() -> Path:
    """Where the folders of these versions are kept: outside of the tree, made once."""
    import llmcompressor
    import transformers

    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("hugging_face_tiny*.py"))]
    digest = hashlib.sha256(b"".join(sources)).hexdigest()[:12]
    return default_cache() / f"tiny-{transformers.__version__}-{llmcompressor.__version__}-{digest}"


def bf16(kind: str) -> Path:
    """The checkpoint that Hugging Face writes of a kind of ``KINDS``."""
    folder = cache() / kind
    if not folder.is_dir():
        with published(folder) as work:
            _filled(KINDS[kind]).save_pretrained(work)
    return folder


def text_only(kind: str) -> Path:
    """The text model alone, as Hugging Face writes it: other names, and the text's config at the top."""
    import torch
    import transformers

    folder = cache() / f"{kind}-text"
    if not folder.is_dir():
        with published(folder) as work:
            model = load(bf16(kind))
            if kind == "mllama":
                text = transformers.MllamaForCausalLM(model.config.text_config)
                text.model, text.lm_head = model.model.language_model, model.lm_head
                model = text.to(torch.bfloat16)
            else:
                model = model.language_model
            model.save_pretrained(work)
    return folder


def load(folder: Path, **changes: Any) -> Any:
    """A checkpoint as Hugging Face runs it, in bf16; ``changes`` are for its quantization config."""
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    if changes:
        config.quantization_config.update(changes)
    (architecture,) = json.loads((folder / "config.json").read_text())["architectures"]
    model = getattr(transformers, architecture)
    return model.from_pretrained(folder, config=config, dtype=torch.bfloat16).eval()
