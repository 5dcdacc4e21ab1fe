// SPDX-License-Identifier: Apache-2.0
// Powers of two near a scale [QUANT-UE8M0], and the correctly rounded logarithm that some rules find them by
// [QUANT-LOG2]. No libm: none of them promises the last bit, and the last bit decides beside powers of two.
#pragma once

#include <cstdint>

#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

/// The value of a pattern of T.
template <class T>
FP8REF_HD float from_pattern(std::uint32_t pattern) {
  if constexpr (sizeof(T) == 4) {
    return bit_cast<float>(pattern);
  } else {
    return widen(bit_cast<T>(static_cast<std::uint16_t>(pattern)));
  }
}

/// floor(a * a / 2^64).
FP8REF_HD std::uint64_t high_square(std::uint64_t a) {
  const std::uint64_t low = a & 0xFFFFFFFF, high = a >> 32;
  const std::uint64_t cross = low * high;
  const std::uint64_t middle = (low * low >> 32) + 2 * (cross & 0xFFFFFFFF);  // below 2^34
  return high * high + 2 * (cross >> 32) + (middle >> 32);
}

/// log2 x = units * 2^-26 where it is exact, and else lies strictly between that and the next unit.
struct FixedLog2 {
  static constexpr int kFraction = 26;
  std::int64_t units;
  bool exact;
};

/// For 0 < x < Inf. Each bit of the fraction is whether the square of the significand reaches 2. A square is cut by
/// less than 2^-62 of itself, which takes less than 2^-61 from the logarithm in all steps together. So a result could
/// be wrong only for a significand whose logarithm is that little above a unit. There is none: of all 2^23
/// significands but 1 itself, the nearest one is more than 2^-50 above (tests/cpp/test_quantize.cpp looks at each).
FP8REF_HD FixedLog2 fixed_log2(float x) {
  const std::uint32_t u = bit_cast<std::uint32_t>(x);
  const std::uint64_t significand = u < 0x00800000 ? u : (u & 0x7FFFFF) | 0x800000;
  const int length = bit_length(significand);
  const int exponent = (u < 0x00800000 ? 1 : static_cast<int>(u >> 23)) - 150 + length - 1;
  std::uint64_t z = significand << (64 - length);  // [1, 2) as 2^63 times itself
  const bool exact = z == std::uint64_t{1} << 63;
  std::int64_t units = exponent;
  for (int i = 0; i < FixedLog2::kFraction; ++i) {
    z = high_square(z);
    const bool reaches_two = (z >> 63) != 0;
    units = 2 * units + (reaches_two ? 1 : 0);
    if (!reaches_two) z <<= 1;
  }
  return {units, exact};
}

/// RN_T(log2 x) for 0 < x < Inf, where it is at least 1/2 in magnitude: the units are finer than half of T's quanta
/// there, and a logarithm between units is no midpoint. Below 1/2 it is some number of the same sign below 1/2, or 1/2.
template <class T>
FP8REF_HD float rounded_log2(float x) {
  const FixedLog2 log2 = fixed_log2(x);
  const bool negative = log2.units < 0;
  const std::int64_t toward_zero = negative ? -(log2.units + (log2.exact ? 0 : 1)) : log2.units;
  const std::uint64_t magnitude = 2 * static_cast<std::uint64_t>(toward_zero) + (log2.exact ? 0 : 1);
  const float value = from_pattern<T>(nearest_bits<T>(magnitude, -FixedLog2::kFraction - 1));
  return negative ? -value : value;
}

/// 2^n as T holds it: 0 and infinity past its range.
template <class T>
FP8REF_HD float exp2_of(int n) {
  return from_pattern<T>(nearest_bits<T>(1, n));
}

enum class ToInteger { down, up, nearest };  // nearest: ties to even

FP8REF_HD int to_integer(float x, ToInteger direction) {
  const int cut = static_cast<int>(x), floor = cut - (x < static_cast<float>(cut) ? 1 : 0);
  const double above = sub64(x, floor);  // exact
  switch (direction) {
    case ToInteger::down:
      return floor;
    case ToInteger::up:
      return floor + (above > 0 ? 1 : 0);
    case ToInteger::nearest:
      return floor + (above > 0.5 || (above == 0.5 && floor % 2 != 0) ? 1 : 0);
  }
  return floor;
}

/// The mantissa cleared; for normal x > 0, Inf and NaN stay.
FP8REF_HD float power_below(float x) {
  return is_nan(x) ? x : bit_cast<float>(bit_cast<std::uint32_t>(x) & 0xFF800000);
}
/// The exponent, one more if the mantissa is not 0; for normal x > 0, Inf and NaN stay.
FP8REF_HD float power_above(float x) {
  return is_nan(x) ? x : bit_cast<float>((bit_cast<std::uint32_t>(x) + 0x7FFFFF) & 0xFF800000);
}

/// 2^round(RN_T(log2 x)) as T holds it, for x >= 0; 0, Inf and NaN stay.
template <class T>
FP8REF_HD float power_by_log2(float x, ToInteger direction) {
  if (x == 0 || is_inf(x) || is_nan(x)) return x;
  return exp2_of<T>(to_integer(rounded_log2<T>(x), direction));
}

/// 2^ceil(RN32(log2 x)) for x >= 0. From 64 ulp above a power of two, log2 is more than 2^-17 above its integer, while
/// RN32 moves it by 2^-18 at most: only what lies nearer needs the logarithm.
FP8REF_HD float power_above_by_log2(float x) {
  const std::uint32_t u = bit_cast<std::uint32_t>(x);
  if (u >= 0x00800000 && u < 0x7F800000 && (u & 0x7FFFFF) >= 64) return power_above(x);
  return power_by_log2<float>(x, ToInteger::up);
}

}  // namespace fp8ref
