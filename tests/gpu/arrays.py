# SPDX-License-Identifier: Apache-2.0
"""Random arguments at the shapes of real layers, on the host and on the device, and the comparison of bits."""

from __future__ import annotations

import functools
import math
import statistics
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
CODES = np.dtype(ml_dtypes.float8_e4m3fn)
DEVICE = "cuda"  # what torch calls the GPU; a test without one puts "cpu" here


@functools.cache
def _normal() -> NDArray[np.float32]:
    """Quantiles of the normal distribution: one drawn at random is a normal number, and drawing is fast."""
    normal = statistics.NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / 65536) for i in range(65536)], np.float32)


def _drawn(seed: int, table: Array, shape: tuple[int, ...]) -> Array:
    count = math.prod(shape)
    return table[np.frombuffer(np.random.default_rng(seed).bytes(2 * count), np.uint16)].reshape(shape)


@functools.lru_cache(maxsize=4)
def bf16(seed: int, *shape: int, size: float = 1.0) -> Array:
    """Normal numbers, rounded to bfloat16 by their bits."""
    words = (_normal() * np.float32(size)).view(np.uint32)
    table = ((words + 0x7FFF + ((words >> 16) & 1)) >> 16).astype(np.uint16)
    return _drawn(seed, table, shape).view(BFLOAT16)


@functools.lru_cache(maxsize=4)
def codes(seed: int, *shape: int) -> Array:
    """E4M3 codes as a quantizer makes them of normal numbers whose largest is near 448: high exponents are frequent."""
    values = _normal() * 110
    magnitude = np.clip(np.abs(values), 2.0**-9, 447).astype(np.float32)
    fields = (magnitude.view(np.uint32) >> 20).astype(np.int32) - (120 << 3)  # 3 bits of the significand; bias 7
    table = np.clip(fields, 0, 0x7E).astype(np.uint8) | np.where(values < 0, 0x80, 0).astype(np.uint8)
    return _drawn(seed, table, shape).view(CODES)


def raw_codes(seed: int, *shape: int) -> Array:
    """Any codes but NaN."""
    found = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return np.where(found & 0x7F == 0x7F, found ^ 1, found).astype(np.uint8).view(CODES)


def scales(seed: int, *shape: int) -> Array:
    """Positive float32 scales about 2^-8."""
    return np.random.default_rng(seed).uniform(2.0**-9, 2.0**-7, shape).astype(np.float32)


def to_device(x: Any) -> Any:
    """A torch CUDA tensor with the bits of an array; codes become uint8."""
    import torch

    if not isinstance(x, np.ndarray):
        return x
    if x.dtype == BFLOAT16:
        return torch.from_numpy(np.array(x).view(np.int16)).to(DEVICE).view(torch.bfloat16)
    if x.dtype == CODES:
        return torch.from_numpy(np.array(x).view(np.uint8)).to(DEVICE)
    return torch.from_numpy(np.array(x)).to(DEVICE)


def to_host(x: Any) -> Array:
    """The bits of an array or tensor, as unsigned words of its element size or as they are."""
    if not isinstance(x, np.ndarray):
        import torch

        kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
        x = x.detach().contiguous().view(kinds[x.element_size()]).cpu().numpy()
    return np.ascontiguousarray(x).view(f"u{x.dtype.itemsize}")


_NAN = {1: (0x7F, 0x7E), 2: (0x7FFF, 0x7F80), 4: (0x7FFFFFFF, 0x7F800000)}  # of e4m3, bfloat16 and float32


def differing(expected: Any, got: Any) -> tuple[int, int, str]:
    """Elements, how many differ in bits and are not both NaN, and the first of them. Integers have 8 bytes."""
    want, have = to_host(expected), to_host(got)
    if want.shape != have.shape or want.dtype != have.dtype:
        return want.size, max(want.size, 1), f"; {have.dtype}{have.shape} for {want.dtype}{want.shape}"
    different = want != have
    if want.dtype.itemsize in _NAN:
        mask, largest = _NAN[want.dtype.itemsize]
        different &= ~(((want & mask) > largest) & ((have & mask) > largest))
    count = int(np.count_nonzero(different))
    if count == 0:
        return want.size, 0, ""
    index = tuple(int(i) for i in np.argwhere(different)[0])
    digits = 2 * want.dtype.itemsize
    first = f"; first at {list(index)}: 0x{int(have[index]):0{digits}x} for 0x{int(want[index]):0{digits}x}"
    return want.size, count, first


def row(op: str, shape: str, expected: Any, got: Any) -> tuple[str, dict[str, Any]]:
    """A row of the record; the outputs of a function that has several count together."""
    wanted = expected if isinstance(expected, tuple) else (expected,)
    found = got if isinstance(got, tuple) else (got,)
    totals, first = [0, 0], ""
    for want, have in zip(wanted, found, strict=True):
        elements, count, text = differing(want, have)
        totals[0] += elements
        totals[1] += count
        first = first or text
    result: dict[str, Any] = {"op": op, "shape": shape, "elements": totals[0], "differ": totals[1]}
    return "conformance", result | ({"first": first} if first else {})
