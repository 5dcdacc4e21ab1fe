# SPDX-License-Identifier: Apache-2.0
"""Speeds of route, dispatch and combine, beside torch's topk, sort and index, and a copy of the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from gpu import arrays, timing

if TYPE_CHECKING:
    from gpu.gate import Settings
    from gpu.worker import Items

Rows = Iterator[tuple[str, dict[str, Any]]]

SIZE = (8192, 5120)  # tokens, columns
EXPERTS = {"Scout": 16, "Maverick": 128}


def _torch_route(logits: Any) -> Any:
    import torch

    values, ids = torch.topk(logits, 1)
    return ids, torch.sigmoid(values.float()).to(logits.dtype)


def _torch_dispatch(x: Any, ids: Any, scores: Any, experts: int) -> Any:
    import torch

    order = torch.sort(ids.view(-1), stable=True).indices
    return (x * scores)[order], order, torch.bincount(ids.view(-1), minlength=experts).cumsum(0)


def _torch_combine(routed: Any, order: Any, shared: Any) -> Any:
    return shared.index_add(0, order, routed)


def rows(model: str) -> Rows:
    """One expert for each token."""
    import fp8ref
    from gpu.part_bench import GIGA, row

    cuda, (tokens, cols), experts = fp8ref.backend("cuda"), SIZE, EXPERTS[model]
    logits, x, shared = timing.bf16(tokens, experts), timing.bf16(tokens, cols), timing.bf16(tokens, cols)
    ids, scores = cuda.route(logits)
    routed, order, _ = cuda.dispatch(x, ids, scores, experts)
    given = [arrays.to_device(array) for array in (ids, scores, routed, order)]  # of cpu, in a test, they are arrays
    ids, scores, routed, order = given
    sides = {
        "route": (partial(cuda.route, logits), partial(_torch_route, logits), 2 * tokens * experts + 10 * tokens),
        "dispatch": (
            partial(cuda.dispatch, x, ids, scores, experts),
            partial(_torch_dispatch, x, ids, scores, experts),
            4 * tokens * cols + 18 * tokens,
        ),
        "combine": (
            partial(cuda.combine, routed, order, shared),
            partial(_torch_combine, routed, order, shared),
            6 * tokens * cols + 8 * tokens,
        ),
    }
    peak = timing.copy_bandwidth() / GIGA
    for name, (ours, torchs, moved) in sides.items():
        taken = timing.seconds({"ours": [ours] * 3, "torch": [torchs] * 3})
        rate = {who: moved / seconds / GIGA for who, seconds in taken.items()}
        label = f"{name} of {tokens} tokens among {experts} experts, GB/s against"
        yield row(f"{label} torch", rate["ours"], rate["torch"])
        yield row(f"{label} a copy", rate["ours"], peak)


def items(settings: Settings) -> Items:
    """Both Llama 4."""
    names = list(EXPERTS)[:1] if settings.level == "quick" else EXPERTS
    return {f"experts of {name}": partial(rows, name) for name in names}
