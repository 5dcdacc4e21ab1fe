# SPDX-License-Identifier: Apache-2.0
"""Part ``conformance``: the suite of ``fp8ref check`` on cuda, then large shapes, cuda against a checked cpu."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from gpu import arrays

if TYPE_CHECKING:
    from gpu.gate import Settings
    from gpu.worker import Items

Rows = Iterator[tuple[str, dict[str, Any]]]
Call = tuple[str, str, dict[str, Any]]  # function, shape, arguments

MM = ((1, 4096, 4096), (7, 6144, 4096), (16, 4096, 14336), (129, 1000, 1000), (2048, 4096, 4096), (256, 28672, 4096))
MAIN = ("exact", "sm90_wgmma", "sm90_wgmma_promoted")
MAIN_ATTENTION = ("exact", "sm90")
OTHERS = ("sm89_mma", "sm90_mma_sync", "sm100_tcgen05", "sm120_mma")
EMULATED = (256, 1024, 4096)
RULES = ("vllm.per_token", "vllm.per_tensor", "compressed_tensors.channel", "vllm.group_128@0.11")
EXPERTS = ((0, 1, 300, 128, 17, 512, 64, 5), 2048, 1024)  # rows of each, N, K
LINEAR = ((512, 4096, 4096), (1, 32064, 4096))
ATTENTION = {"prefill": (512, 512), "chunk": (100, 1100), "decode": (1, 4096)}  # queries, keys
CHUNKED = {"chunks, prefill": (600, 1100, 256), "chunks, decode": (1, 20000, 8192)}  # queries, keys, chunk
HEADS, KV_HEADS, HEAD_DIM = 32, 8, 128
ROUTED = ((4096, 128, 1), (1000, 16, 2), (3000, 300, 3))  # tokens, experts, top_k
ROWS_COLUMNS = (2048, 4096)
POSITIONS = 8192


def _suite(subject: str, op: str) -> Rows:
    from fp8ref.conformance.runner import check

    (result,) = check(subject, [op]).results
    row: dict[str, Any] = {"op": op, "shape": f"{result.cases} cases of level quick, {subject} against golden"}
    row |= {"elements": result.elements, "differ": result.differing}
    if result.mismatches:
        first = result.mismatches[0]
        row["first"] = f"; first in {first.case}, {first.output}{list(first.index)}: {first.got} for {first.expected}"
    yield "conformance", row


def _scaled_mm(shape: tuple[int, int, int], accumulate: str, **more: Any) -> Call:
    m, n, k = shape
    make = arrays.raw_codes if m == 16 else arrays.codes
    arguments = {"a": make(m, m, k), "b": make(n, n, k), "a_scale": arrays.scales(1, m, 1)}
    arguments |= {"b_scale": arrays.scales(2, n, 1), "accumulate": accumulate, **more}
    return "scaled_mm", f"{m}x{n}x{k} {accumulate}", arguments


def _grouped(rows: tuple[int, ...], n: int, k: int, accumulate: str) -> Call:
    import numpy as np

    offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    experts, total = len(rows), int(offsets[-1])
    arguments = {"a": arrays.codes(1, total, k), "b": arrays.codes(2, experts, n, k), "offsets": offsets}
    arguments |= {"a_scale": arrays.scales(3, total, 1), "b_scale": arrays.scales(4, experts, n, 1)}
    return (
        "grouped_mm",
        f"{experts} experts, {total} rows, {n}x{k}, {accumulate}",
        arguments | {"accumulate": accumulate},
    )


def _attention(queries: int, keys: int, **more: Any) -> Call:
    q = arrays.bf16(1, queries, HEADS, HEAD_DIM)
    k, v = (arrays.bf16(seed, keys, KV_HEADS, HEAD_DIM) for seed in (2, 3))
    said = ", ".join([f"{queries} queries, {keys} keys, {HEADS}/{KV_HEADS} heads", *map(str, more.values())])
    return "attention", said, {"q": q, "k": k, "v": v, **more}


def _linear(m: int, n: int, k: int, accumulate: str) -> Call:
    arguments = {"x": arrays.bf16(1, m, k), "weight": arrays.bf16(2, n, k), "accumulate": accumulate}
    return "linear", f"{m}x{n}x{k} {accumulate}", arguments


def _elementwise() -> Iterator[Call]:
    rows, cols = ROWS_COLUMNS
    x, y, shape = arrays.bf16(1, rows, cols), arrays.bf16(2, rows, cols), f"{rows}x{cols}"
    for rule in RULES:
        yield "quantize", f"{shape} {rule}", {"x": x, "rule": rule}
    yield "rmsnorm", shape, {"x": x, "weight": arrays.bf16(3, cols), "eps": 1e-5}
    yield "silu_mul", shape, {"gate": x, "up": y}
    yield "residual", shape, {"x": x, "y": y}
    yield "gated_residual", shape, {"x": x, "y": y, "gate": arrays.bf16(5, 1)}
    yield "temperature", shape, {"x": x.reshape(rows, -1, 128), "factors": arrays.scales(6, rows) * 300}
    yield "encode", shape, {"x": x.astype("float32") * 90}
    logits = arrays.bf16(4, 64, 128256).astype("float32")
    yield "sample", "64x128256", {"logits": logits}


def _routed() -> Iterator[Call]:
    """Every score and many factors, then what experts get and give."""
    import numpy as np

    every = np.arange(1 << 16, dtype=np.uint16).view(arrays.BFLOAT16).reshape(16, -1)
    yield "route", "every number", {"logits": every, "top_k": every.shape[1]}
    positions = np.arange(0, 1 << 24, (1 << 24) // POSITIONS, dtype=np.int64)
    for floor_scale in (8192, 0.3):
        said = f"{positions.size} positions, {floor_scale}"
        yield "temperature_factors", said, {"positions": positions, "floor_scale": floor_scale, "attn_scale": 0.1}
    for tokens, experts, top_k in ROUTED:
        said, cols, random = f"{tokens} tokens, {experts} experts, k {top_k}", ROWS_COLUMNS[1], np.random.default_rng(7)
        x, scores = arrays.bf16(1, tokens, cols), arrays.bf16(2, tokens, top_k)
        ids = random.integers(0, experts, (tokens, top_k))
        yield "route", said, {"logits": arrays.bf16(3, tokens, experts), "top_k": top_k}
        yield "dispatch", said, {"x": x, "experts": ids, "scores": scores, "num_experts": experts}
        order, routed = random.permutation(tokens * top_k), arrays.bf16(4, tokens * top_k, cols)
        yield "combine", said, {"routed": routed, "order": order, "shared": x}


def _rope() -> Rows:
    """The table and the rotations at the positions of a long prompt."""
    import numpy as np

    import fp8ref

    cpu, cuda = fp8ref.backend("cpu"), fp8ref.backend("cuda")
    frequencies, positions = cpu.rope_frequencies(HEAD_DIM, 500000.0), np.arange(POSITIONS, dtype=np.int64)
    table = cpu.rope_table(positions, frequencies)
    yield arrays.row(
        "rope_table", f"{POSITIONS} positions", table, cuda.rope_table(*map(arrays.to_device, (positions, frequencies)))
    )
    x = arrays.bf16(5, POSITIONS // 4, HEADS, HEAD_DIM)
    part = [values[: len(x)] for values in table]
    moved = [arrays.to_device(array) for array in (x, *part)]
    for layout in ("rotate_half", "interleaved"):
        shape = f"{len(x)}x{HEADS}x{HEAD_DIM}, {layout}"
        yield arrays.row("rope", shape, cpu.rope(x, *part, layout), cuda.rope(*moved, layout))


def _large(call: Call) -> Rows:
    import torch

    import fp8ref

    function, shape, arguments = call
    expected = getattr(fp8ref.backend("cpu"), function)(**arguments)
    moved = {name: arrays.to_device(value) for name, value in arguments.items()}
    got = getattr(fp8ref.backend("cuda"), function)(**moved)
    torch.cuda.synchronize()
    yield arrays.row(function, f"{shape}, cuda against cpu", expected, got)


def _calls(level: str) -> dict[str, Any]:
    """Large calls by name; their arguments are made when they run."""
    shapes = MM[:4] if level == "quick" else MM
    makers: dict[str, Any] = {}
    for shape in shapes:
        for accumulate in MAIN:
            makers[f"scaled_mm {shape} {accumulate}"] = partial(_scaled_mm, shape, accumulate)
    for accumulate in OTHERS:
        makers[f"scaled_mm {EMULATED} {accumulate}"] = partial(_scaled_mm, EMULATED, accumulate)
    makers["scaled_mm split_k"] = partial(_scaled_mm, EMULATED, "sm90_wgmma", split_k=4)
    makers["scaled_mm b_a"] = partial(_scaled_mm, EMULATED, "exact", epilogue="b_a", out_dtype="float32")
    for accumulate in MAIN:
        makers[f"grouped_mm {accumulate}"] = partial(_grouped, *EXPERTS, accumulate)
    for shape in LINEAR:
        for accumulate in MAIN[:2]:
            makers[f"linear {shape} {accumulate}"] = partial(_linear, *shape, accumulate)
    for name, sizes in ATTENTION.items():
        makers[f"attention, {name}"] = partial(_attention, *sizes)
    for name, (queries, keys, chunk) in CHUNKED.items():
        for accumulate in MAIN_ATTENTION:
            more = {"mask": "chunked", "chunk": chunk, "accumulate": accumulate}
            makers[f"attention, {name}, {accumulate}"] = partial(_attention, queries, keys, **more)
    return makers


def _from(maker: Any) -> Rows:
    yield from _large(maker())


def _each(calls: Callable[[], Iterator[Call]]) -> Rows:
    for call in calls():
        yield from _large(call)


def items(settings: Settings) -> Items:
    """The suite on every op that cuda has, the suite on cpu, then the large shapes."""
    from fp8ref.conformance.runner import stems

    found: dict[str, Any] = {op: partial(_suite, "cuda", op) for op in stems("cuda")}
    if not found:
        raise RuntimeError("spec/ops.toml names no op of the backend cuda")
    found |= {f"cpu {op}": partial(_suite, "cpu", op) for op in stems("cpu") if op in found and op != "llama"}
    found |= {name: partial(_from, maker) for name, maker in _calls(settings.level).items()}
    return found | {"elementwise": partial(_each, _elementwise), "experts": partial(_each, _routed), "rope": _rope}


def facts() -> dict[str, str]:
    """What torch this was."""
    import torch

    return {"torch": torch.__version__}
