# SPDX-License-Identifier: Apache-2.0
"""Part ``bench``: speeds beside those of others and of the machine, measured in turns in one process.

A row's ``ratio`` is ours over the peer's speed; ``target`` is the ratio that is wanted, where one is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from gpu import arrays, timing

if TYPE_CHECKING:
    from gpu.gate import Settings
    from gpu.worker import Items

Rows = Iterator[tuple[str, dict[str, Any]]]

CUBES = ((4096, 4096, 4096), (8192, 8192, 8192))
LLAMA = ((2048, 6144, 4096), (2048, 4096, 4096), (2048, 28672, 4096), (2048, 4096, 14336))  # qkv, o, gate_up, down
EXACT = (*CUBES[:1], LLAMA[2])
EMULATED = (2048, 4096, 4096)
GEMV = ((1, 28672, 4096), (1, 4096, 14336), (1, 6144, 4096), (16, 28672, 4096))
HEAD = (1, 128256, 4096)
LINEAR = (2048, 4096, 4096)
EXPERTS = {"Scout": 16, "Maverick": 128}
EXPERT_SIZE = (8192, 5120)  # N, K
EXPERT_ROWS = (512, 64, 8)
LARGE = 30e6  # bytes of weights from which a product of few rows has a target
TERA, GIGA = 1e12, 1e9


def _cuda() -> Any:
    import fp8ref

    return fp8ref.backend("cuda")


def row(name: str, ours: float, peer: float, target: float | None = None) -> tuple[str, dict[str, Any]]:
    """A row with its ratio."""
    found: dict[str, Any] = {"name": name, "ours": float(f"{ours:.4g}"), "peer": float(f"{peer:.4g}")}
    return "bench", found | {"ratio": round(ours / peer, 4)} | ({"target": target} if target is not None else {})


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _product(shape: tuple[int, int, int], accumulate: str, copies: int = 3) -> timing.Work:
    """scaled_mm with a scale for each row and column, on different weights."""
    m, n, k = shape
    a, a_scale, b_scale = timing.codes(m, k), timing.ones(m, 1), timing.ones(n, 1)
    weights = [timing.codes(n, k) for _ in range(copies)]
    scaled_mm = _cuda().scaled_mm
    return [partial(scaled_mm, a, b, a_scale, b_scale, accumulate=accumulate) for b in weights]


def _torch_fp8(shape: tuple[int, int, int], scales: str, copies: int = 3) -> timing.Work:
    import torch

    m, n, k = shape
    a, weights = timing.codes(m, k), [timing.codes(n, k) for _ in range(copies)]
    pair = (timing.ones(m, 1), timing.ones(1, n)) if scales == "row" else (timing.ones(1), timing.ones(1))
    options = {"scale_a": pair[0], "scale_b": pair[1], "out_dtype": torch.bfloat16, "use_fast_accum": True}
    return [partial(torch._scaled_mm, a, b.t(), **options) for b in weights]


def matmul(shape: tuple[int, int, int], dtype: str, copies: int = 3) -> timing.Work:
    """torch.mm of that type on different weights."""
    import torch

    m, n, k = shape
    kind = {"device": arrays.DEVICE, "dtype": getattr(torch, dtype)}
    a, weights = torch.randn(m, k, **kind), [torch.randn(n, k, **kind) for _ in range(copies)]
    return [partial(torch.mm, a, b.t()) for b in weights]


def _hopper(shape: tuple[int, int, int]) -> Rows:
    works = {"ours": _product(shape, "sm90_wgmma"), "promoted": _product(shape, "sm90_wgmma_promoted")}
    works |= {
        "tensor": _torch_fp8(shape, "tensor"),
        "row": _torch_fp8(shape, "row"),
        "bf16": matmul(shape, "bfloat16"),
    }
    taken = timing.seconds(works)
    rate = {name: 2 * shape[0] * shape[1] * shape[2] / s / TERA for name, s in taken.items()}
    label = f"scaled_mm sm90_wgmma {_size(shape)} TFLOP/s against"
    yield row(f"{label} torch._scaled_mm, fast, scales per tensor", rate["ours"], rate["tensor"], 0.95)
    yield row(f"{label} torch._scaled_mm, fast, scales per row", rate["ours"], rate["row"])
    yield row(f"{label} torch.mm bf16", rate["ours"], rate["bf16"], 1.6)
    yield row(label.replace("wgmma ", "wgmma_promoted ", 1) + " torch.mm bf16", rate["promoted"], rate["bf16"])


def _exact(shape: tuple[int, int, int]) -> Rows:
    taken = timing.seconds({"ours": _product(shape, "exact"), "ceiling": matmul(CUBES[0], "float64")}, rounds=5)
    ours = 2 * shape[0] * shape[1] * shape[2] / taken["ours"] / TERA
    ceiling = 2 * 4096**3 / taken["ceiling"] / TERA
    # The FP64 path is wanted at 0.8 of this ceiling, the INT8 path at 3 times that.
    yield row(f"scaled_mm exact {_size(shape)} TFLOP/s against torch.mm float64 4096^3", ours, ceiling, 2.4)


def _linear() -> Rows:
    """linear `exact` and `sm90` on the shapes of a projection, against torch's bf16 product."""
    m, n, k = LINEAR
    x, w = timing.bf16(m, k), timing.bf16(n, k)
    for accumulate in ("exact", "sm90_wgmma"):
        ours = [partial(_cuda().linear, x, w, accumulate=accumulate)] * 3
        taken = timing.seconds({"ours": ours, "torch": matmul(LINEAR, "bfloat16")})
        rate = {name: 2 * m * n * k / s / TERA for name, s in taken.items()}
        yield row(f"linear {accumulate} {_size(LINEAR)} TFLOP/s against torch.mm bf16", rate["ours"], rate["torch"])


def _emulated(accumulate: str) -> Rows:
    macs = EMULATED[0] * EMULATED[1] * EMULATED[2] / TERA
    ours = timing.seconds({"ours": _product(EMULATED, accumulate, copies=1)}, rounds=3)["ours"]
    yield row(f"emulation of {accumulate} {_size(EMULATED)} TMAC/s against 8 TMAC/s", macs / ours, 8.0, 1.0)


def _mmaemu() -> Rows:
    """Ada's tensor core on this GPU: mmaemu's CUDA kernels have the same bits, with scales of tensors only."""
    import mmaemu

    m, n, k = EMULATED
    a, b = timing.codes(m, k), timing.codes(n, k)
    peer = [partial(mmaemu.accumulate, a, b, use_fast_accum=True, profile="ada", splitk=1)]
    taken = timing.seconds({"ours": _product(EMULATED, "sm89_mma", copies=1), "mmaemu": peer}, rounds=3)
    rate = {name: m * n * k / s / TERA for name, s in taken.items()}
    yield row(f"emulation of sm89_mma {_size(EMULATED)} TMAC/s against mmaemu, ada", rate["ours"], rate["mmaemu"], 2.0)


def _few_rows(accumulate: str) -> Rows:
    peak = timing.copy_bandwidth() / GIGA
    for shape in GEMV:
        m, n, k = shape
        taken = timing.seconds({"ours": _product(shape, accumulate, copies=min(24, max(3, int(6e8 / (n * k)))))})[
            "ours"
        ]
        target = 0.8 if n * k > LARGE and m == 1 else None
        name = f"scaled_mm {accumulate} {_size(shape)} GB/s of weights against a copy"
        yield row(name, (n * k + m * k + 2 * m * n) / taken / GIGA, peak, target)


def _head() -> Rows:
    m, n, k = HEAD
    peak = timing.copy_bandwidth() / GIGA
    x, w = timing.bf16(m, k), timing.bf16(n, k)
    for accumulate in ("exact", "sm90_wgmma"):
        taken = timing.seconds({"ours": [partial(_cuda().linear, x, w, accumulate=accumulate)] * 3})["ours"]
        yield row(
            f"linear {accumulate} {_size(HEAD)} GB/s of weights against a copy", 2 * n * k / taken / GIGA, peak, 0.8
        )


def _grouped(model: str) -> Rows:
    """Equal rows for each expert; the dense kernel has as many rows in one product."""
    import torch

    experts, (n, k) = EXPERTS[model], EXPERT_SIZE
    weights, b_scale = timing.codes(experts, n, k), timing.ones(experts, n, 1)
    peak = timing.copy_bandwidth() / GIGA
    for rows in EXPERT_ROWS:
        m = experts * rows
        a, a_scale = timing.codes(m, k), timing.ones(m, 1)
        offsets = torch.arange(experts + 1, device=arrays.DEVICE, dtype=torch.int64) * rows
        work = partial(_cuda().grouped_mm, a, weights, a_scale, b_scale, offsets, accumulate="sm90_wgmma")
        name = f"grouped_mm {model}, {experts} experts of {n}x{k}, {rows} rows each"
        if rows >= 512:
            taken = timing.seconds({"ours": [work], "dense": _product((m, n, k), "sm90_wgmma", copies=1)}, rounds=5)
            rate = {name: 2 * m * n * k / s / TERA for name, s in taken.items()}
            yield row(f"{name}, TFLOP/s against the dense kernel", rate["ours"], rate["dense"], 0.85)
        else:
            taken = timing.seconds({"ours": [work]}, rounds=5)
            moved = experts * n * k + m * k + 2 * m * n
            yield row(f"{name}, GB/s against a copy", moved / taken["ours"] / GIGA, peak, 0.7)


def items(settings: Settings) -> Items:
    """Products first, then what is bound by memory, then whole models."""
    from gpu import bench_experts, bench_model

    quick = settings.level == "quick"
    found: dict[str, Any] = {}
    for shape in LLAMA[:1] if quick else (*CUBES, *LLAMA):
        found[f"sm90_wgmma {_size(shape)}"] = partial(_hopper, shape)
    for shape in EXACT[:1] if quick else EXACT:
        found[f"exact {_size(shape)}"] = partial(_exact, shape)
    for accumulate in ("exact", "sm90_wgmma"):
        found[f"few rows, {accumulate}"] = partial(_few_rows, accumulate)
    found |= {"head": _head, "linear": _linear, "mmaemu": _mmaemu}
    for accumulate in ("sm89_mma", "sm90_mma_sync", "sm120_mma"):
        found[f"emulation of {accumulate}"] = partial(_emulated, accumulate)
    for name in list(EXPERTS)[:1] if quick else EXPERTS:
        found[f"grouped {name}"] = partial(_grouped, name)
    return found | bench_experts.items(settings) | bench_model.items(settings)
