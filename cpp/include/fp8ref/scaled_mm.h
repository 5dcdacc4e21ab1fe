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

inline constexpr int kScaleBlock = 128;  // elements of k that share a scale [MM-SCALES-BLOCK]

/// A finite code as an integer times 2^kUnit.
template <class T>
struct Fixed;
template <>
struct Fixed<e4m3> {
  static constexpr int kUnit = -9;
  FP8REF_HD static std::int64_t of(e4m3 code) { return e4m3_fixed(code); }
};
template <>
struct Fixed<e5m2> {
  static constexpr int kUnit = -16;
  FP8REF_HD static std::int64_t of(e5m2 code) {
    const Factor parts = factor(code);
    return parts.significand * (std::int64_t{1} << (parts.exponent + 14));
  }
};

/// An exact dot product: an integer times 2^unit, unless infinities or NaNs decide it [SUM-SPECIAL].
struct FixedDot {
  Wide<2> sum;
  int unit;
  Specials specials;

  FP8REF_HD float rn32() const { return specials.any() ? canonical(specials.result<float>()) : wide_rn32(sum, unit); }
};

template <class A, class B>
FP8REF_HD FixedDot exact_sum(const A* a, const B* b, std::int64_t k) {
  FixedDot dot{{}, Fixed<A>::kUnit + Fixed<B>::kUnit, {}};
  for (std::int64_t i = 0; i < k; ++i) {
    dot.specials.add_product(a[i], b[i]);
    if (kind(a[i]) >= Kind::infinite || kind(b[i]) >= Kind::infinite) continue;
    const std::int64_t x = Fixed<A>::of(a[i]), y = Fixed<B>::of(b[i]);  // below 2^32 each
    const auto magnitude = static_cast<std::uint64_t>(x < 0 ? -x : x) * static_cast<std::uint64_t>(y < 0 ? -y : y);
    dot.sum.add_shifted(magnitude, 0, (x < 0) != (y < 0));
  }
  return dot;
}

/// RN32 of the exact dot product [MM-EXACT].
template <class A, class B>
FP8REF_HD float exact_dot(const A* a, const B* b, std::int64_t k) {
  return exact_sum(a, b, k).rn32();
}

/// The accumulator over k, exact or by a tensor core [MM-UNIT]; `exact` has no parts [MM-SPLIT-K].
template <class A, class B>
FP8REF_HD float accumulator(const A* a, const B* b, std::int64_t k, Accumulate accumulate, std::int64_t split_k) {
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
/// of two smallest scales and a product of codes. 11 limbs hold 2^80 products of the largest codes and scales.
class BlockSum {
 public:
  static constexpr int kDotUnit = 2 * Fixed<e5m2>::kUnit;
  static constexpr int kExponent = -149 - 149 + kDotUnit;

  /// A term that is no finite number decides the sum, by the rules of IEEE addition [MM-BLOCK-SPECIAL].
  FP8REF_HD void add(float a_scale, float b_scale, const FixedDot& dot) {
    if (add_special(a_scale, b_scale, widen(dot.rn32()))) return;  // rounded, but 0 only where the dot is
    Wide<2> magnitude = dot.sum;
    if (dot.sum.negative()) magnitude.negate();
    for (int i = 0; i < 2; ++i) {
      add_integer(a_scale, b_scale, magnitude.limb[i], 64 * i + dot.unit - kDotUnit, dot.sum.negative());
    }
  }

  /// The same for the exact dot of at most 128 pairs of E4M3, or NaN.
  FP8REF_HD void add(float a_scale, float b_scale, double dot) {
    if (add_special(a_scale, b_scale, dot)) return;
    const auto integer = static_cast<std::uint64_t>(mul64(dot < 0 ? -dot : dot, 0x1p18));
    add_integer(a_scale, b_scale, integer, 2 * Fixed<e4m3>::kUnit - kDotUnit, dot < 0);
  }

  FP8REF_HD void add(float bias) {
    if (!finite(bias)) {
      special_ = add64(special_, bias);
      return;
    }
    sum_.add_shifted(significand(bias), place(bias) - 149 - kExponent, bias < 0);
  }

  /// RN32 of the sum; an exact zero is +0.
  FP8REF_HD float rn32() const { return special_ != 0 ? fp8ref::rn32(special_) : wide_rn32(sum_, kExponent); }

 private:
  FP8REF_HD static bool finite(double x) { return sub64(x, x) == 0; }

  /// Whether the term is no finite number; adds it then. Finite factors are far from the ends of fp64's range.
  FP8REF_HD bool add_special(float a_scale, float b_scale, double dot) {
    const double term = mul64(mul64(a_scale, b_scale), dot);
    if (finite(term)) return false;
    special_ = add64(special_, term);
    return true;
  }

  /// Adds a_scale * b_scale * integer * 2^(shift + kDotUnit): 48 bits times 64, in pieces of 16.
  FP8REF_HD void add_integer(float a_scale, float b_scale, std::uint64_t integer, int shift, bool negative) {
    const std::uint64_t scales = significand(a_scale) * significand(b_scale);
    for (shift += place(a_scale) + place(b_scale); integer != 0; shift += 16, integer >>= 16) {
      sum_.add_shifted(scales * (integer & 0xFFFF), shift, negative);
    }
  }

  /// |x| = significand * 2^(place - 149).
  FP8REF_HD static int place(float x) {
    const int field = static_cast<int>((bit_cast<std::uint32_t>(x) >> 23) & 0xFF);
    return field == 0 ? 0 : field - 1;
  }
  FP8REF_HD static std::uint64_t significand(float x) {
    const std::uint32_t u = bit_cast<std::uint32_t>(x);
    return (u & 0x7FFFFF) | ((u & 0x7F800000) == 0 ? 0 : 0x800000);
  }

  Wide<11> sum_;
  double special_ = 0;  // of the infinities and NaN
};

/// One output in fp32, before its rounding to the output type.
template <class A, class B>
FP8REF_HD float scaled_mm_element(const A* a, const B* b, std::int64_t k, float a_scale, float b_scale,
                                  const float* bias, Accumulate accumulate, Epilogue epilogue = Epilogue::a_b,
                                  std::int64_t split_k = 1) {
  return scaled_mm_epilogue(accumulator(a, b, k, accumulate, split_k), a_scale, b_scale, bias, epilogue);
}

/// The same with scales of blocks: those of the two rows.
template <class A, class B>
FP8REF_HD float scaled_mm_block_element(const A* a, const B* b, std::int64_t k, const float* a_scale,
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
      exact.add(a_scale[block], b_scale[block], exact_sum(a + p, b + p, depth));
    }
  }
  if (ordered) return add_bias(sum, bias);
  if (bias != nullptr) exact.add(*bias);
  return exact.rn32();
}

}  // namespace fp8ref
