# SPDX-License-Identifier: Apache-2.0
"""The thread pool of the cpu backend: concurrent callers, forks, changes of the number of threads."""

from __future__ import annotations

import multiprocessing
import sys
import threading

import numpy as np
import pytest

from bits import assert_same_bits
from everywhere import execution
from fp8ref import _ext
from fp8ref.backends.cpu.e4m3 import encode

X = np.random.default_rng(11).standard_normal(400_000)


def test_concurrent_callers():
    """Two threads at once: one has the pool, the other works alone."""
    with execution(_ext.isa(), 2):
        expected, results = encode(X), {}

        def work(name: int) -> None:
            for _ in range(20):
                results[name] = encode(X)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result in results.values():
            assert_same_bits(result, expected)


def _child(queue) -> None:
    queue.put(encode(X).view(np.uint8).tobytes())


@pytest.mark.skipif(sys.platform != "linux", reason="fork with threads is a matter of Linux")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_after_fork():
    """A child has none of its parent's threads, and works all the same."""
    with execution(_ext.isa(), 2):
        expected = encode(X).view(np.uint8).tobytes()
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=_child, args=(queue,))
        child.start()
        assert queue.get(timeout=30) == expected
        child.join(30)
        assert child.exitcode == 0


def test_thread_counts():
    before = _ext.threads()
    expected = encode(X)
    for n in (1, 3, 8, 2):
        _ext.set_threads(n)
        assert _ext.threads() == n
        assert_same_bits(encode(X), expected)
    _ext.set_threads(0)
    assert _ext.threads() >= 1
    _ext.set_threads(before)
