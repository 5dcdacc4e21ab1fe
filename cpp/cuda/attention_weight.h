// SPDX-License-Identifier: Apache-2.0
// fp8ref::attention_weight for kernels that make many: in 32-bit integers and fp32, without fp64, which many GPUs have
// little of. Internal.
#pragma once

#include <cmath>
#include <cstdint>

#include "fp8ref/attention.h"

namespace fp8ref::cuda {

/// 2^32 times the fraction t - floor(t), for finite t. For |t| >= 2^-9 it is exact; below, it is cut to a number within
/// 2^-9 of 0 or of 2^32, where no threshold is. [ATTN-THRESHOLDS]
FP8REF_HD std::uint32_t fraction_bits(float t) {
  const std::uint32_t u = bit_cast<std::uint32_t>(t), magnitude = u & 0x7FFFFFFF;
  const int field = static_cast<int>(magnitude >> 23);
  const std::uint32_t significand = (magnitude & 0x7FFFFF) | (field == 0 ? 0 : 0x800000);
  const int shift = (field == 0 ? 1 : field) - 118;  // significand * 2^shift is 2^32 |t|
  std::uint32_t bits = 0;
  if (shift >= 0) {
    bits = shift < 32 ? significand << shift : 0;  // whole multiples of 2^32 fall away
  } else {
    bits = shift > -24 ? significand >> -shift : 0;
  }
  return (u >> 31) != 0 ? 0 - bits : bits;
}

/// The weight of a finite t. thresholds: the 128 of fp8ref::weight_threshold.
FP8REF_HD Weight weight_of_finite(float t, const std::uint32_t* thresholds) {
  const std::uint32_t bits = fraction_bits(t);
  // A tiny negative t is cut to 0, but its fraction is almost 1: 2^t rounds to 1 either way.
  const float whole = bits == 0 && t < 0 && t > -1.0f ? 0.0f : std::floor(t);
  const float fraction = static_cast<float>(bits >> 8) * 0x1p-24f;
  // As in attention_weight: 128 (2^fraction - 1) + 1/2 within 1/20, lowered by 1/10.
  const float estimate =
      fma32(mul32(128.0f, fraction), fma32(fraction, fma32(fraction, 0.0773f, 0.2276f), 0.6951f), 0.4f);
  int passed = static_cast<int>(estimate);
  if (passed < 128 && bits >= thresholds[passed]) ++passed;
  return passed == 128 ? Weight{add32(whole, 1.0f), 128} : Weight{whole, 128 + passed};
}

}  // namespace fp8ref::cuda
