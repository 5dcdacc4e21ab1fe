// SPDX-License-Identifier: Apache-2.0
// Operands and accumulators of tensor cores as they see them: class, significand and exponent of a bit pattern, not
// normalised [MMA-STEP].
#pragma once

#include <cstdint>

#include "fp8ref/e4m3.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

enum class OperandClass { fp8, bf16, fp16 };

template <class T>
struct Encoding;
template <>
struct Encoding<e4m3> {
  static constexpr int kFraction = 3, kBias = 7;
  static constexpr OperandClass kClass = OperandClass::fp8;
};
template <>
struct Encoding<e5m2> {
  static constexpr int kFraction = 2, kBias = 15;
  static constexpr OperandClass kClass = OperandClass::fp8;
};
template <>
struct Encoding<bf16> {
  static constexpr int kFraction = 7, kBias = 127;
  static constexpr OperandClass kClass = OperandClass::bf16;
};
template <>
struct Encoding<fp16> {
  static constexpr int kFraction = 10, kBias = 15;
  static constexpr OperandClass kClass = OperandClass::fp16;
};
template <>
struct Encoding<float> {
  static constexpr int kFraction = 23, kBias = 127;
};

template <class T>
FP8REF_HD std::uint32_t pattern(T x) {
  return x.bits;
}
template <>
FP8REF_HD std::uint32_t pattern(float x) {
  return bit_cast<std::uint32_t>(x);
}

template <class T>
FP8REF_HD std::uint32_t magnitude_pattern(T x) {
  return pattern(x) & ((std::uint32_t{1} << (8 * sizeof(T) - 1)) - 1);
}
template <class T>
FP8REF_HD bool sign_bit(T x) {
  return (pattern(x) >> (8 * sizeof(T) - 1)) != 0;
}

enum class Kind { zero, finite, infinite, nan };

template <class T>
FP8REF_HD Kind kind(T x) {
  constexpr std::uint32_t kInfinity = ((std::uint32_t{1} << (8 * sizeof(T) - 1)) - 1) >> Encoding<T>::kFraction
                                                                                             << Encoding<T>::kFraction;
  const std::uint32_t magnitude = magnitude_pattern(x);
  if (magnitude == 0) return Kind::zero;
  if (magnitude < kInfinity) return Kind::finite;
  return magnitude == kInfinity ? Kind::infinite : Kind::nan;
}
template <>
FP8REF_HD Kind kind(e4m3 x) {
  if (is_nan(x)) return Kind::nan;
  return magnitude_pattern(x) == 0 ? Kind::zero : Kind::finite;
}

/// A finite number as significand * 2^(exponent - Encoding::kFraction); subnormal ones are not normalised [MMA-STEP].
struct Factor {
  std::int64_t significand;
  int exponent;
};
template <class T>
FP8REF_HD Factor factor(T x) {
  using E = Encoding<T>;
  const std::uint32_t magnitude = magnitude_pattern(x);
  const int field = static_cast<int>(magnitude >> E::kFraction);
  const std::uint32_t leading = std::uint32_t{1} << E::kFraction;
  const std::int64_t significand = (magnitude & (leading - 1)) | (field == 0 ? 0 : leading);
  return {sign_bit(x) ? -significand : significand, (field == 0 ? 1 : field) - E::kBias};
}

/// The exact value; fp16 has the exponents of E5M2, and its own significand begins with that of E5M2.
FP8REF_HD fp16 to_fp16(e5m2 x) { return fp16{static_cast<std::uint16_t>(x.bits << 8)}; }
FP8REF_HD fp16 to_fp16(e4m3 x) { return rn16(decode(x)); }
FP8REF_HD float widen(e5m2 x) { return widen(to_fp16(x)); }
FP8REF_HD float widen(e4m3 x) { return decode(x); }

}  // namespace fp8ref
