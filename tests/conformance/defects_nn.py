# SPDX-License-Identifier: Apache-2.0
"""Wrong implementations of the other operations; see defects.py."""

from __future__ import annotations

from typing import Any

import numpy as np

import fp8ref
from conformance.defects import BF16, Array, bf16, defect, f32, f64
from fp8ref.golden._round import round_to


def _refused(function: Any, **arguments: Any) -> bool:
    """True where golden refuses the arguments; a defect is about values, not about checks."""
    try:
        function(**arguments)
    except fp8ref.errors.OpError:
        return True
    return False


# ---- linear ----------------------------------------------------------------------------------------------------------
def _linear_from(sums: Any, **arguments: Any) -> Array:
    """linear with another way to sum; cases with NaN or infinity are left alone."""
    x, weight, bias = arguments["x"], arguments["weight"], arguments.get("bias")
    operands = [x, weight] if bias is None else [x, weight, bias]
    if _refused(fp8ref.linear, **arguments) or not all(np.isfinite(f32(v)).all() for v in operands):
        return fp8ref.linear(**arguments)
    with np.errstate(all="ignore"):
        return bf16(sums(f64(x), f64(weight), np.float64(0) if bias is None else f64(bias)))


@defect("linear")
def float32_sums(**arguments: Any) -> Array:
    return _linear_from(lambda x, w, b: f32(x) @ f32(w).T + f32(b), **arguments)


@defect("linear")
def float64_sums(**arguments: Any) -> Array:
    return _linear_from(lambda x, w, b: f32(x @ w.T + b), **arguments)


@defect("linear")
def no_rounding_to_float32(**arguments: Any) -> Array:
    return _linear_from(lambda x, w, b: x @ w.T + b, **arguments)


@defect("linear")
def bias_after_rounding(**arguments: Any) -> Array:
    if arguments.get("bias") is None or _refused(fp8ref.linear, **arguments):
        return fp8ref.linear(**arguments)
    plain = fp8ref.linear(**{**arguments, "bias": None})
    with np.errstate(all="ignore"):
        return bf16(f32(plain) + f32(arguments["bias"]))


@defect("linear")
def intermediate_overflow(**arguments: Any) -> Array:
    def sums(x: Array, w: Array, b: Array) -> Array:
        total = np.zeros((len(x), len(w)), np.float32)
        for i in range(x.shape[1]):
            total = total + f32(np.multiply.outer(x[:, i], w[:, i]))
        return np.where(np.isfinite(total), f32(x @ w.T + b), total)

    return _linear_from(sums, **arguments)


@defect("linear")
def subnormals_flushed(**arguments: Any) -> Array:
    y = fp8ref.linear(**arguments)
    return np.where(np.abs(f32(y)) < 2.0**-126, np.copysign(f32(0), f32(y)).astype(BF16), y)


@defect("linear")
def nan_lost(**arguments: Any) -> Array:
    y = fp8ref.linear(**arguments)
    return np.where(np.isnan(f32(y)), BF16.type(0), y)


# ---- rmsnorm ---------------------------------------------------------------------------------------------------------
def _rmsnorm_with(arguments: dict[str, Any], mean: Any = None, scale: Any = None, finish: Any = None) -> Array:
    """rmsnorm in float32 steps, one of them replaced."""
    if _refused(fp8ref.rmsnorm, **arguments) or arguments["x"].size == 0:
        return fp8ref.rmsnorm(**arguments)
    x, weight, eps = f32(arguments["x"]), arguments["weight"], np.float32(arguments["eps"])
    with np.errstate(all="ignore"):
        exact = f32(np.sum(f64(x) ** 2, axis=-1, keepdims=True)) / np.float32(x.shape[-1])
        v = exact if mean is None else mean(x)
        r = f32(1 / np.sqrt(f64(v + eps))) if scale is None else f32(scale(v, eps))
        w = np.float32(1) if weight is None else f32(weight)
        return bf16(f64(bf16(x * r)) * w) if finish is None else finish(x, r, w)


@defect("rmsnorm")
def eps_outside_the_root(**arguments: Any) -> Array:
    return _rmsnorm_with(arguments, scale=lambda v, eps: 1 / (np.sqrt(f64(v)) + eps))


@defect("rmsnorm")
def root_rounded_before_the_division(**arguments: Any) -> Array:
    return _rmsnorm_with(arguments, scale=lambda v, eps: np.float32(1) / np.sqrt(v + eps))


@defect("rmsnorm")
def mean_by_reciprocal(**arguments: Any) -> Array:
    def mean(x: Array) -> Array:
        return f32(np.sum(f64(x) ** 2, axis=-1, keepdims=True)) * np.float32(1 / x.shape[-1])

    return _rmsnorm_with(arguments, mean=mean)


@defect("rmsnorm")
def root_one_ulp_low(**arguments: Any) -> Array:
    def scale(v: Array, eps: Array) -> Array:
        return np.nextafter(f32(1 / np.sqrt(f64(v + eps))), np.float32(0))

    return _rmsnorm_with(arguments, scale=scale)


@defect("rmsnorm")
def one_rounding_at_the_end(**arguments: Any) -> Array:
    return _rmsnorm_with(arguments, finish=lambda x, r, w: bf16(f32(x * r * w)))


@defect("rmsnorm")
def sum_of_squares_in_bf16(**arguments: Any) -> Array:
    return _rmsnorm_with(arguments, mean=lambda x: f32(bf16(np.mean(f64(x) ** 2, axis=-1, keepdims=True))))


@defect("rmsnorm")
def sum_of_squares_in_float32(**arguments: Any) -> Array:
    def mean(x: Array) -> Array:
        total = np.zeros_like(x[..., :1])
        for i in range(x.shape[-1]):
            total = total + x[..., i : i + 1] ** 2
        return total / np.float32(x.shape[-1])

    return _rmsnorm_with(arguments, mean=mean)


# ---- rope ------------------------------------------------------------------------------------------------------------
def _rotated(x: Array, cos: Array, sin: Array, layout: str, steps: Any) -> Array:
    """The halves of heads with other steps; the other layout, and what golden refuses, as it is."""
    if layout != "rotate_half" or _refused(fp8ref.rope, x=x, cos=cos, sin=sin):
        return fp8ref.rope(x, cos, sin, layout)
    half = x.shape[-1] // 2
    a, b = f32(x[..., :half]), f32(x[..., half:])
    with np.errstate(all="ignore"):
        return np.concatenate(steps(a, b, f32(cos)[:, None], f32(sin)[:, None]), axis=-1)


@defect("rope")
def rotation_in_float32(x: Array, cos: Array, sin: Array, layout: str = "rotate_half") -> Array:
    def steps(a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
        c, s = f32(bf16(c)), f32(bf16(s))
        return bf16(a * c - b * s), bf16(b * c + a * s)

    return _rotated(x, cos, sin, layout, steps)


@defect("rope")
def table_kept_in_float32(x: Array, cos: Array, sin: Array, layout: str = "rotate_half") -> Array:
    def steps(a: Array, b: Array, c: Array, s: Array) -> tuple[Array, Array]:
        ac, bs, bc, sa = (f32(bf16(p)) for p in (a * c, b * s, b * c, a * s))
        return bf16(ac - bs), bf16(bc + sa)

    return _rotated(x, cos, sin, layout, steps)


@defect("rope")
def pairs_interleaved(x: Array, cos: Array, sin: Array, layout: str = "rotate_half") -> Array:
    if layout != "rotate_half" or _refused(fp8ref.rope, x=x, cos=cos, sin=sin):
        return fp8ref.rope(x, cos, sin, layout)
    turned = fp8ref.rope(np.concatenate([x[..., ::2], x[..., 1::2]], axis=-1), cos, sin)
    return np.stack(np.split(turned, 2, axis=-1), axis=-1).reshape(x.shape)


@defect("rope", "rope_table")
def angle_not_rounded(positions: Array, frequencies: Array) -> Any:
    if _refused(fp8ref.rope_table, positions=positions, frequencies=frequencies):
        return fp8ref.rope_table(positions, frequencies)
    angle = np.multiply.outer(f64(positions), f64(frequencies))
    return f32(np.cos(angle)), f32(np.sin(angle))


@defect("rope", "rope_table")
def angle_rounded_to_bf16(positions: Array, frequencies: Array) -> Any:
    if _refused(fp8ref.rope_table, positions=positions, frequencies=frequencies):
        return fp8ref.rope_table(positions, frequencies)
    angle = f64(bf16(np.multiply.outer(f64(positions), f64(frequencies))))
    return f32(np.cos(angle)), f32(np.sin(angle))


@defect("rope", "rope_frequencies")
def power_not_rounded(head_dim: int, base: float, scaling: Any = None) -> Array:
    if scaling is not None or _refused(fp8ref.rope_frequencies, head_dim=head_dim, base=base):
        return fp8ref.rope_frequencies(head_dim, base, scaling)
    return f32(base ** -(np.arange(0, head_dim, 2) / head_dim))


@defect("rope", "rope_frequencies")
def scaling_ignored(head_dim: int, base: float, scaling: Any = None) -> Array:
    del scaling
    return fp8ref.rope_frequencies(head_dim, base)


@defect("rope", "rope_frequencies")
def middle_band_left_alone(head_dim: int, base: float, scaling: Any = None) -> Array:
    plain, scaled = fp8ref.rope_frequencies(head_dim, base), fp8ref.rope_frequencies(head_dim, base, scaling)
    if scaling is None:
        return plain
    divided = plain / np.float32(scaling["factor"])
    return np.where((scaled != plain) & (scaled != divided), plain, scaled)


# ---- attention -------------------------------------------------------------------------------------------------------
def _attention_with(arguments: dict[str, Any], **change: Any) -> Array:
    """Attention by a float64 softmax of bf16 weights, one step replaced; only where golden's answer is finite."""
    if _refused(fp8ref.attention, **arguments):
        return fp8ref.attention(**arguments)
    right = fp8ref.attention(**arguments)
    if right.size == 0 or not np.isfinite(f32(right)).all() or arguments.get("mask") == "chunked":
        return right
    q, k, v = (f64(arguments[key]) for key in "qkv")
    (t, heads, width), (length, kv_heads, _) = q.shape, k.shape
    group = [h // (heads // kv_heads) for h in range(heads)]
    group = change.get("group", lambda g: g)(group)
    scale = arguments.get("scale")
    factor = np.float32(np.log2(np.e) * (width**-0.5 if scale is None else scale))
    out = np.zeros_like(right)
    visible = (
        np.tril(np.ones((t, length), bool), length - t)
        if arguments.get("mask") != "full"
        else np.zeros((t, length)) < 1
    )
    with np.errstate(all="ignore"):
        for h in range(heads):
            s = f32(q[:, h] @ k[:, group[h]].T) * factor
            power = np.exp2(
                np.where(visible, f64(s) - f64(s).max(1, keepdims=True, initial=-np.inf, where=visible), -np.inf)
            )
            w = change.get("weights", lambda w: f64(bf16(w)))(power)
            out[:, h] = bf16(change.get("divide", lambda n, d: n / d)(w @ v[:, group[h]], w.sum(1, keepdims=True)))
    return out


@defect("attention")
def weights_not_rounded(**arguments: Any) -> Array:
    return _attention_with(arguments, weights=lambda w: w)


@defect("attention")
def weights_rounded_to_float16(**arguments: Any) -> Array:
    return _attention_with(arguments, weights=lambda w: f64(round_to(w, "float16")))


@defect("attention")
def weights_normalised_first(**arguments: Any) -> Array:
    return _attention_with(arguments, weights=lambda w: f64(bf16(w / w.sum(1, keepdims=True))), divide=lambda n, d: n)


@defect("attention")
def heads_grouped_by_remainder(**arguments: Any) -> Array:
    return _attention_with(arguments, group=lambda g: [h % (max(g) + 1) for h in range(len(g))])


@defect("attention")
def mask_ignores_the_prefix(**arguments: Any) -> Array:
    if _refused(fp8ref.attention, **arguments) or arguments.get("mask") == "full":
        return fp8ref.attention(**arguments)
    t = arguments["q"].shape[0]
    return fp8ref.attention(**{**arguments, "k": arguments["k"][:t], "v": arguments["v"][:t]})


@defect("attention")
def causal_mask_forgotten(**arguments: Any) -> Array:
    if _refused(fp8ref.attention, **arguments):
        return fp8ref.attention(**arguments)
    return fp8ref.attention(**{**arguments, "mask": "full", "chunk": None})


@defect("attention")
def scale_argument_ignored(**arguments: Any) -> Array:
    return fp8ref.attention(**{key: value for key, value in arguments.items() if key != "scale"})


@defect("attention")
def invisible_nan_leaks(**arguments: Any) -> Array:
    y = fp8ref.attention(**arguments)
    if np.isnan(f32(arguments["k"])).any() or np.isnan(f32(arguments["v"])).any():
        y[...] = np.float32(np.nan)
    return y


@defect("attention")
def no_term_gives_nan(**arguments: Any) -> Array:
    y = fp8ref.attention(**arguments)
    if y.size and not arguments["k"].shape[0]:
        y[...] = np.float32(np.nan)
    return y


# ---- silu_mul, residual, sample --------------------------------------------------------------------------------------
def _silu_in_float32(gate: Array) -> Array:
    g = f32(gate)
    with np.errstate(all="ignore"):
        return g / (np.float32(1) + np.exp(-g))


@defect("silu_mul")
def silu_in_float32_steps(gate: Array, up: Array) -> Array:
    if gate.shape != up.shape:
        return fp8ref.silu_mul(gate, up)
    with np.errstate(all="ignore"):
        return bf16(f64(bf16(_silu_in_float32(gate))) * f64(up))


@defect("silu_mul")
def silu_not_rounded_to_bf16(gate: Array, up: Array) -> Array:
    if gate.shape != up.shape:
        return fp8ref.silu_mul(gate, up)
    with np.errstate(all="ignore"):
        return bf16(f64(_silu_in_float32(gate)) * f64(up))


@defect("silu_mul")
def minus_infinity_gives_zero(gate: Array, up: Array) -> Array:
    y = fp8ref.silu_mul(gate, up)
    return np.where(f32(gate) == -np.inf, BF16.type(0), y)


@defect("silu_mul")
def subnormal_products_flushed(gate: Array, up: Array) -> Array:
    y = fp8ref.silu_mul(gate, up)
    return np.where(np.abs(f32(y)) < 2.0**-126, np.copysign(f32(0), f32(y)).astype(BF16), y)


@defect("residual")
def sum_truncated(x: Array, y: Array) -> Array:
    if x.shape != y.shape:
        return fp8ref.residual(x, y)
    with np.errstate(all="ignore"):
        return (f32(f32(x) + f32(y)).view(np.uint32) >> np.uint32(16)).astype(np.uint16).view(BF16)


@defect("residual")
def negative_zero_sum_lost(x: Array, y: Array) -> Array:
    z = fp8ref.residual(x, y)
    return np.where(f32(z) == 0, BF16.type(0), z)


@defect("residual")
def subnormal_sums_flushed(x: Array, y: Array) -> Array:
    z = fp8ref.residual(x, y)
    return np.where(np.abs(f32(z)) < 2.0**-126, np.copysign(f32(0), f32(z)).astype(BF16), z)


@defect("sample")
def last_of_equals(logits: Array) -> Array:
    if logits.shape[-1] == 0 or np.isnan(f32(logits)).any():
        return fp8ref.sample(logits)
    return logits.shape[-1] - 1 - np.argmax(f32(logits)[..., ::-1], axis=-1)


@defect("sample")
def nan_skipped(logits: Array) -> Array:
    if logits.shape[-1] == 0:
        return fp8ref.sample(logits)
    return fp8ref.sample(np.where(np.isnan(f32(logits)), np.float32(-np.inf), f32(logits)))


@defect("sample")
def zeros_ordered_by_sign(logits: Array) -> Array:
    if logits.shape[-1] == 0:
        return fp8ref.sample(logits)
    z = f32(logits)
    return fp8ref.sample(np.where(z == 0, np.where(np.signbit(z), np.float32(-1e-45), z), z))
