// SPDX-License-Identifier: Apache-2.0
// The error that llm-compressor's observer "mse" minimises [QUANT-MSE]: the sum of |code * s - x|^2.4, steps in T. The
// power and the sum are rounded once.
#pragma once

#include <cstdint>

#include "fp8ref/quantize.h"
#include "fp8ref/wide.h"

namespace fp8ref {

inline constexpr int kMseSteps = 20, kMsePatience = 5;

/// The range tried in a step: amax * (1 - step/100); the factor is a float64 number that torch narrows to fp32.
template <class T>
FP8REF_HD float mse_range(float amax, int step) {
  return rounded_in<T>(mul32(amax, rn32(sub64(1.0, div64(step, 100.0)))));
}

/// magnitude * 2^exponent to the power n.
struct IntegerPower {
  Wide<6> value;
  int exponent;
};
FP8REF_HD IntegerPower integer_power(double x, int n) {
  std::uint64_t sig = (bit_cast<std::uint64_t>(x) & 0x000FFFFFFFFFFFFF) | 0x0010000000000000;
  int exponent = static_cast<int>(bit_cast<std::uint64_t>(x) >> 52) - 1075;
  for (; (sig & 1) == 0; sig >>= 1) ++exponent;
  IntegerPower power{{}, n * exponent};
  power.value.limb[0] = 1;
  for (int i = 0; i < n; ++i) power.value.multiply(static_cast<std::uint32_t>(sig));
  return power;
}

/// The sign of d^12 - middle^5, for a d of at most 24 bits and a middle of at most 25 that is near d^2.4: aligned, both
/// stay below 2^290.
FP8REF_HD int compare_power(double d, double middle) {
  IntegerPower left = integer_power(d, 12), right = integer_power(middle, 5);
  if (left.exponent > right.exponent) {
    left.value.shift_left(left.exponent - right.exponent);
  } else {
    right.value.shift_left(right.exponent - left.exponent);
  }
  return left.value.compare(right.value);
}

/// d^2.4 for finite d > 0, off by less than 2^-45 of it. d = m * 32^q with m in [1, 32); the fifth root of m^2 by
/// Newton's iteration, from a guess that is off by less than 1/16: the error e becomes 2 e^2 or less in each of five
/// steps, and the last one's own roundings are a few 2^-53.
FP8REF_HD double approximate_power(double d) {
  const int exponent = static_cast<int>(bit_cast<std::uint64_t>(d) >> 52) - 1023;
  const int q = (exponent + 1100) / 5 - 220;  // rounded down
  const double m = mul64(d, bit_cast<double>(static_cast<std::uint64_t>(1023 - 5 * q) << 52));
  const double square = mul64(m, m);  // exact
  constexpr std::uint64_t kOne = std::uint64_t{1023} << 52;
  double root = bit_cast<double>(kOne + (bit_cast<std::uint64_t>(square) - kOne) / 5);
  for (int i = 0; i < 5; ++i) {
    const double fourth = mul64(mul64(root, root), mul64(root, root));
    root = sub64(root, div64(sub64(mul64(fourth, root), square), mul64(5.0, fourth)));
  }
  return mul64(mul64(square, root), bit_cast<double>(static_cast<std::uint64_t>(1023 + 12 * q) << 52));
}

/// RN_T(d^2.4) for d >= 0, a number of T; Inf and NaN stay. It is never a tie: d^12 = y^5 makes y = k^12 * 2^(12 j)
/// with an odd k, and no midpoint of float, bf16 or fp16 has 1 or 3^12 as its odd part at such an exponent; 5^12 is too
/// long.
template <class T>
FP8REF_HD float mse_power(float d) {
  if (d == 0 || is_inf(d) || is_nan(d)) return d;
  const double near = approximate_power(d);
  const T below = round_to<T>(mul64(near, 1 - 0x1p-45)), above = round_to<T>(mul64(near, 1 + 0x1p-45));
  const float low = widen(below), high = widen(above);
  if (low == high) return low;
  // A midpoint lies between; that of the largest number and of what would come next decides overflow.
  const double next = is_inf(high) ? mul64(2.0, exp2_of<float>(Format<T>::kMaxExponent)) : high;
  return compare_power(d, mul64(0.5, add64(low, next))) < 0 ? low : high;
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

/// RN_T(|RN_T(RN_T(code * s) - x)|^2.4).
template <class T>
FP8REF_HD float mse_error(float x, e4m3 code, float scale) {
  const float back = rounded_in<T>(mul32(decode(code), scale));
  const float difference = rounded_in<T>(sub32(back, x));
  return mse_power<T>(bit_cast<float>(bit_cast<std::uint32_t>(difference) & 0x7FFFFFFF));
}

}  // namespace fp8ref
