# SPDX-License-Identifier: Apache-2.0
"""Times of calls that take turns, and what the machine itself can do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

COPY_BYTES = 1 << 28
REST = 0.1  # seconds before a timed call: the threads of a BLAS go on spinning for a while and take cores from others
GIGA = 1e9

Work = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """One measured number and, where it has one, the bound that bytes or operations put on it."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    limit: str = ""

    @property
    def share(self) -> float | None:
        """The measured part of the bound."""
        return None if self.bound is None else self.value / self.bound


def seconds(*works: Work, least: int = 3, duration: float = 0.6) -> list[float]:
    """The best time of each call, after one that is not timed.

    The calls take turns, so that whatever else the machine does hits all of them alike: at least ``least`` rounds, and
    until the first has taken ``duration`` seconds.
    """
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    while len(times[0]) < least or sum(times[0]) < duration:
        for work, taken in zip(works, times, strict=True):
            time.sleep(REST)
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bandwidth() -> float:
    """Bytes per second that all cores read and write together, copying arrays far larger than a cache."""
    count = cores()
    size = COPY_BYTES // count // 8
    pairs = [(np.ones(size), np.empty(size)) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        (took,) = seconds(lambda: list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs)))
    return 2 * count * size * 8 / took


def matmul(m: int, n: int, k: int) -> Work:
    """numpy's float64 product (M, K) x (K, N), both operands in memory: the yardstick of every matrix product."""
    a, b = np.ones((m, k)), np.ones((n, k))
    return lambda: a @ b.T
