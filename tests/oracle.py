# SPDX-License-Identifier: Apache-2.0
"""The public functions of fp8ref, computed by the witness: the arrays become Python ints and back, no more.

Whatever a test compares with fp8ref's functions, it gets here: `oracle.scaled_mm(**arguments)` takes the arguments of
`fp8ref.scaled_mm`. `expected(case)` remembers the answer to a case of `inputs`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from bits import BF16, E4M3, from_bits, pattern
from inputs.case import Case
from witness import attention as _attention
from witness import e4m3 as _e4m3
from witness import formats
from witness import grouped_mm as _grouped_mm
from witness import linear as _linear
from witness import llama as _llama
from witness import mma as _mma
from witness import quantize as _quantize
from witness import residual as _residual
from witness import rmsnorm as _rmsnorm
from witness import rope as _rope
from witness import route as _route
from witness import sample as _sample
from witness import scaled_mm as _scaled_mm
from witness import silu_mul as _silu_mul
from witness import temperature as _temperature

ROTATIONS = {"rotate_half": "rotate", "interleaved": "rotate_interleaved"}


def format_of(array: Any) -> formats.Format:
    """The witness's format of an array's dtype."""
    return formats.FORMATS[np.asarray(array).dtype.name]


def _codes_format(x: np.ndarray) -> formats.Format:
    return formats.E4M3 if x.dtype == np.uint8 else format_of(x)


def encode(x: np.ndarray, overflow: str = "saturate") -> np.ndarray:
    fmt = format_of(x)
    codes = [_e4m3.encode(bits, fmt, overflow) for bits in pattern(x).ravel().tolist()]
    return from_bits(codes, E4M3).reshape(x.shape)


def decode(codes: np.ndarray) -> np.ndarray:
    return from_bits([_e4m3.decode(c) for c in pattern(codes).ravel().tolist()], np.float32).reshape(codes.shape)


def quantize(x: np.ndarray, rule: str, scale: Any = None, scale_ub: Any = None) -> tuple[np.ndarray, np.ndarray]:
    columns = x.shape[-1]
    rows = pattern(x).reshape(int(np.prod(x.shape[:-1])), columns)
    given, upper = (None if s is None else int(pattern(np.float32(s))) for s in (scale, scale_ub))
    codes, scales = _quantize.quantize(rows.tolist(), format_of(x), rule, given, upper)
    groups = -(-columns // 128)
    shapes = {
        "tensor": (),
        "row": (len(rows), 1),
        "group": (len(rows), groups),
        "block": (-(-len(rows) // 128), groups),
    }
    shape = shapes[_quantize.GRANULARITY[rule]]
    stored = [scales[place] for place in np.ndindex(shape or (1, 1))]
    return from_bits(codes, E4M3).reshape(x.shape), from_bits(stored, np.float32).reshape(shape)


def dequantize(codes: np.ndarray, scale: Any, out_dtype: str = "bfloat16") -> np.ndarray:
    rows = pattern(codes).reshape(int(np.prod(codes.shape[:-1])), codes.shape[-1])
    scales = pattern(np.asarray(scale, dtype=np.float32)).reshape(np.shape(scale) if np.size(scale) != 1 else (1, 1))
    high = 1 if len(scales) == len(rows) else 128  # rows of codes, or rows of blocks; the last scale serves the rest

    def at(i: int, j: int) -> int:
        return int(scales[min(i // high, len(scales) - 1), min(j // 128, scales.shape[1] - 1)])

    out = _quantize.dequantize(rows.tolist(), at, formats.FORMATS[out_dtype])
    return _array(out, out_dtype, codes.shape)


def scaled_mm(
    a: np.ndarray,
    b: np.ndarray,
    a_scale: Any,
    b_scale: Any,
    bias: np.ndarray | None = None,
    out_dtype: str = "bfloat16",
    accumulate: str = "exact",
    epilogue: str = "a_b",
    split_k: int = 1,
    out_scale: Any = None,
    overflow: str | None = None,
) -> np.ndarray:
    a_scales, b_scales = (pattern(np.asarray(s, dtype=np.float32)) for s in (a_scale, b_scale))
    each = [s.size == 1 or s.shape == (len(x), 1) for s, x in ((a_scales, a), (b_scales, b))]
    if all(each) and epilogue in ("a_b", "b_a", "ab"):
        function, scales = _scaled_mm.scaled_mm, [s.ravel().tolist() for s in (a_scales, b_scales)]
    else:
        function, scales = _scaled_mm.block_scaled_mm, [s.tolist() for s in (a_scales, b_scales)]
    biases = None if bias is None else pattern(bias).tolist()
    rest: list[Any] = [biases, formats.FP32 if bias is None else format_of(bias), formats.FORMATS[out_dtype]]
    rest += [accumulate, epilogue]
    if out_scale is not None:
        rest += [formats.decode(formats.FP32, int(pattern(np.float32(out_scale)).ravel()[0])), overflow]
    more: dict[str, Any] = {"types": tuple(map(_codes_format, (a, b)))}
    if function is _scaled_mm.scaled_mm:
        more["split_k"] = split_k
    rows = function(pattern(a).tolist(), pattern(b).tolist(), *scales, *rest, **more)
    return _array(rows, out_dtype, (len(a), len(b)))


def grouped_mm(
    a: np.ndarray,
    b: np.ndarray,
    a_scale: Any,
    b_scale: Any,
    offsets: Any,
    bias: np.ndarray | None = None,
    out_dtype: str = "bfloat16",
    out: np.ndarray | None = None,
    **policy: Any,
) -> np.ndarray:
    shape = (len(a), b.shape[1])

    def product(row: int, expert: int) -> list[int]:
        left, right = np.asarray(a_scale), np.asarray(b_scale)
        left = left if left.size == 1 else left[row : row + 1]
        right = right[expert] if right.ndim in (1, 3) and len(right) == len(b) else right
        offset = None if bias is None else bias[expert]
        return pattern(scaled_mm(a[row : row + 1], b[expert], left, right, offset, out_dtype, **policy))[0].tolist()

    kept = np.zeros(shape, dtype=np.uint32) if out is None else pattern(out)
    rows = _grouped_mm.grouped_mm(len(a), [int(x) for x in offsets], product, kept.tolist())
    return _array(rows, out_dtype, shape)


def mma(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray | None = None,
    accumulate: str = "sm90_wgmma",
    out_dtype: str = "float32",
) -> np.ndarray:
    formats_of = [_codes_format(x) for x in (a, b)]
    starts = np.zeros((len(a), len(b)), np.uint32) if c is None else pattern(c)
    out = formats.FORMATS[out_dtype]
    rows = [
        [
            _mma.chain(accumulate, x, formats_of[0], y, formats_of[1], start, out)
            for y, start in zip(pattern(b).tolist(), row, strict=True)
        ]
        for x, row in zip(pattern(a).tolist(), starts.tolist(), strict=True)
    ]
    return _array(rows, out_dtype, (len(a), len(b)))


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, accumulate: str = "exact") -> np.ndarray:
    biases = None if bias is None else pattern(bias).tolist()
    bias_format = formats.BF16 if bias is None else format_of(bias)
    rows = _linear.linear(pattern(x).tolist(), pattern(weight).tolist(), biases, bias_format, accumulate)
    return _array(rows, "bfloat16", (len(x), len(weight)))


def rmsnorm(x: np.ndarray, weight: np.ndarray | None, eps: float) -> np.ndarray:
    weights = None if weight is None else pattern(weight).tolist()
    rows = [_rmsnorm.rmsnorm(row, weights, eps) for row in pattern(x).reshape(-1, x.shape[-1]).tolist()]
    return _array(rows, "bfloat16", x.shape)


def rope_frequencies(head_dim: int, base: float, scaling: dict[str, float] | None = None) -> np.ndarray:
    return from_bits(_rope.rope_frequencies(head_dim, base, scaling), np.float32)


def rope_table(positions: Any, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    positions = [int(p) for p in positions]
    tables = _rope.rope_table(positions, pattern(frequencies).tolist())
    return tuple(_array(t, "float32", (len(positions), len(frequencies))) for t in tables)


def rope(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, layout: str = "rotate_half") -> np.ndarray:
    tables, rotate = zip(*(pattern(a).tolist() for a in (x, cos, sin)), strict=True), getattr(_rope, ROTATIONS[layout])
    return _array([[rotate(head, c, s) for head in heads] for heads, c, s in tables], "bfloat16", x.shape)


def temperature_factors(positions: Any, floor_scale: float, attn_scale: float) -> np.ndarray:
    factors = [_temperature.temperature_factor(int(p), floor_scale, attn_scale) for p in positions]
    return from_bits(factors, np.float32)


def temperature(x: np.ndarray, factors: np.ndarray) -> np.ndarray:
    rows = zip(pattern(x).reshape(len(x), x[:1].size).tolist(), pattern(factors).tolist(), strict=True)
    return _array([[_temperature.temperature(value, f) for value in row] for row, f in rows], "bfloat16", x.shape)


def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    scale: float | None = None,
    mask: str = "causal",
    accumulate: str = "exact",
    chunk: int | None = None,
) -> np.ndarray:
    rows = _attention.attention(*(pattern(x).tolist() for x in (q, k, v)), scale, mask, accumulate, chunk)
    return _array(rows, "bfloat16", q.shape)


def silu_mul(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    return _pairwise(_silu_mul.silu_mul, gate, up)


def residual(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _pairwise(_residual.residual, x, y)


def gated_residual(x: np.ndarray, y: np.ndarray, gate: np.ndarray) -> np.ndarray:
    factor = int(pattern(gate)[0])
    return _pairwise(lambda a, b: _residual.gated_residual(a, b, factor), x, y)


def route(logits: np.ndarray, top_k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    chosen = [_route.route(row, top_k) for row in pattern(logits).tolist()]
    experts, scores = ([pair[i] for pair in chosen] for i in range(2))
    shape = (len(logits), top_k)
    return np.array(experts, dtype=np.int64).reshape(shape), _array(scores, "bfloat16", shape)


def dispatch(x: np.ndarray, experts: Any, scores: np.ndarray, num_experts: int) -> tuple[np.ndarray, ...]:
    ids = np.asarray(experts).tolist()
    inputs, order, offsets = _route.dispatch(pattern(x).tolist(), ids, pattern(scores).tolist(), num_experts)
    integers = (np.array(numbers, dtype=np.int64) for numbers in (order, offsets))
    return _array(inputs, "bfloat16", (len(order), x.shape[1])), *integers


def combine(routed: np.ndarray, order: Any, shared: np.ndarray) -> np.ndarray:
    rows = _route.combine(pattern(routed).tolist(), [int(p) for p in order], pattern(shared).tolist())
    return _array(rows, "bfloat16", shared.shape)


def sample(logits: np.ndarray) -> np.ndarray:
    fmt, rows = format_of(logits), pattern(logits).reshape(-1, logits.shape[-1]).tolist()
    return np.array([_sample.sample(row, fmt) for row in rows], dtype=np.int64).reshape(logits.shape[:-1])


def forward(model: Any, prompt: Any) -> dict[str, np.ndarray]:
    """Every intermediate of forwards one after the other; the n-th forward's names begin with "n.".

    `model` has a config, an accumulate and patterns(), as inputs/llama.py makes them; the prompt is a sequence of
    (tokens, number of rows of logits, vision states or None).
    """
    witness = _llama.Llama(model.config, model.patterns(), model.accumulate)
    found = {}
    for n, (tokens, rows, vision) in enumerate(prompt):
        witness.forward(tokens, rows, None if vision is None else pattern(vision[0]).tolist())
        for name, values in witness.trace.items():
            found[f"{n}.{name}"] = from_bits(values, traced_dtype(name))
    return found


def traced_dtype(name: str) -> Any:
    """The type of a traced value, with codes as E4M3. [LLAMA-TRACE]"""
    last = name.rpartition(".")[2]
    return {"logits": np.float32, "input_scale": np.float32, "experts": np.int64}.get(
        last, E4M3 if last.endswith("codes") else BF16
    )


def _pairwise(operation: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    pairs = zip(pattern(x).ravel().tolist(), pattern(y).ravel().tolist(), strict=True)
    return _array([operation(a, b) for a, b in pairs], "bfloat16", x.shape)


def _array(bits: Any, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    kind = {"bfloat16": BF16, "float8_e4m3fn": E4M3}.get(dtype, dtype)
    return from_bits(bits, kind).reshape(shape)


@cache
def expected(case: Case) -> Any:
    """The witness's answer to a case, computed once in a test run."""
    return globals()[case.function](**case.arguments)
