# SPDX-License-Identifier: Apache-2.0
"""One layer of Scout or Maverick at its true size, with random weights: does it run, how long, in how much memory?

    python tests/model/true_size.py scout --folder DIR --out spec/evidence/cpu-scout-DATE.json

writes a checkpoint of 6 (Scout) or 20 GB (Maverick) into DIR, unless it is there already, runs it on the cpu backend,
each way of keeping weights in a process of its own, compares the first logits with golden's, and writes a record.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import fp8ref
from fp8ref.checkpoint.aside import new_folder

EXPERTS = {"scout": 16, "maverick": 128}
HIDDEN, INNER, HEADS, KV_HEADS, D, VOCAB = 5120, 8192, 40, 8, 128, 202048
POOL = 1 << 24  # random numbers; every tensor is made of pieces of them
TOKENS = {"prefill": 32, "decode": 4, "golden": 2}
SHARD = 8  # experts in a file
WEIGHTS = ("mapped", "streamed")
SCOUT_SCALING = {"factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0}


def config(model: str) -> dict[str, Any]:
    """config.json with the true numbers of the model, but for one layer, which is a MoE layer."""
    arguments = {"num_bits": 8, "type": "float", "symmetric": True}
    group = {
        "targets": ["Linear"],
        "weights": {**arguments, "strategy": "channel", "dynamic": False},
        "input_activations": {**arguments, "strategy": "token", "dynamic": True},
    }
    scaling = {**SCOUT_SCALING, "original_max_position_embeddings": 8192, "rope_type": "llama3"}
    text = {
        "model_type": "llama4_text",
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "intermediate_size_mlp": 2 * INNER,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": D,
        "num_hidden_layers": 1,
        "num_local_experts": EXPERTS[model],
        "num_experts_per_tok": 1,
        "moe_layers": [0],
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "attention_chunk_size": 8192,
        "floor_scale": 8192,
        "use_qk_norm": model == "scout",
        "rope_scaling": scaling if model == "scout" else None,
        "max_position_embeddings": 10485760 if model == "scout" else 1048576,
    }
    quantization = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["re:.*self_attn", "re:.*router", "re:.*lm_head"],
    }
    return {
        "architectures": ["Llama4ForConditionalGeneration"],
        "model_type": "llama4",
        "dtype": "bfloat16",
        "text_config": text,
        "quantization_config": quantization,
    }


class Random:
    """Tensors cut out of two pools of normal numbers: bfloat16 ones, and codes of what has the size 448 at 4 sigma."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(6)
        normal = self._random.standard_normal(POOL, np.float32)
        self._bf16 = normal.astype(ml_dtypes.bfloat16)
        self._codes = fp8ref.encode(normal * np.float32(112.0), overflow="saturate").view(ml_dtypes.float8_e4m3fn)

    def _cut(self, pool: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        count = int(np.prod(shape))
        start = int(self._random.integers(0, POOL))
        return np.resize(np.roll(pool, -start), count).reshape(shape)

    def matrix(self, rows: int, columns: int) -> np.ndarray:
        """bfloat16, outputs near one in size."""
        factor = ml_dtypes.bfloat16(2.0 ** round(-np.log2(columns) / 2))
        return self._cut(self._bf16 * factor, (rows, columns))

    def fp8(self, name: str, rows: int, columns: int) -> Iterator[tuple[str, np.ndarray]]:
        """A projection with its channel scales."""
        size = self._random.uniform(0.5, 1.0, (rows, 1)) / (112 * np.sqrt(columns))
        yield f"{name}.weight", self._cut(self._codes, (rows, columns))
        yield f"{name}.weight_scale", size.astype(np.float32).astype(ml_dtypes.bfloat16)


def shards(model: str) -> Iterator[dict[str, np.ndarray]]:
    """The tensors of the files, one file after the other; Maverick's shared expert is bfloat16."""
    random, layer = Random(), "language_model.model.layers.0"
    ones = np.ones(HIDDEN, ml_dtypes.bfloat16)
    yield {"language_model.model.embed_tokens.weight": random.matrix(VOCAB, HIDDEN)}
    yield {"language_model.lm_head.weight": random.matrix(VOCAB, HIDDEN), "language_model.model.norm.weight": ones}
    rest = {f"{layer}.{n}.weight": ones for n in ("input_layernorm", "post_attention_layernorm")}
    for name, rows in (("q", HEADS * D), ("k", KV_HEADS * D), ("v", KV_HEADS * D), ("o", HIDDEN)):
        rest[f"{layer}.self_attn.{name}_proj.weight"] = random.matrix(rows, HIDDEN)
    rest[f"{layer}.feed_forward.router.weight"] = random.matrix(EXPERTS[model], HIDDEN)
    shapes = {"gate_proj": (INNER, HIDDEN), "up_proj": (INNER, HIDDEN), "down_proj": (HIDDEN, INNER)}
    for name, shape in shapes.items():
        shared = f"{layer}.feed_forward.shared_expert.{name}"
        rest |= random.fp8(shared, *shape) if model == "scout" else {f"{shared}.weight": random.matrix(*shape)}
    yield rest
    for first in range(0, EXPERTS[model], SHARD):
        found: dict[str, np.ndarray] = {}
        for e in range(first, first + SHARD):
            for name, shape in shapes.items():
                found |= random.fp8(f"{layer}.feed_forward.experts.{e}.{name}", *shape)
        yield found


def write(model: str, folder: Path) -> None:
    """The checkpoint, shard by shard: it need not fit into memory."""
    from safetensors.numpy import save_file

    with new_folder(folder, "a checkpoint") as work:
        places, total = {}, 0
        for index, tensors in enumerate(shards(model)):
            name = f"model-{index:05d}.safetensors"
            save_file(tensors, work / name)
            places |= dict.fromkeys(tensors, name)
            total += sum(t.nbytes for t in tensors.values())
            print(f"{model}: {total / 1e9:.1f} GB written", file=sys.stderr, flush=True)
        document = {"metadata": {"total_size": total}, "weight_map": places}
        (work / "model.safetensors.index.json").write_text(json.dumps(document), encoding="utf-8")
        (work / "config.json").write_text(json.dumps(config(model), indent=2), encoding="utf-8")


def tokens(count: int) -> np.ndarray:
    """The same random ids in every run."""
    return np.random.default_rng(7).integers(0, VOCAB, count)


def run(folder: Path, backend: str, weights: str) -> dict[str, Any]:
    """What one process measures; the digest is of the logits' bits."""
    start = time.perf_counter()
    model = fp8ref.load(folder, backend=backend, weights=weights)
    loaded = time.perf_counter()
    if backend == "golden":
        logits = model.logits(tokens(TOKENS["golden"]))
        return {"digest": hashlib.sha256(logits.tobytes()).hexdigest()}
    first = model.logits(tokens(TOKENS["golden"]))
    middle = time.perf_counter()
    prompt = model.logits(tokens(TOKENS["prefill"]))
    prefilled = time.perf_counter()
    for token in tokens(TOKENS["decode"]):
        model.forward([token], logits_rows=1)
    end = time.perf_counter()
    return {
        "weights": weights,
        "load_seconds": round(loaded - start, 3),
        "prefill_seconds": round(prefilled - middle, 3),
        "decode_seconds_per_token": round((end - prefilled) / TOKENS["decode"], 3),
        "peak_resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "digest": hashlib.sha256(first.tobytes()).hexdigest(),
        "prefill_digest": hashlib.sha256(prompt.tobytes()).hexdigest(),
    }


def in_a_process(folder: Path, *arguments: str) -> dict[str, Any]:
    """:func:`run` in a process of its own, whose peak of memory is then its own."""
    command = [sys.executable, __file__, "run", "--folder", str(folder), *arguments]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def processor() -> str:
    """The name that the machine gives its processor."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def record(model: str, folder: Path) -> dict[str, Any]:
    """All runs of one model."""
    if not folder.exists():
        write(model, folder)
    runs = [in_a_process(folder, "--backend", "cpu", "--weights", weights) for weights in WEIGHTS]
    golden = in_a_process(folder, "--backend", "golden", "--weights", "mapped")["digest"]
    here = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, check=True, capture_output=True, text=True).stdout
    return {
        "model": model,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit.strip(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "checkpoint_bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "tokens": TOKENS,
        "runs": runs,
        "golden_equal": all(r["digest"] == golden for r in runs),
        "ways_equal": len({r["prefill_digest"] for r in runs}) == 1,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=[*EXPERTS, "run"])
    parser.add_argument("--folder", type=Path, required=True, help="the checkpoint's; made where it is absent")
    parser.add_argument("--out", type=Path, help="the record; standard output without it")
    parser.add_argument("--backend", default="cpu", help=argparse.SUPPRESS)
    parser.add_argument("--weights", default="mapped", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.model == "run":
        print(json.dumps(run(options.folder, options.backend, options.weights)))
        return
    text = json.dumps(record(options.model, options.folder), indent=2) + "\n"
    if options.out is None:
        print(text, end="")
        return
    aside = options.out.with_suffix(".tmp")
    aside.write_text(text, encoding="utf-8")
    aside.replace(options.out)


if __name__ == "__main__":
    main()
