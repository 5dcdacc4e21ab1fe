// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/rmsnorm.md: the exact sum of squares, the reciprocal root, the two products.
#pragma once

#include <cmath>
#include <cstdint>

#include "fp8ref/bf16.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"
#include "fp8ref/settle.h"
#include "fp8ref/wide.h"

namespace fp8ref {

/// RN32 of the exact sum of squares, where all x are finite. [RMSNORM-SUM]
FP8REF_HD float sum_of_squares_exact(const bf16* x, std::int64_t n) {
  ExactSum sum;
  for (std::int64_t i = 0; i < n; ++i) sum.add_product(x[i], x[i]);
  return sum.rn32();
}

/// RN32 of the exact sum of squares, given a float64 sum of them in which no square goes through more than `additions`
/// additions, in any order: float64 holds the squares, so only additions of positive numbers round. The bracket allows
/// for twice that.
FP8REF_HD float sum_of_squares_within(const bf16* x, std::int64_t n, double sum, std::int64_t additions) {
  if (is_nan(sum) || sum == INFINITY) return rn32(sum);  // from NaN and Inf among x: no sum of squares overflows
  const Bracket range = bracket(sum, static_cast<double>(additions) * 0x1p-52);
  return range.closed() ? range.low : sum_of_squares_exact(x, n);
}

/// The same of any sum: n squares, n additions.
FP8REF_HD float sum_of_squares(const bf16* x, std::int64_t n, double sum) {
  return sum_of_squares_within(x, n, sum, n);
}

/// 1 / sqrt(v) against a midpoint tau = t * 2^e: the sign of 1 - tau^2 v, by integers. [RMSNORM-RSQRT]
struct RsqrtCompare {
  float v;

  FP8REF_HD int sign(double tau) const {
    const OddParts t = odd_parts(tau), p = odd_parts(v);
    Wide<2> product, one;
    product.limb[0] = t.significand * t.significand;  // 50 bits
    product.multiply(static_cast<std::uint32_t>(p.significand));
    // tau^2 v is near 1, so the exponent is near minus the length of this product of at most 74 bits.
    one.add_shifted(1, -(2 * t.exponent + p.exponent), false);
    return one.compare(product);
  }
};

/// RN32(1 / sqrt(v)) for v > 0, or Inf, or NaN, from a bracket with the relative slack `error`.
FP8REF_HD float reciprocal_sqrt_within(float v, double error) {
  if (is_nan(v)) return bit_cast<float>(kNan32);
  if (is_inf(v)) return 0.0f;
  const Bracket range = bracket(1.0 / std::sqrt(static_cast<double>(v)), error);
  return range.closed() ? range.low : settle(range, RsqrtCompare{v});
}

/// RN32(1 / sqrt(v)); two roundings of float64 and room for worse.
FP8REF_HD float reciprocal_sqrt(float v) { return reciprocal_sqrt_within(v, 0x1p-49); }

/// r = RN32(1 / sqrt(RN32(RN32(ss / n) + eps))), n <= 2^24. [RMSNORM-STEPS]
FP8REF_HD float rmsnorm_scale(float sum_of_squares, std::int64_t n, float eps) {
  return reciprocal_sqrt(add32(div32(sum_of_squares, static_cast<float>(n)), eps));
}

/// RNbf(RN32(x * r)), the weightless output.
FP8REF_HD bf16 rmsnorm_scaled(bf16 x, float r) { return rnbf(mul32(widen(x), r)); }

/// RNbf(RNbf(RN32(x * r)) * w).
FP8REF_HD bf16 rmsnorm_output(bf16 x, float r, bf16 weight) { return multiply(rmsnorm_scaled(x, r), weight); }

}  // namespace fp8ref
