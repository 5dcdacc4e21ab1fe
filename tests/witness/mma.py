# SPDX-License-Identifier: Apache-2.0
"""Tensor cores: the step, chains of steps, and how matrix products of FP8 codes are made of chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from .arithmetic import add, is_number, multiply, rounded, total
from .formats import E4M3, E5M2, FP16, FP32, Format, Value, decode, dyadic, encode

Row = Sequence[int]


@dataclass(frozen=True)
class Core:
    """Products of a step, fraction bits, fraction bits of the result (None: fp16, to nearest), lowest exponent."""

    length: int
    fraction_bits: int
    result_bits: int | None
    floor: int


# By operands: FP8 in fp32, FP8 in fp16, bf16 and fp16 in fp32, fp16 in fp16.
SM80 = {"16": Core(8, 24, 23, -132), "16h": Core(8, 24, None, -20)}
SM90 = {"16": Core(16, 25, 23, -133), "16h": Core(16, 25, None, -21)}
CORES = {
    "sm80_mma": SM80,
    "sm89_mma": SM80 | {"8": Core(16, 13, 13, -132), "8h": Core(16, 13, None, -20)},
    "sm90_wgmma": SM90 | {"8": Core(32, 13, 13, -133), "8h": Core(32, 13, None, -21)},
    "sm90_mma_sync": SM90,
    "sm100_tcgen05": SM90 | {"8": Core(32, 25, 23, -133), "8h": Core(32, 25, None, -21)},
    "sm120_mma": SM90 | {"8": Core(32, 25, 23, -133), "8h": Core(32, 25, None, -21)},
}

# By the name of a mode: what it takes for FP8 matrix products, and for all others. [MMA-MODES]
MODES = {
    "exact": ("exact", "exact"),
    "sm90": ("sm90_wgmma", "sm90_wgmma"),
    "sm89": ("sm89_mma", "sm89_mma"),
    "sm80": (None, "sm80_mma"),
}


@cache
def parts(fmt: Format, bits: int) -> tuple[int, int]:
    """Signed significand, an integer of `mantissa_bits` fraction bits, and exponent; subnormals are not normalised."""
    field, mantissa = divmod(bits & (fmt.sign_bit - 1), 1 << fmt.mantissa_bits)
    significand = mantissa + (1 << fmt.mantissa_bits if field else 0)
    return (-significand if bits & fmt.sign_bit else significand), max(field, 1) + fmt.emin - 1


def cut(significand: int, shift: int) -> int:
    """significand * 2**shift toward zero."""
    magnitude = abs(significand) << shift if shift >= 0 else abs(significand) >> -shift
    return magnitude if significand > 0 else -magnitude


def _outside(a: Row, a_fmt: Format, b: Row, b_fmt: Format, c: Value) -> Value | None:
    """The infinity or NaN that a step gives because of its operands; None if all terms are numbers."""
    terms = [multiply(decode(a_fmt, x), decode(b_fmt, y)) for x, y in zip(a, b, strict=True)]
    outside = [term for term in (*terms, c) if not is_number(term)]
    return total(outside) if outside else None


def step(core: Core, a: Row, a_fmt: Format, b: Row, b_fmt: Format, c: int, late_c: bool = False) -> int:
    """One step over a block of operands: c + a.b as patterns of fp32, or of fp16 where the core's result is that.

    All products and c are aligned to the largest exponent, each is cut toward zero at `fraction_bits`, the sum is
    exact, and so is what is left of it after one conversion. `late_c` is a mistake that the tests must notice.
    """
    register = FP16 if core.result_bits is None else FP32
    outside = _outside(a, a_fmt, b, b_fmt, decode(register, c))
    if outside is not None:
        return register.sign_bit - 1 if outside != outside else encode(register, outside)
    terms = []
    for x, y in zip(a, b, strict=True):
        (x_sig, x_exp), (y_sig, y_exp) = parts(a_fmt, x), parts(b_fmt, y)
        if x_sig and y_sig:
            terms.append((x_sig * y_sig, x_exp + y_exp, a_fmt.mantissa_bits + b_fmt.mantissa_bits))
    c_sig, c_exp = parts(register, c)
    if c_sig and not late_c:
        terms.append((c_sig, c_exp, register.mantissa_bits))
    top = max([core.floor, *(exponent for _, exponent, _ in terms)])
    units = sum(cut(sig, core.fraction_bits - fraction + exponent - top) for sig, exponent, fraction in terms)
    value = dyadic(units, top - core.fraction_bits)
    if late_c:
        value += dyadic(c_sig, c_exp - register.mantissa_bits)
    return _converted(core, value)


def _converted(core: Core, value: Fraction) -> int:
    """A number as the core's result; zero, and what is cut to zero, is +0."""
    if core.result_bits is None:
        bits = encode(FP16, value)
        return 0 if bits == FP16.sign_bit else bits
    kept = encode(_register(core.result_bits), value, toward_zero=abs(value) < 2**128)
    bits = kept << (FP32.mantissa_bits - core.result_bits)
    return 0 if bits == FP32.sign_bit else bits


@cache
def _register(result_bits: int) -> Format:
    return Format("register", 8, result_bits)


def _rewritten(core: Core, a: Row, a_fmt: Format, b: Row, b_fmt: Format, c: int) -> int:
    """mma.sync of FP8 on Hopper: 32 products as fp16, those with k % 4 < 2 first, and c added by itself at the end."""
    register = FP16 if core.result_bits is None else FP32
    halves = [(encode(FP16, decode(a_fmt, x)), encode(FP16, decode(b_fmt, y))) for x, y in zip(a, b, strict=True)]
    inner = 0
    for low in (0, 2):
        chosen = [pair for k, pair in enumerate(halves) if k % 4 - low in (0, 1)]
        inner = step(core, [x for x, _ in chosen], FP16, [y for _, y in chosen], FP16, inner)
    added = rounded(register, add(decode(register, inner), decode(register, c)))
    return register.sign_bit - 1 if added != added else encode(register, added)


def chain(name: str, a: Row, a_fmt: Format, b: Row, b_fmt: Format, c: int = 0, out: Format = FP32) -> int:
    """All steps over K, in order, from c: the pattern of the last result."""
    kind = ("8" if a_fmt in (E4M3, E5M2) else "16") + ("h" if out is FP16 else "")
    if name == "sm90_mma_sync" and kind[0] == "8":
        core = SM90[kind.replace("8", "16")]
        for k in range(0, len(a), 32):
            c = _rewritten(core, a[k : k + 32], a_fmt, b[k : k + 32], b_fmt, c)
        return c
    core = CORES[name][kind]
    for k in range(0, len(a), core.length):
        c = step(core, a[k : k + core.length], a_fmt, b[k : k + core.length], b_fmt, c)
    return c


def _sum32(patterns: list[int]) -> int:
    """fp32 additions in order, the first one to +0."""
    found: Value = Fraction(0)
    for bits in patterns:
        found = rounded(FP32, add(found, decode(FP32, bits)))
    return encode(FP32, found)


def accumulate(a: Row, b: Row, accumulator: str, split_k: int = 1, a_fmt: Format = E4M3, b_fmt: Format = E4M3) -> Value:
    """The fp32 accumulator of two rows of FP8 codes by a named tensor core, as a value."""
    tiles = -(-len(a) // 128)
    each = -(-tiles // split_k) * 128
    partials = []
    for start in range(0, len(a), each or 1):
        run = a[start : start + each], b[start : start + each]
        if accumulator == "sm90_wgmma_promoted":
            pieces = [tuple(side[k : k + 128] for side in run) for k in range(0, len(run[0]), 128)]
            partials.append(_sum32([chain("sm90_wgmma", x, a_fmt, y, b_fmt) for x, y in pieces]))
        else:
            partials.append(chain(accumulator, run[0], a_fmt, run[1], b_fmt))
    return decode(FP32, partials[0] if len(partials) == 1 else _sum32(partials))
