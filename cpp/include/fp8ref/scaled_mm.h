// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/scaled_mm.md: one element of the output, from two rows of codes.
#pragma once

#include <cstdint>

#include "fp8ref/e4m3.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"
#include "fp8ref/wide.h"

namespace fp8ref {

/// One tensor core's step [MM-TFDPA]: `block` products and the accumulator are aligned to the largest exponent, cut
/// toward zero at `fraction_bits`, summed exactly, and cut to `significant_bits` of an fp32 number.
struct TensorCore {
  int block, fraction_bits, significant_bits;
};
inline constexpr TensorCore kSm90Wgmma{32, 13, 14};

/// The significand of a finite code as an integer with 3 fraction bits, and its exponent, not normalised.
struct E4m3Parts {
  std::int32_t significand;
  int exponent;
};
FP8REF_HD E4m3Parts parts(e4m3 code) {
  const int field = (code.bits >> 3) & 15;
  const std::int32_t magnitude = (code.bits & 7) + (field == 0 ? 0 : 8);
  return {code.bits >= 0x80 ? -magnitude : magnitude, (field == 0 ? 1 : field) - 7};
}

/// The integer sum of a step, scaled by 2^(exponent - fraction_bits), as the fp32 accumulator of the next.
/// An empty sum is +0. Rounding is toward zero; past the top the result is infinite all the same.
template <TensorCore core>
FP8REF_HD float tensor_core_result(std::int64_t sum, int exponent) {
  if (sum == 0) return 0.0f;
  const bool negative = sum < 0;
  std::uint64_t magnitude = negative ? 0 - static_cast<std::uint64_t>(sum) : static_cast<std::uint64_t>(sum);
  const int scale = exponent - core.fraction_bits;
  const int lowest = -126 - (core.significant_bits - 1);  // the quantum of subnormal results
  const int top_drop = bit_length(magnitude) - core.significant_bits;
  const int bottom_drop = lowest - scale;
  const int drop = top_drop > bottom_drop ? top_drop : bottom_drop;
  if (drop >= 64) return 0.0f;
  if (drop > 0) magnitude = (magnitude >> drop) << drop;
  const std::uint32_t bits = nearest_bits<float>(magnitude, scale);  // exact: at most 24 bits are left
  return bit_cast<float>(bits | (negative && bits != 0 ? 0x80000000 : 0));
}

/// One step over `count` <= core.block pairs of finite codes and the finite accumulator.
template <TensorCore core>
FP8REF_HD float tensor_core_step(const e4m3* a, const e4m3* b, int count, float accumulator) {
  static_assert(core.fraction_bits >= 6 && core.fraction_bits <= 30 && core.block <= 64);
  constexpr int kFloor = -1000;
  constexpr int kProductShift = core.fraction_bits - 6;       // products have 6 fraction bits
  constexpr int kAccumulatorShift = core.fraction_bits - 23;  // the accumulator has 23
  const std::uint32_t u = bit_cast<std::uint32_t>(accumulator);
  const int field = static_cast<int>((u >> 23) & 0xFF);
  const std::int64_t mantissa = (u & 0x7FFFFF) | (field == 0 ? 0 : 0x800000);
  const int exponent = (field == 0 ? 1 : field) - 127;

  int largest = mantissa != 0 ? exponent : kFloor;
  for (int k = 0; k < count; ++k) {
    const E4m3Parts x = parts(a[k]), y = parts(b[k]);
    const int product_exponent = x.exponent + y.exponent;
    if (x.significand * y.significand != 0 && product_exponent > largest) largest = product_exponent;
  }
  if (largest == kFloor) return 0.0f;

  std::int64_t sum = 0;
  for (int k = 0; k < count; ++k) {
    const E4m3Parts x = parts(a[k]), y = parts(b[k]);
    const std::int64_t product = x.significand * y.significand;
    const int distance = largest - (x.exponent + y.exponent);
    const std::int64_t magnitude = product < 0 ? -product : product;
    const std::int64_t term = distance < 63 ? (magnitude << kProductShift) >> distance : 0;
    sum += product < 0 ? -term : term;
  }
  const int accumulator_distance = largest - exponent - kAccumulatorShift;  // of the 23-bit fraction to the cut
  std::int64_t term = 0;
  if (accumulator_distance <= 0) {
    term = mantissa << -accumulator_distance;
  } else if (accumulator_distance < 63) {
    term = mantissa >> accumulator_distance;
  }
  sum += (u >> 31) != 0 ? -term : term;
  return tensor_core_result<core>(sum, largest);
}

/// One chain over all of K from +0 [MM-SM90-WGMMA]; a NaN code anywhere makes the result NaN.
template <TensorCore core>
FP8REF_HD float tensor_core_dot(const e4m3* a, const e4m3* b, std::int64_t k) {
  for (std::int64_t i = 0; i < k; ++i) {
    if (is_nan(a[i]) || is_nan(b[i])) return bit_cast<float>(kNan32);
  }
  float accumulator = 0.0f;
  for (std::int64_t i = 0; i < k; i += core.block) {
    const int count = static_cast<int>(k - i < core.block ? k - i : core.block);
    accumulator = tensor_core_step<core>(a + i, b + i, count, accumulator);
  }
  return accumulator;
}

/// RN32 of the exact dot product [MM-EXACT]: products are integers times 2^-18, so the sum is one too.
FP8REF_HD float exact_dot(const e4m3* a, const e4m3* b, std::int64_t k) {
  Wide<2> sum;
  for (std::int64_t i = 0; i < k; ++i) {
    if (is_nan(a[i]) || is_nan(b[i])) return bit_cast<float>(kNan32);
    const std::int64_t product = static_cast<std::int64_t>(e4m3_fixed(a[i])) * e4m3_fixed(b[i]);
    sum.add_shifted(static_cast<std::uint64_t>(product < 0 ? -product : product), 0, product < 0);
  }
  return wide_rn32(sum, -18);
}

/// Epilogue a_b [MM-EPILOGUE-A-B]: RN32(a_scale * RN32(b_scale * acc)); with a bias the last multiply and the addition
/// are one rounding.
FP8REF_HD float scaled_mm_epilogue(float accumulator, float a_scale, float b_scale, const float* bias) {
  const float scaled = mul32(b_scale, accumulator);
  return canonical(bias == nullptr ? mul32(a_scale, scaled) : fma32(a_scale, scaled, *bias));
}

/// One output in fp32, before its rounding to the output type.
FP8REF_HD float scaled_mm_element(const e4m3* a, const e4m3* b, std::int64_t k, float a_scale, float b_scale,
                                  const float* bias, Accumulate accumulate) {
  const float accumulator = accumulate == Accumulate::exact ? exact_dot(a, b, k) : tensor_core_dot<kSm90Wgmma>(a, b, k);
  return scaled_mm_epilogue(accumulator, a_scale, b_scale, bias);
}

}  // namespace fp8ref
