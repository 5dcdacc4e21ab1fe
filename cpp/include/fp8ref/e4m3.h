// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/e4m3.md: encode and decode of one E4M3FN code.
#pragma once

#include <cstdint>

#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

inline constexpr float kE4m3Max = 448.0f;

/// A rounded magnitude pattern with its sign; a pattern past 0x7E is an overflow, which the policy decides.
/// [E4M3-OVERFLOW]
FP8REF_HD e4m3 e4m3_from_magnitude(std::uint32_t magnitude, bool negative, Overflow overflow) {
  if (magnitude >= Format<e4m3>::kOverflow) {
    if (overflow == Overflow::nan) return e4m3{kNan8};
    magnitude = 0x7E;
  }
  return e4m3{static_cast<std::uint8_t>(magnitude | (negative ? 0x80 : 0))};
}

/// RN8 of a real number given exactly; infinities overflow, NaN is 0x7F whatever its sign, -0 is 0x80.
FP8REF_HD e4m3 encode(double x, Overflow overflow) {
  if (is_nan(x)) return e4m3{kNan8};
  return e4m3_from_magnitude(magnitude_bits<e4m3>(x), bit_cast<std::uint64_t>(x) >> 63 != 0, overflow);
}

/// The same for fp32, in 32-bit steps that compilers turn into vector code.
FP8REF_HD e4m3 encode(float x, Overflow overflow) {
  const std::uint32_t u = bit_cast<std::uint32_t>(x);
  const std::uint32_t magnitude = u & 0x7FFFFFFF;
  // Normal: keep 3 fraction bits, nearest even, and move the bias from 127 to 7.
  const std::uint32_t normal = ((magnitude + 0x7FFFF + ((magnitude >> 20) & 1)) >> 20) - (120 << 3);
  // Subnormal: beside 2^14 the ulp of fp32 is 2^-9, so the addition itself rounds to the grid.
  const std::uint32_t subnormal = bit_cast<std::uint32_t>(add32(bit_cast<float>(magnitude), 16384.0f)) & 0xF;
  const std::uint32_t pattern = magnitude < 0x3C800000 ? subnormal : normal;
  const std::uint32_t sign = (u >> 24) & 0x80;
  const std::uint32_t past = overflow == Overflow::nan ? kNan8 : 0x7E | sign;
  const std::uint32_t finite = pattern >= Format<e4m3>::kOverflow ? past : pattern | sign;
  return e4m3{static_cast<std::uint8_t>(magnitude > 0x7F800000 ? kNan8 : finite)};
}
FP8REF_HD e4m3 encode(bf16 x, Overflow overflow) { return encode(widen(x), overflow); }
FP8REF_HD e4m3 encode(fp16 x, Overflow overflow) { return encode(widen(x), overflow); }

/// The exact value; NaN codes give the canonical NaN.
FP8REF_HD float decode(e4m3 code) {
  const std::uint32_t magnitude = code.bits & 0x7F;
  const std::uint32_t sign = static_cast<std::uint32_t>(code.bits & 0x80) << 24;
  // The 7 bits are those of an fp32 number 2^120 too small (a subnormal one for E4M3's subnormals).
  const float value = mul32(bit_cast<float>(magnitude << 20), 0x1p120f);
  return bit_cast<float>(magnitude == 0x7F ? kNan32 : bit_cast<std::uint32_t>(value) | sign);
}

/// A finite code as an integer: value = e4m3_fixed(code) * 2^-9, below 2^18 in magnitude.
FP8REF_HD std::int32_t e4m3_fixed(e4m3 code) {
  const std::int32_t field = (code.bits >> 3) & 15, fraction = code.bits & 7;
  const std::int32_t magnitude = field == 0 ? fraction : (8 + fraction) << (field - 1);
  return code.bits >= 0x80 ? -magnitude : magnitude;
}

}  // namespace fp8ref
