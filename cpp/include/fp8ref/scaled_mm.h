// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/scaled_mm.md: one element of the output, from two rows of codes.
#pragma once

#include <cstdint>

#include "fp8ref/e4m3.h"
#include "fp8ref/mma.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"
#include "fp8ref/wide.h"

namespace fp8ref {

inline constexpr int kScaleBlock = 128;   // elements of k that share a scale [MM-SCALES-BLOCK]
inline constexpr int kProductUnit = -18;  // a product of two finite codes is an integer times 2^kProductUnit

FP8REF_HD bool any_nan(const e4m3* codes, std::int64_t k) {
  for (std::int64_t i = 0; i < k; ++i) {
    if (is_nan(codes[i])) return true;
  }
  return false;
}

/// RN32 of the exact dot product [MM-EXACT].
FP8REF_HD float exact_dot(const e4m3* a, const e4m3* b, std::int64_t k) {
  if (any_nan(a, k) || any_nan(b, k)) return bit_cast<float>(kNan32);
  Wide<2> sum;
  for (std::int64_t i = 0; i < k; ++i) {
    const std::int64_t product = static_cast<std::int64_t>(e4m3_fixed(a[i])) * e4m3_fixed(b[i]);
    sum.add_shifted(static_cast<std::uint64_t>(product < 0 ? -product : product), 0, product < 0);
  }
  return wide_rn32(sum, kProductUnit);
}

/// The exact dot product of at most 128 pairs, NaN where a code is.
FP8REF_HD double block_dot(const e4m3* a, const e4m3* b, std::int64_t k) {
  if (any_nan(a, k) || any_nan(b, k)) return widen(bit_cast<float>(kNan32));
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < k; ++i) sum += static_cast<std::int64_t>(e4m3_fixed(a[i])) * e4m3_fixed(b[i]);
  return mul64(static_cast<double>(sum), 0x1p-18);  // below 2^43: exact
}

/// The accumulator over k, exact or by a tensor core [MM-UNIT]; `exact` has no parts [MM-SPLIT-K].
FP8REF_HD float accumulator(const e4m3* a, const e4m3* b, std::int64_t k, Accumulate accumulate, std::int64_t split_k) {
  return accumulate == Accumulate::exact ? exact_dot(a, b, k) : mma_accumulate(a, b, k, accumulate, split_k);
}

/// The orders of the scales [MM-EPILOGUE-A-B], [MM-EPILOGUE-B-A], [MM-EPILOGUE-AB]; with a bias the last multiply and
/// the addition are one rounding [MM-BIAS].
FP8REF_HD float scaled_mm_epilogue(float accumulator, float a_scale, float b_scale, const float* bias,
                                   Epilogue epilogue) {
  float last = a_scale, scaled = mul32(b_scale, accumulator);
  if (epilogue == Epilogue::b_a) {
    last = b_scale;
    scaled = mul32(a_scale, accumulator);
  } else if (epilogue == Epilogue::ab) {
    last = mul32(a_scale, b_scale);
    scaled = accumulator;
  }
  return canonical(bias == nullptr ? mul32(last, scaled) : fma32(last, scaled, *bias));
}

/// The scaled dot of one block added to the sum of those before it [MM-BLOCK-ORDERS].
FP8REF_HD float add_block(float dot, float a_scale, float b_scale, float sum, Epilogue epilogue) {
  if (epilogue == Epilogue::deepgemm) return fma32(mul32(a_scale, b_scale), dot, sum);
  if (epilogue == Epilogue::triton) return fma32(mul32(dot, a_scale), b_scale, sum);
  return fma32(mul32(dot, b_scale), a_scale, sum);
}

/// The sum of the blocks, with its bias [MM-BLOCK-ORDERS].
FP8REF_HD float add_bias(float sum, const float* bias) { return canonical(bias == nullptr ? sum : add32(sum, *bias)); }

/// The exact sum over blocks of a_scale * b_scale * dot, and of a bias [MM-BLOCK-EXACT]: fixed point with the quantum
/// of two smallest scales and a product of codes. 10 limbs hold 2^49 products of the largest codes and scales.
class BlockSum {
 public:
  static constexpr int kExponent = -149 - 149 + kProductUnit;

  /// `dot` is the exact one of at most 128 pairs, or NaN. A term that is no finite number decides the sum, by the rules
  /// of IEEE addition [MM-BLOCK-SPECIAL].
  FP8REF_HD void add(float a_scale, float b_scale, double dot) {
    const double term = mul64(mul64(a_scale, b_scale), dot);  // finite factors are far from the ends of the range
    if (!finite(term)) return add_special(term);
    const std::uint64_t scales = significand(a_scale) * significand(b_scale);
    auto integer = static_cast<std::uint64_t>(mul64(dot < 0 ? -dot : dot, 0x1p18));
    // 48 bits times 43, in pieces of 16.
    for (int shift = place(a_scale) + place(b_scale); integer != 0; shift += 16, integer >>= 16) {
      sum_.add_shifted(scales * (integer & 0xFFFF), shift, dot < 0);
    }
  }

  FP8REF_HD void add(float bias) {
    if (!finite(bias)) return add_special(bias);
    sum_.add_shifted(significand(bias), place(bias) - 149 - kExponent, bias < 0);
  }

  /// RN32 of the sum; an exact zero is +0.
  FP8REF_HD float rn32() const { return special_ != 0 ? fp8ref::rn32(special_) : wide_rn32(sum_, kExponent); }

 private:
  FP8REF_HD static bool finite(double x) { return sub64(x, x) == 0; }
  FP8REF_HD void add_special(double x) { special_ = add64(special_, x); }

  /// |x| = significand * 2^(place - 149).
  FP8REF_HD static int place(float x) {
    const int field = static_cast<int>((bit_cast<std::uint32_t>(x) >> 23) & 0xFF);
    return field == 0 ? 0 : field - 1;
  }
  FP8REF_HD static std::uint64_t significand(float x) {
    const std::uint32_t u = bit_cast<std::uint32_t>(x);
    return (u & 0x7FFFFF) | ((u & 0x7F800000) == 0 ? 0 : 0x800000);
  }

  Wide<10> sum_;
  double special_ = 0;  // of the infinities and NaN
};

/// One output in fp32, before its rounding to the output type.
FP8REF_HD float scaled_mm_element(const e4m3* a, const e4m3* b, std::int64_t k, float a_scale, float b_scale,
                                  const float* bias, Accumulate accumulate, Epilogue epilogue = Epilogue::a_b,
                                  std::int64_t split_k = 1) {
  return scaled_mm_epilogue(accumulator(a, b, k, accumulate, split_k), a_scale, b_scale, bias, epilogue);
}

/// The same with scales of blocks: those of the two rows.
FP8REF_HD float scaled_mm_block_element(const e4m3* a, const e4m3* b, std::int64_t k, const float* a_scale,
                                        const float* b_scale, const float* bias, Accumulate accumulate,
                                        Epilogue epilogue) {
  const bool ordered =
      epilogue == Epilogue::deepgemm || epilogue == Epilogue::triton || epilogue == Epilogue::triton_ba;
  float sum = 0;
  BlockSum exact;
  for (std::int64_t p = 0; p < k; p += kScaleBlock) {
    const std::int64_t depth = kScaleBlock < k - p ? kScaleBlock : k - p, block = p / kScaleBlock;
    if (ordered) {
      const float dot = accumulator(a + p, b + p, depth, accumulate, 1);
      sum = add_block(dot, a_scale[block], b_scale[block], sum, epilogue);
    } else {
      exact.add(a_scale[block], b_scale[block], block_dot(a + p, b + p, depth));
    }
  }
  if (ordered) return add_bias(sum, bias);
  if (bias != nullptr) exact.add(*bias);
  return exact.rn32();
}

}  // namespace fp8ref
