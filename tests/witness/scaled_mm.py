# SPDX-License-Identifier: Apache-2.0
"""The scaled FP8 product: the exact accumulator, the tensor core's, the epilogues, and scales of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from .arithmetic import add, dot, multiply, total, via_fp32
from .formats import E4M3, FP32, Format, Value, decode, decode_finite, dyadic, encode

Rows = Sequence[Sequence[int]]

TENSOR_CORE_NAN = 0x7FFFFFFF


@cache
def _parts(fmt: Format, bits: int) -> tuple[int, int]:
    """Signed significand, an integer of `mantissa_bits` fraction bits, and exponent; subnormals are not normalised."""
    field, mantissa = divmod(bits & (fmt.sign_bit - 1), 1 << fmt.mantissa_bits)
    significand = mantissa + (1 << fmt.mantissa_bits if field else 0)
    return (-significand if bits & fmt.sign_bit else significand), max(field, 1) + fmt.emin - 1


def _cut(significand: int, shift: int) -> int:
    """significand * 2**shift toward zero."""
    magnitude = abs(significand) << shift if shift >= 0 else abs(significand) >> -shift
    return magnitude if significand > 0 else -magnitude


def step(
    a: Sequence[int],
    b: Sequence[int],
    c: int,
    fraction_bits: int = 13,
    result_bits: int = 13,
    late_c: bool = False,
    nearest: bool = False,
) -> int:
    """One tensor-core step over a block of codes: c + a.b, patterns of fp32 in c and in the result.

    All products and c are aligned to the largest exponent, each is cut toward zero at `fraction_bits`, the sum is
    exact, and the result is cut toward zero to `result_bits` fraction bits. The defaults are Hopper's wgmma; other
    values, and the last two parameters, are the mistakes that the tests must notice.
    """
    if any(code & 0x7F == 0x7F for code in (*a, *b)) or c & 0x7FFFFFFF > 0x7F800000:
        return TENSOR_CORE_NAN
    if c & 0x7FFFFFFF == 0x7F800000:
        return c
    terms = []
    for x, y in zip(a, b, strict=True):
        (x_sig, x_exp), (y_sig, y_exp) = _parts(E4M3, x), _parts(E4M3, y)
        if x_sig and y_sig:
            terms.append((x_sig * y_sig, x_exp + y_exp, 2 * E4M3.mantissa_bits))
    c_sig, c_exp = _parts(FP32, c)
    if c_sig and not late_c:
        terms.append((c_sig, c_exp, FP32.mantissa_bits))
    if not terms:
        return c if late_c and c_sig else 0
    top = max(exponent for _, exponent, _ in terms)
    total = sum(_cut(sig, fraction_bits - fraction + exponent - top) for sig, exponent, fraction in terms)
    value = dyadic(total, top - fraction_bits)
    if late_c:
        value += decode_finite(FP32, c)
    return _to_register(value, result_bits, nearest)


def _to_register(value: Fraction, result_bits: int, nearest: bool) -> int:
    """A number in an fp32 register that keeps `result_bits` fraction bits; zero is +0."""
    if value == 0:
        return 0
    pattern = encode(_register(result_bits), value, toward_zero=not nearest)
    return pattern << (FP32.mantissa_bits - result_bits)


@cache
def _register(result_bits: int) -> Format:
    return Format("register", 8, result_bits)


def sm90_wgmma(a: Sequence[int], b: Sequence[int], block: int = 32, **step_options: object) -> int:
    """One chain of steps over the whole of K, from +0; a short last block is padded with zeros."""
    acc = 0
    for k in range(0, len(a), block):
        acc = step(a[k : k + block], b[k : k + block], acc, **step_options)
    return acc


def accumulate(a: Sequence[int], b: Sequence[int], accumulator: str) -> Value:
    """The fp32 accumulator of two rows of codes, as a value."""
    if accumulator == "exact":
        return via_fp32(dot(E4M3, a, E4M3, b))
    return decode(FP32, sm90_wgmma(a, b))


def scaled(acc: Value, a_scale: Value, b_scale: Value, bias: Value | None, order: str) -> Value:
    """The accumulator scaled in the order of an epilogue; a bias joins the last product before its rounding."""
    if order == "a_b":
        y = multiply(a_scale, via_fp32(multiply(b_scale, acc)))
    elif order == "b_a":
        y = multiply(b_scale, via_fp32(multiply(a_scale, acc)))
    else:
        y = multiply(via_fp32(multiply(a_scale, b_scale)), acc)
    return via_fp32(y if bias is None else add(y, bias))


def output(z: Value, out: Format, out_scale: Value | None = None, overflow: str = "infinity") -> int:
    """RN_out(z); to E4M3 RN8(RN32(z * out_scale))."""
    return encode(out, z if out_scale is None else via_fp32(multiply(z, out_scale)), overflow)


def epilogue(acc: Value, a_scale: Value, b_scale: Value, bias: Value | None, out: Format, order: str = "a_b") -> int:
    """Scales, bias and a wide output: by epilogue a_b, RN_out(RN32(a_s * RN32(b_s * acc)))."""
    return output(scaled(acc, a_scale, b_scale, bias, order), out)


def scaled_mm(
    a: Rows,
    b: Rows,
    a_scales: Sequence[int],
    b_scales: Sequence[int],
    bias: Sequence[int] | None,
    bias_format: Format,
    out: Format,
    accumulator: str,
    order: str = "a_b",
    out_scale: Value | None = None,
    overflow: str = "infinity",
) -> list[list[int]]:
    """a is (M, K), b is (N, K) codes; the scales are fp32 patterns, one for each row of a and of b, or a single one."""
    row_scales = [decode(FP32, s) for s in a_scales] * (len(a) if len(a_scales) == 1 else 1)
    column_scales = [decode(FP32, s) for s in b_scales] * (len(b) if len(b_scales) == 1 else 1)
    biases = [None] * len(b) if bias is None else [decode(bias_format, x) for x in bias]

    def element(acc: Value, *scales_and_bias: Value | None) -> int:
        if out_scale is None:
            return epilogue(acc, *scales_and_bias, out, order)
        return output(scaled(acc, *scales_and_bias, order), out, out_scale, overflow)

    return [
        [
            element(accumulate(x, w, accumulator), row_scale, column_scale, shift)
            for w, column_scale, shift in zip(b, column_scales, biases, strict=True)
        ]
        for x, row_scale in zip(a, row_scales, strict=True)
    ]


BLOCK = 128


def block_sum(
    a: Sequence[int],
    b: Sequence[int],
    a_scales: Sequence[Value],
    b_scales: Sequence[Value],
    bias: Value | None,
    accumulator: str,
    order: str,
) -> Value:
    """One element with a scale for every block of K: an exact sum, or one fused multiply-add a block."""
    blocks = [(a[k : k + BLOCK], b[k : k + BLOCK]) for k in range(0, len(a), BLOCK)]
    scaled_blocks = list(zip(blocks, a_scales, b_scales, strict=True))
    if order in ("a_b", "b_a", "ab"):
        exact = total(multiply(multiply(s, t), dot(E4M3, x, E4M3, y)) for (x, y), s, t in scaled_blocks)
        return via_fp32(exact if bias is None else add(exact, bias))
    acc: Value = Fraction(0)
    for (x, y), s, t in scaled_blocks:
        part = accumulate(x, y, accumulator)
        factors = {"deepgemm": (s, t, part), "triton": (part, s, t), "triton_ba": (part, t, s)}[order]
        acc = via_fp32(add(multiply(via_fp32(multiply(factors[0], factors[1])), factors[2]), acc))
    return acc if bias is None else via_fp32(add(acc, bias))


def block_scaled_mm(
    a: Rows,
    b: Rows,
    a_scales: Rows,
    b_scales: Rows,
    bias: Sequence[int] | None,
    bias_format: Format,
    out: Format,
    accumulator: str,
    order: str = "a_b",
    out_scale: Value | None = None,
    overflow: str = "infinity",
) -> list[list[int]]:
    """a_scales is (M, blocks of K), b_scales (N, blocks of K) or (blocks of N, blocks of K): fp32 patterns."""
    result = []
    for x, row in zip(a, a_scales, strict=True):
        elements = []
        for n, w in enumerate(b):
            column = b_scales[n if len(b_scales) == len(b) else n // BLOCK]
            scales = [decode(FP32, s) for s in row], [decode(FP32, s) for s in column]
            shift = None if bias is None else decode(bias_format, bias[n])
            elements.append(output(block_sum(x, w, *scales, shift, accumulator, order), out, out_scale, overflow))
        result.append(elements)
    return result
