// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/linear.md: RNbf(RN32(exact dot (+ bias))) of two bf16 rows, and the certificate that lets a
// float64 sum stand for the exact one.
#pragma once

#include <cstdint>

#include "fp8ref/mma.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"
#include "fp8ref/wide.h"

namespace fp8ref {

/// RN32 of the exact dot, plus the bias where there is one, fused. NaN, Inf * 0 and infinities of both signs give NaN,
/// an infinity else gives Inf; the exact sum itself has no overflow, and an exact zero is +0. [LINEAR-SPECIAL]
FP8REF_HD float linear_rn32(const bf16* x, const bf16* w, std::int64_t k, const float* bias) {
  const float nan = bit_cast<float>(kNan32);
  ExactSum sum;
  bool infinite[2] = {false, false};  // +Inf, -Inf
  for (std::int64_t i = 0; i < k; ++i) {
    if (is_finite(x[i]) && is_finite(w[i])) {
      sum.add_product(x[i], w[i]);
      continue;
    }
    if (is_nan(x[i]) || is_nan(w[i]) || is_zero(x[i]) || is_zero(w[i])) return nan;
    infinite[(x[i].bits ^ w[i].bits) >> 15] = true;
  }
  if (bias != nullptr) {
    if (is_nan(*bias)) return nan;
    if (is_inf(*bias)) {
      infinite[*bias < 0] = true;
    } else {
      sum.add(*bias);
    }
  }
  if (infinite[0] && infinite[1]) return nan;
  if (infinite[0] || infinite[1]) return bit_cast<float>(infinite[1] ? 0xFF800000 : 0x7F800000);
  return sum.rn32();
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

}  // namespace fp8ref
