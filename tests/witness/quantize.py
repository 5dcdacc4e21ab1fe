# SPDX-License-Identifier: Apache-2.0
"""The scale rules: which numbers share a scale, and the way back. Each rule is written out in quantize_<system>.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from . import (
    quantize_compressed_tensors,
    quantize_deepseek,
    quantize_fbgemm,
    quantize_mse,
    quantize_sglang,
    quantize_torchao,
    quantize_transformer_engine,
    quantize_transformers,
    quantize_vllm,
)
from .arithmetic import multiply, via_fp32
from .formats import E4M3, FP32, Format, decode, encode
from .quantize_steps import Result, Tile

Rows = Sequence[Sequence[int]]
Rule = Callable[[Tile], Result]
Place = tuple[int, int]

_SYSTEMS = (
    quantize_vllm,
    quantize_compressed_tensors,
    quantize_fbgemm,
    quantize_transformers,
    quantize_transformer_engine,
    quantize_torchao,
    quantize_deepseek,
    quantize_sglang,
)


def _all(kind: str) -> dict[str, Rule]:
    return {name: rule for system in _SYSTEMS for name, rule in getattr(system, kind, {}).items()}


ROW, TENSOR, GROUP, BLOCK = (_all(kind) for kind in ("ROW", "TENSOR", "GROUP", "BLOCK"))
SEARCH = quantize_mse.SEARCH  # rules that look at all scales together
GRANULARITY = {
    **dict.fromkeys(ROW, "row"),
    **dict.fromkeys(TENSOR, "tensor"),
    **dict.fromkeys(GROUP, "group"),
    **dict.fromkeys(BLOCK, "block"),
    **SEARCH,
}
RULES = {**ROW, **TENSOR, **GROUP, **BLOCK}
GIVEN = ("vllm.per_tensor_static", "vllm.kv_cache", "autofp8.per_tensor_static", "transformer_engine.delayed")
BOUNDED = (
    "vllm.per_token",
    "vllm.per_token_native",
    "vllm.group_128_rms_norm",
    "vllm.group_128_silu_mul",
    "fbgemm.per_row",
    "fbgemm.per_row_triton",
    "fbgemm.per_row_torch",
    "fbgemm.per_tensor",
)


def tiles(granularity: str, rows: int, columns: int) -> Iterator[tuple[Place, list[Place]]]:
    """The place of each scale in the array of scales, and the places of the elements that share it, in order."""
    if granularity == "tensor":
        yield (0, 0), [(i, j) for i in range(rows) for j in range(columns)]
    elif granularity == "row":
        yield from (((i, 0), [(i, j) for j in range(columns)]) for i in range(rows))
    else:
        high = {"group": 1, "block": 128}[granularity]
        for top in range(0, rows, high):
            for left in range(0, columns, 128):
                down, across = range(top, min(top + high, rows)), range(left, min(left + 128, columns))
                yield (top // high, left // 128), [(i, j) for i in down for j in across]


def quantize(
    x: Rows, fmt: Format, rule: str, scale: int | None = None, scale_ub: int | None = None
) -> tuple[list[list[int]], dict[Place, int]]:
    """Codes of the rows of x (patterns of `fmt`), and the fp32 scales by their places."""
    given = None if scale is None else decode(FP32, scale)
    upper = None if scale_ub is None else decode(FP32, scale_ub)
    values = [[decode(fmt, bits) for bits in row] for row in x]
    columns = len(x[0]) if x else 0
    shared = list(tiles(GRANULARITY[rule], len(x), columns))
    each = [Tile([values[i][j] for i, j in members], fmt, given, upper) for _, members in shared]
    results = quantize_mse.search(each) if rule in SEARCH else [RULES[rule](tile) for tile in each]
    codes, scales = [[0] * columns for _ in x], {}
    for (place, members), (encoded, stored) in zip(shared, results, strict=True):
        for (i, j), y in zip(members, encoded, strict=True):
            codes[i][j] = encode(E4M3, y, "saturate")
        scales[place] = encode(FP32, stored)
    return codes, scales


def dequantize(codes: Rows, scales: Callable[[int, int], int], out: Format) -> list[list[int]]:
    """RN_out(RN32(code * scale)); `scales` gives the scale of a place."""
    return [
        [encode(out, via_fp32(multiply(decode(E4M3, row[j]), decode(FP32, scales(i, j))))) for j in range(len(row))]
        for i, row in enumerate(codes)
    ]
