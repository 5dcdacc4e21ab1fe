// SPDX-License-Identifier: Apache-2.0
// Rounding, in one place [ROUND-ONCE]: RN32, RNbf, RN16 and the bits of RN8, nearest with ties to even, subnormals
// kept; exact widenings; canonical NaNs; and fp32/fp64 steps that are never contracted. Integer code wherever a format
// is narrower than fp32, so that only the casts and steps of fp32 and fp64 rely on the environment [ROUND-ENV].
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "fp8ref/platform.h"

namespace fp8ref {

inline constexpr std::uint32_t kNan32 = 0x7FC00000;
inline constexpr std::uint16_t kNanBf16 = 0x7FC0;
inline constexpr std::uint16_t kNan16 = 0x7E00;
inline constexpr std::uint8_t kNan8 = 0x7F;

/// A binary format: significant bits, exponents of its normal numbers, and the first pattern past the largest finite.
template <class T>
struct Format;
template <>
struct Format<float> {
  static constexpr int kPrecision = 24, kMinExponent = -126, kMaxExponent = 127;
  static constexpr std::uint32_t kOverflow = 0x7F800000;
};
template <>
struct Format<bf16> {
  static constexpr int kPrecision = 8, kMinExponent = -126, kMaxExponent = 127;
  static constexpr std::uint32_t kOverflow = 0x7F80;
};
template <>
struct Format<fp16> {
  static constexpr int kPrecision = 11, kMinExponent = -14, kMaxExponent = 15;
  static constexpr std::uint32_t kOverflow = 0x7C00;
};
template <>
struct Format<e4m3> {
  static constexpr int kPrecision = 4, kMinExponent = -6, kMaxExponent = 8;
  static constexpr std::uint32_t kOverflow = 0x7F;
};

/// Number of bits up to the highest set one; 0 for 0.
FP8REF_HD int bit_length(std::uint64_t x) {
#if defined(__CUDA_ARCH__)
  return 64 - __clzll(static_cast<long long>(x));
#else
  return 64 - std::countl_zero(x);
#endif
}

/// The pattern (sign clear) of sig * 2^exponent rounded once to T; past the top it is Format<T>::kOverflow.
/// A caller that holds more than 64 bits passes the top 64 with every lower bit or-ed into the last one.
template <class T>
FP8REF_HD std::uint32_t nearest_bits(std::uint64_t sig, int exponent) {
  using F = Format<T>;
  if (sig == 0) return 0;
  const int msb = bit_length(sig) - 1 + exponent;
  if (msb > F::kMaxExponent) return F::kOverflow;
  constexpr int kLowest = F::kMinExponent - F::kPrecision + 1;  // exponent of the quantum of subnormals
  const int top_quantum = msb - F::kPrecision + 1;
  const int quantum = top_quantum > kLowest ? top_quantum : kLowest;
  const int shift = quantum - exponent;
  std::uint64_t kept;
  if (shift <= 0) {
    kept = sig << -shift;
  } else if (shift > 64) {
    kept = 0;  // below half of the quantum
  } else {
    const std::uint64_t half = std::uint64_t{1} << (shift - 1);
    const std::uint64_t rest = sig & (half | (half - 1));
    kept = shift == 64 ? 0 : sig >> shift;
    kept += rest > half || (rest == half && (kept & 1) != 0);
  }
  // A carry out of the significand runs into the exponent field, which is what rounding up to a power of two means.
  const std::uint32_t field = static_cast<std::uint32_t>(quantum - kLowest) << (F::kPrecision - 1);
  const std::uint32_t bits = field + static_cast<std::uint32_t>(kept);
  return bits < F::kOverflow ? bits : F::kOverflow;
}

/// The pattern (sign clear) of |x| rounded once to T, x not NaN. Straight-line code, as loops over arrays want it.
template <class T>
FP8REF_HD std::uint32_t magnitude_bits(double x) {
  using F = Format<T>;
  const std::uint64_t magnitude = bit_cast<std::uint64_t>(x) & 0x7FFFFFFFFFFFFFFF;
  const int msb = static_cast<int>(magnitude >> 52) - 1023;
  // A subnormal double is far below half of any quantum here: its false leading one does not matter.
  const std::uint64_t sig = (magnitude & 0x000FFFFFFFFFFFFF) | 0x0010000000000000;
  constexpr int kLowest = F::kMinExponent - F::kPrecision + 1;
  const int quantum = msb > F::kMinExponent ? msb - F::kPrecision + 1 : kLowest;
  const int wanted = quantum - (msb - 52);
  const int shift = wanted < 63 ? wanted : 63;  // sig < 2^53, so from 54 on the result is 0
  const std::uint64_t odd = (sig >> shift) & 1;
  const std::uint64_t kept = (sig + ((std::uint64_t{1} << (shift - 1)) - 1) + odd) >> shift;
  const std::uint64_t bits = (static_cast<std::uint64_t>(quantum - kLowest) << (F::kPrecision - 1)) + kept;
  return bits < F::kOverflow ? static_cast<std::uint32_t>(bits) : F::kOverflow;
}

// ---- exact widenings ------------------------------------------------------------------------------------------------
FP8REF_HD float widen(float x) { return x; }
FP8REF_HD float widen(bf16 x) { return bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }
FP8REF_HD float widen(fp16 x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000) << 16;
  const std::uint32_t magnitude = x.bits & 0x7FFF;
  if (magnitude >= 0x7C00) return bit_cast<float>(sign | (magnitude << 13) | 0x7F800000);
  if (magnitude < 0x0400) {  // subnormal: an integer times 2^-24
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return bit_cast<float>(bit_cast<std::uint32_t>(value) | sign);
  }
  return bit_cast<float>(sign | ((magnitude << 13) + (std::uint32_t{127 - 15} << 23)));
}

// ---- classes --------------------------------------------------------------------------------------------------------
FP8REF_HD bool is_nan(double x) { return (bit_cast<std::uint64_t>(x) & 0x7FFFFFFFFFFFFFFF) > 0x7FF0000000000000; }
FP8REF_HD bool is_nan(float x) { return (bit_cast<std::uint32_t>(x) & 0x7FFFFFFF) > 0x7F800000; }
FP8REF_HD bool is_nan(bf16 x) { return (x.bits & 0x7FFF) > 0x7F80; }
FP8REF_HD bool is_nan(fp16 x) { return (x.bits & 0x7FFF) > 0x7C00; }
FP8REF_HD bool is_nan(e4m3 x) { return (x.bits & 0x7F) == 0x7F; }
FP8REF_HD bool is_inf(float x) { return (bit_cast<std::uint32_t>(x) & 0x7FFFFFFF) == 0x7F800000; }
FP8REF_HD bool is_inf(bf16 x) { return (x.bits & 0x7FFF) == 0x7F80; }
FP8REF_HD bool is_zero(bf16 x) { return (x.bits & 0x7FFF) == 0; }
FP8REF_HD bool is_finite(bf16 x) { return (x.bits & 0x7FFF) < 0x7F80; }

/// The quiet NaN with a clear sign and no payload, for every NaN [NAN-CANONICAL].
FP8REF_HD float canonical(float x) { return is_nan(x) ? bit_cast<float>(kNan32) : x; }

// ---- roundings ------------------------------------------------------------------------------------------------------
/// RN32.
FP8REF_HD float rn32(double x) { return canonical(static_cast<float>(x)); }

/// RNbf.
FP8REF_HD bf16 rnbf(float x) {
  const std::uint32_t u = bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (u + 0x7FFF + ((u >> 16) & 1)) >> 16;
  return bf16{is_nan(x) ? kNanBf16 : static_cast<std::uint16_t>(rounded)};
}
FP8REF_HD bf16 rnbf(double x) {
  const std::uint32_t sign = bit_cast<std::uint64_t>(x) >> 63 ? 0x8000 : 0;
  return bf16{is_nan(x) ? kNanBf16 : static_cast<std::uint16_t>(magnitude_bits<bf16>(x) | sign)};
}

/// RN16.
FP8REF_HD fp16 rn16(double x) {
  const std::uint32_t sign = bit_cast<std::uint64_t>(x) >> 63 ? 0x8000 : 0;
  return fp16{is_nan(x) ? kNan16 : static_cast<std::uint16_t>(magnitude_bits<fp16>(x) | sign)};
}
FP8REF_HD fp16 rn16(float x) { return rn16(static_cast<double>(x)); }

/// One rounding to the type asked for, from fp64 (or anything exact in it).
template <class T>
FP8REF_HD T round_to(double x);
template <>
FP8REF_HD float round_to<float>(double x) {
  return rn32(x);
}
template <>
FP8REF_HD bf16 round_to<bf16>(double x) {
  return rnbf(x);
}
template <>
FP8REF_HD fp16 round_to<fp16>(double x) {
  return rn16(x);
}

// ---- single steps: one IEEE rounding each, never contracted
// ----------------------------------------------------------
#if defined(__CUDA_ARCH__)
FP8REF_HD float add32(float a, float b) { return __fadd_rn(a, b); }
FP8REF_HD float sub32(float a, float b) { return __fsub_rn(a, b); }
FP8REF_HD float mul32(float a, float b) { return __fmul_rn(a, b); }
FP8REF_HD float div32(float a, float b) { return __fdiv_rn(a, b); }
FP8REF_HD float sqrt32(float a) { return __fsqrt_rn(a); }
FP8REF_HD float fma32(float a, float b, float c) { return __fmaf_rn(a, b, c); }
FP8REF_HD double add64(double a, double b) { return __dadd_rn(a, b); }
FP8REF_HD double sub64(double a, double b) { return __dsub_rn(a, b); }
FP8REF_HD double mul64(double a, double b) { return __dmul_rn(a, b); }
FP8REF_HD double div64(double a, double b) { return __ddiv_rn(a, b); }
FP8REF_HD double sqrt64(double a) { return __dsqrt_rn(a); }
FP8REF_HD double fma64(double a, double b, double c) { return __fma_rn(a, b, c); }
#else
FP8REF_HD float add32(float a, float b) { return a + b; }
FP8REF_HD float sub32(float a, float b) { return a - b; }
FP8REF_HD float mul32(float a, float b) { return a * b; }
FP8REF_HD float div32(float a, float b) { return a / b; }
FP8REF_HD float sqrt32(float a) { return std::sqrt(a); }
FP8REF_HD float fma32(float a, float b, float c) { return std::fma(a, b, c); }
FP8REF_HD double add64(double a, double b) { return a + b; }
FP8REF_HD double sub64(double a, double b) { return a - b; }
FP8REF_HD double mul64(double a, double b) { return a * b; }
FP8REF_HD double div64(double a, double b) { return a / b; }
FP8REF_HD double sqrt64(double a) { return std::sqrt(a); }
FP8REF_HD double fma64(double a, double b, double c) { return std::fma(a, b, c); }
#endif

/// An unevaluated sum high + low, high = RN64(high + low).
struct DoublePair {
  double high, low;
};

/// a + b exactly (Knuth), barring overflow.
FP8REF_HD DoublePair two_sum(double a, double b) {
  const double high = add64(a, b);
  const double b_part = sub64(high, a);
  const double a_part = sub64(high, b_part);
  return {high, add64(sub64(a, a_part), sub64(b, b_part))};
}

/// The pair rounded to odd: a double that every narrower rounding takes to where it takes the exact sum.
/// Only the sign of `low` matters, and |low| must be at most half an ulp of `high`.
FP8REF_HD double round_odd(DoublePair x) {
  std::uint64_t bits = bit_cast<std::uint64_t>(x.high);
  if (x.low == 0 || (bits & 1) != 0) return x.high;
  const bool away = (x.high < 0) == (x.low < 0);
  bits = away ? bits + 1 : bits - 1;
  return bit_cast<double>(bits);
}

/// RN32(a + b) of two doubles, one rounding.
FP8REF_HD float rn32_sum(double a, double b) { return rn32(round_odd(two_sum(a, b))); }

}  // namespace fp8ref
