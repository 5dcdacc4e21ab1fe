# SPDX-License-Identifier: Apache-2.0
"""Times on a GPU: CUDA events, works that take turns, medians; and what the machine can do at most."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from gpu import arrays

Work = Sequence[Callable[[], Any]]  # the same call on different buffers, so that no cache helps more than in use

ROUNDS = 9
SLEEP = 2_000_000, 400_000  # cycles before a measurement, and more for each call: meanwhile the host queues them all
SECONDS = 1.0  # at most, for the rounds of one comparison


def seconds(works: dict[str, Work], rounds: int = ROUNDS) -> dict[str, float]:
    """The median time of one call of each work, in turns after one round that is not counted."""
    import torch

    times: dict[str, list[float]] = {name: [] for name in works}
    spent = 0.0
    for turn in range(rounds + 1):
        for name, calls in works.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            if turn == 0:
                for call in calls:  # workspaces, plans, lazily loaded kernels
                    call()
            torch.cuda.synchronize()
            torch.cuda._sleep(SLEEP[0] + SLEEP[1] * len(calls))  # otherwise the time between launches would count
            start.record()
            for call in calls:
                call()
            end.record()
            end.synchronize()
            elapsed = start.elapsed_time(end) / 1e3
            spent += elapsed
            if turn > 0:
                times[name].append(elapsed / len(calls))
        if turn > 2 and spent > SECONDS * len(works):
            break
    return {name: statistics.median(taken) for name, taken in times.items()}


def copy_bandwidth() -> float:
    """Bytes read and written in a second by a large copy on the device."""
    import torch

    source = torch.empty(1 << 32, dtype=torch.uint8, device=arrays.DEVICE).random_(0, 256)
    target = torch.empty_like(source)
    taken = seconds({"copy": [lambda: target.copy_(source)] * 3})["copy"]
    return 2 * source.numel() / taken


def codes(rows: int, columns: int, *more: int) -> Any:
    """Random E4M3 codes on the device, as float8_e4m3fn: normal numbers, the largest near 448."""
    import torch

    x = torch.empty(rows, columns, *more, dtype=torch.float8_e4m3fn, device=arrays.DEVICE)
    for part in x.view(-1).split(1 << 28):
        part.copy_((torch.randn(part.numel(), device=arrays.DEVICE, dtype=torch.bfloat16) * 110).clamp_(-447, 447))
    return x


def bf16(*shape: int) -> Any:
    """Random normal numbers on the device."""
    import torch

    return torch.randn(*shape, device=arrays.DEVICE, dtype=torch.bfloat16)


def ones(*shape: int) -> Any:
    """float32 scales near 2^-8."""
    import torch

    return torch.empty(*shape, device=arrays.DEVICE).uniform_(2.0**-9, 2.0**-7)
