// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/linear.md: RNbf(RN32(exact dot (+ bias))) of two bf16 rows, and the certificate that lets a
// float64 sum stand for the exact one.
#pragma once

#include <cstdint>

#include "fp8ref/args.h"
#include "fp8ref/mma.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"
#include "fp8ref/wide.h"

namespace fp8ref {

/// The exact sum of products of bf16 numbers and of biases, in any order and in parts that are added: NaN, Inf * 0 and
/// infinities of both signs give NaN, an infinity else gives Inf; the exact sum itself has no overflow, and an exact
/// zero is +0. [LINEAR-SPECIAL]
class ExactDot {
 public:
  FP8REF_HD void add_product(bf16 x, bf16 w) {
    if (is_finite(x) && is_finite(w)) {
      sum_.add_product(x, w);
    } else if (is_nan(x) || is_nan(w) || is_zero(x) || is_zero(w)) {
      special_ |= kNan;
    } else {
      special_ |= (x.bits ^ w.bits) >> 15 ? kMinusInf : kPlusInf;
    }
  }

  FP8REF_HD void add(float bias) {
    if (is_nan(bias)) {
      special_ |= kNan;
    } else if (is_inf(bias)) {
      special_ |= bias < 0 ? kMinusInf : kPlusInf;
    } else {
      sum_.add(bias);
    }
  }

  FP8REF_HD void add(const ExactDot& other) {
    sum_.add(other.sum_);
    special_ |= other.special_;
  }

  /// Whatever is still to be added, the result is NaN.
  FP8REF_HD bool nan() const { return (special_ & kNan) != 0 || special_ == (kPlusInf | kMinusInf); }

  FP8REF_HD float rn32() const {
    if (nan()) return bit_cast<float>(kNan32);
    if (special_ != 0) return bit_cast<float>(special_ == kMinusInf ? 0xFF800000 : 0x7F800000);
    return sum_.rn32();
  }

 private:
  static constexpr std::uint64_t kPlusInf = 1, kMinusInf = 2, kNan = 4;

  ExactSum sum_;
  std::uint64_t special_ = 0;
};

/// RN32 of the exact dot, plus the bias where there is one, fused.
FP8REF_HD float linear_rn32(const bf16* x, const bf16* w, std::int64_t k, const float* bias) {
  ExactDot dot;
  for (std::int64_t i = 0; i < k && !dot.nan(); ++i) dot.add_product(x[i], w[i]);
  if (bias != nullptr) dot.add(*bias);
  return dot.rn32();
}

/// One output, exactly.
FP8REF_HD bf16 linear_element(const bf16* x, const bf16* w, std::int64_t k, const float* bias) {
  return rnbf(linear_rn32(x, w, k, bias));
}

/// One output by a tensor core: RNbf(RN32(accumulator + bias)) [LINEAR-UNIT].
FP8REF_HD bf16 linear_tail(float accumulator, const float* bias) {
  return rnbf(bias == nullptr ? accumulator : add32(accumulator, *bias));
}
FP8REF_HD bf16 linear_element(const bf16* x, const bf16* w, std::int64_t k, const float* bias, Accumulate accumulate) {
  if (accumulate == Accumulate::exact) return linear_element(x, w, k, bias);
  return linear_tail(mma_accumulate(x, w, k, accumulate, 1), bias);
}

/// A result, and whether it is proven.
struct Certified {
  bf16 value;
  bool proven;
};

/// The output for a float64 dot that is exact [LINEAR-CERTIFY]; the bias is finite.
FP8REF_HD bf16 linear_from_exact(double dot, const float* bias) {
  const double positive_zero = add64(dot, 0.0);
  return rnbf(bias == nullptr ? rn32(positive_zero) : rn32_sum(positive_zero, static_cast<double>(*bias)));
}

/// The output for a float64 dot within `error` of the exact one [LINEAR-CERTIFY]: every later step is monotone, so if
/// both ends of the interval round to the same bits, so does the exact value. The bias is finite.
FP8REF_HD Certified linear_from_interval(double dot, double error, const float* bias) {
  const double centre = bias == nullptr ? dot : add64(dot, static_cast<double>(*bias));
  // Room for the rounding of the centre, of the two ends and of this sum itself.
  const double magnitude = centre < 0 ? -centre : centre;
  const double reach = add64(mul64(error, 1 + 0x1p-40), mul64(magnitude, 0x1p-50));
  const bf16 low = rnbf(rn32(sub64(centre, reach)));
  const bf16 high = rnbf(rn32(add64(centre, reach)));
  return {low, low.bits == high.bits};
}

/// The output for a float64 dot of two rows, added in any order, with FMA or without, if that proves it: an exactness
/// test, then the interval [LINEAR-CERTIFY].
FP8REF_HD Certified linear_certified(double dot, const RowFacts& x, const RowFacts& w, std::int64_t k,
                                     const float* bias) {
  if (!x.finite || !w.finite || (bias != nullptr && (is_nan(*bias) || is_inf(*bias)))) return {bf16{0}, false};
  const double product = mul64(x.norm, w.norm);
  const auto power = [](int exponent) { return bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52); };
  if (product < power(x.low_exponent) * power(w.low_exponent) * 0x1p53) return {linear_from_exact(dot, bias), true};
  return linear_from_interval(dot, mul64(product, static_cast<double>(k) * 0x1p-52), bias);
}

}  // namespace fp8ref
