// SPDX-License-Identifier: Apache-2.0
// The error that llm-compressor's observer "mse" minimises [QUANT-MSE]: the sum of |code * s - x|^2.4, steps in T. The
// power and the sum are rounded once each.
#pragma once

#include <cstdint>

#include "fp8ref/fixed.h"
#include "fp8ref/quantize.h"
#include "fp8ref/wide.h"

namespace fp8ref {

inline constexpr int kMseSteps = 20, kMsePatience = 5;

/// The range tried in a step: amax * (1 - step/100); the factor is a float64 number that torch narrows to fp32.
template <class T>
FP8REF_HD float mse_range(float amax, int step) {
  return rounded_in<T>(mul32(amax, rn32(sub64(1.0, div64(step, 100.0)))));
}

/// The exponent 2.4 as torch's pow takes it, rounded to T: numerator / 2^shift, the numerator odd.
template <class T>
struct MseExponent;
template <>
struct MseExponent<float> {
  static constexpr std::uint32_t kNumerator = 5033165;
  static constexpr int kShift = 21;
};
template <>
struct MseExponent<bf16> {
  static constexpr std::uint32_t kNumerator = 77;
  static constexpr int kShift = 5;
};
template <>
struct MseExponent<fp16> {
  static constexpr std::uint32_t kNumerator = 1229;
  static constexpr int kShift = 9;
};

/// floor(log2(x) * 2^128) for a normal double x > 0, or one less. The bits are those of repeated squares, as in
/// fixed_log2: with 192 bits each, they take less than 2^-190 from the logarithm in all steps together.
FP8REF_HD Wide<4> wide_log2(double x) {
  constexpr int kFraction = 192, kBits = 128;
  const std::uint64_t u = bit_cast<std::uint64_t>(x);
  const int exponent = static_cast<int>(u >> 52) - 1023;
  Wide<4> significand, log2;
  significand.add_shifted((u & 0x000FFFFFFFFFFFFF) | 0x0010000000000000, kFraction - 52, false);
  log2.add_shifted(static_cast<std::uint64_t>(exponent < 0 ? -exponent : exponent), 0, exponent < 0);
  for (int i = 0; i < kBits; ++i) {
    significand = fixed_multiply(significand, significand);  // below 4: two bits before the point
    const bool reaches_two = significand.limb[3] >= 2;
    if (reaches_two) significand.shift_right(1);
    log2.shift_left(1);
    log2.add_shifted(reaches_two ? 1 : 0, 0, false);
  }
  return log2;
}

/// Whether d^e > middle, e the exponent of T: by numerator * log2(d) > 2^shift * log2(middle), both sides off by less
/// than 2^24 units, which is less than 2^-100 of the power. Of all positive floats, 652 come here, and the nearest to
/// its midpoint (0x1.66b236p+17) is 2^-54.5 of it away; numbers of bf16 and fp16 never come here.
template <class T>
FP8REF_HD bool power_exceeds(double d, double middle) {
  Wide<4> left = wide_log2(d), right = wide_log2(middle);
  left.multiply(MseExponent<T>::kNumerator);
  right.shift_left(MseExponent<T>::kShift);
  return left.compare(right) > 0;
}

/// d^e for finite d > 0, off by less than 2^-46 of it: d^2 is exact, and of the square roots, each off by at most
/// 2^-52, at most 21 are multiplied.
template <class T>
FP8REF_HD double approximate_power(double d) {
  using E = MseExponent<T>;
  double power = mul64(d, d), root = d;
  for (int i = E::kShift - 1; i >= 0; --i) {
    root = sqrt64(root);
    if ((E::kNumerator >> i & 1) != 0) power = mul64(power, root);
  }
  return power;
}

/// RN_T(d^e) for d >= 0, a number of T; Inf and NaN stay. It is never a tie: where d^e is rational, d is 2^(n *
/// 2^shift) (a larger odd part would be the 32nd power of one), so d^e is a power of two whose exponent is a multiple
/// of the numerator, and no midpoint of T is that.
template <class T>
FP8REF_HD float mse_power(float d) {
  if (d == 0 || is_inf(d) || is_nan(d)) return d;
  const double near = approximate_power<T>(d);
  const float low = widen(round_to<T>(mul64(near, 1 - 0x1p-45))), high = widen(round_to<T>(mul64(near, 1 + 0x1p-45)));
  if (low == high) return low;
  // The midpoint of the largest number and of what would come next decides overflow.
  const double next = is_inf(high) ? mul64(2.0, exp2_of<float>(Format<T>::kMaxExponent)) : high;
  return power_exceeds<T>(d, mul64(0.5, add64(low, next))) ? high : low;
}

/// The sum of the errors, exactly; the order of additions does not matter.
class MseSum {
 public:
  FP8REF_HD void add(float error) {
    const std::uint32_t u = bit_cast<std::uint32_t>(error);
    const int field = static_cast<int>(u >> 23);
    if (u >= 0x7F800000) {
      special_ = special_ > u ? special_ : u;
    } else {
      sum_.add_shifted(field == 0 ? u : (u & 0x7FFFFF) | 0x800000, field == 0 ? 0 : field - 1, false);
    }
  }
  FP8REF_HD void add(const MseSum& other) {
    special_ = special_ > other.special_ ? special_ : other.special_;
    sum_.add(other.sum_);
  }
  /// RN_T of the sum; Inf and NaN win.
  template <class T>
  FP8REF_HD float rounded() const {
    return special_ != 0 ? bit_cast<float>(special_) : from_pattern<T>(wide_bits<T>(sum_, -149));
  }

 private:
  Wide<5> sum_;  // in units of 2^-149: 2^42 terms below 2^128
  std::uint32_t special_ = 0;
};

/// RN_T(|RN_T(RN_T(code * s) - x)|^e).
template <class T>
FP8REF_HD float mse_error(float x, e4m3 code, float scale) {
  const float back = rounded_in<T>(mul32(decode(code), scale));
  const float difference = rounded_in<T>(sub32(back, x));
  return mse_power<T>(bit_cast<float>(bit_cast<std::uint32_t>(difference) & 0x7FFFFFFF));
}

}  // namespace fp8ref
