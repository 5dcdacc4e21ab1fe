# SPDX-License-Identifier: Apache-2.0
"""Part ``torch``: what torch computes on this GPU against what fp8ref says it computes, bit for bit.

torch._scaled_mm with scales per tensor (cuBLASLt) and per row, fast and slow accumulation; and E18, the order in which
torch's bf16 matrix product adds, read off its results. The prediction is the cpu backend's, or golden's where the
extension was not built.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu import arrays

if TYPE_CHECKING:
    from gpu.gate import Settings
    from gpu.worker import Items

Rows = Iterator[tuple[str, dict[str, Any]]]
# K of 256 and more, with and without the shapes where cuBLASLt splits K: few rows and columns, much K.
SHAPES = ((16, 256, 512), (64, 4096, 4096), (512, 1024, 4096), (1024, 512, 14336), (256, 256, 8192))
SPLITS = (2, 3, 4, 5, 6, 8, 12, 16)
FAST = {"fast": "sm90_wgmma", "slow": "sm90_wgmma_promoted"}
# Scales per tensor are multiplied first [MM-EPILOGUE-AB]; CUTLASS's epilogue of rows in torch takes b's, then a's.
EPILOGUES = {"tensor": ("ab", "b_a", "a_b"), "row": ("b_a", "a_b", "ab")}
K_E18 = (256, 4096)


def _predictor() -> Any:
    import fp8ref
    from fp8ref.errors import BackendError

    try:
        return fp8ref.backend("cpu")
    except BackendError:
        return fp8ref.backend("golden")


def _measured(a: Any, b: Any, scales: tuple[Any, Any], speed: str) -> Any:
    import torch

    left, right = (arrays.to_device(x).view(torch.float8_e4m3fn) for x in (a, b))
    ours = [arrays.to_device(x) for x in scales]
    ours[1] = ours[1].t() if ours[1].ndim == 2 else ours[1]
    options = {"out_dtype": torch.bfloat16, "use_fast_accum": speed == "fast"}
    return torch._scaled_mm(left, right.t(), scale_a=ours[0], scale_b=ours[1], **options)


def _scaled_mm(shape: tuple[int, int, int], granularity: str, speed: str) -> Rows:
    """The row of the first prediction that has no difference, or else of the most plausible one."""
    m, n, k = shape
    a, b = arrays.codes(1, m, k), arrays.codes(2, n, k)
    per_row = granularity == "row"
    scales = [arrays.scales(3 + i, *((rows, 1) if per_row else ())) for i, rows in enumerate((m, n))]
    got = _measured(a, b, (np.asarray(scales[0]), np.asarray(scales[1])), speed)
    predict = partial(_predictor().scaled_mm, a, b, *scales, accumulate=FAST[speed])
    label = f"{m}x{n}x{k}, scales per {granularity}, {speed} accumulation"
    first = None
    for split in (1, *SPLITS):
        for epilogue in EPILOGUES[granularity]:
            how = f"{label}, as epilogue {epilogue}, split_k {split}"
            found = arrays.row("torch._scaled_mm", how, predict(epilogue=epilogue, split_k=split), got)
            first = first or found
            if found[1]["differ"] == 0:
                yield found
                return
    assert first is not None
    first[1]["first"] = first[1].get("first", "") + "; no epilogue and no split of K fits"
    yield first


def survivors(k: int, first: int, product: Any) -> Any:
    """FPRev: 2^60 at ``first``, -2^60 at j, ones elsewhere, for every j. Ones that are added between vanish.

    Row j of the result counts those that are left, which is how far up in the tree of sums first and j meet.
    """
    big = np.float32(2.0**60)
    a = np.ones((k, k), np.float32)
    a[:, first] = big
    a[np.arange(k), np.arange(k)] = -big
    return product(a.astype(arrays.BFLOAT16), np.ones((k, k), np.float32).astype(arrays.BFLOAT16))


def _torch_product(a: Any, b: Any) -> Any:
    import torch

    left, right = arrays.to_device(a), arrays.to_device(b)
    return torch.mm(left, right.t(), out_dtype=torch.float32)[:, 0].cpu().numpy()


def _chain(a: Any, b: Any) -> Any:
    return np.asarray(_predictor().mma(a, b[:1], accumulate="sm90_wgmma"))[:, 0]


def steps(found: Any, first: int) -> str:
    """How many ones are left behind each j, as ranges: '240 at 1, 224 at 16, ...'."""
    keep = np.arange(found.size) != first
    places, values = np.arange(found.size)[keep], found[keep]
    changes = np.flatnonzero(np.diff(values) != 0) + 1
    shown = [f"{values[i]:g} from {places[i]}" for i in (0, *changes[:5])]
    return ", ".join(shown) + (", ..." if changes.size > 5 else "")


def e18(k: int, first: int, product: Any) -> dict[str, Any]:
    """The row of one probe: as the chain, or where the order of additions is first another one."""
    expected, measured = (survivors(k, first, by) for by in (_chain, product))
    other = np.flatnonzero((expected != measured) & (np.arange(k) != first))
    row = {"id": f"E18 torch.mm bf16 {k}x{k}x{k}, pair at {first}", "expected": steps(expected, first)}
    where = f"; {other.size} differ, first at {other[0]}: {measured[other[0]]:g}" if other.size else ""
    return row | {"measured": steps(measured, first) + where, "held": other.size == 0}


def _e18(k: int) -> Rows:
    for first in (0, k // 2):
        yield "probes", e18(k, first, _torch_product)


def items(settings: Settings) -> Items:
    """Every shape with both kinds of scales and accumulation, then E18."""
    found: dict[str, Any] = {}
    for shape in SHAPES[:2] if settings.level == "quick" else SHAPES:
        for granularity in EPILOGUES:
            for speed in FAST:
                found[f"_scaled_mm {shape} {granularity} {speed}"] = partial(_scaled_mm, shape, granularity, speed)
    for k in K_E18:
        found[f"E18 {k}"] = partial(_e18, k)
    return found
