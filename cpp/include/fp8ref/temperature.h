// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/temperature.md: the correctly rounded logarithm of whole numbers, the factor, the product.
#pragma once

#include <cmath>
#include <cstdint>

#include "fp8ref/fixed.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"
#include "fp8ref/settle.h"
#include "fp8ref/wide.h"

namespace fp8ref {

/// ln(1 + n) against a midpoint tau, for a whole number 0 < n < 2^128: (1 + n) exp(-tau) against 1. The error of
/// exp(-tau) is below 2^-428, hence that of the product below 2^-299: far below the distance that any n could need
/// (tests/cpp/sweep.cpp compares all of them with MPFR).
struct Log1pCompare {
  float n;

  FP8REF_HD int sign(double tau) const {
    constexpr int kLimbs = 8;
    const OddParts t = odd_parts(tau), whole = odd_parts(n);
    const Wide<kLimbs> e = fixed_exp_minus<kLimbs>(static_cast<std::uint32_t>(t.significand), t.exponent);
    Wide<kLimbs> product = e;
    product.multiply(static_cast<std::uint32_t>(whole.significand));
    product.shift_left(whole.exponent);  // near 1
    product.add(e);
    return product.compare(fixed_one<kLimbs>());
  }
};

/// RN32(ln(1 + n)) of a whole number n >= 0, or infinity, by float64 with `error` as the relative slack of its bracket.
FP8REF_HD float whole_log1p_within(float n, double error) {
  if (n == 0 || is_inf(n)) return n;
  const Bracket range = bracket(std::log1p(static_cast<double>(n)), error);
  return range.closed() ? range.low : settle(range, Log1pCompare{n});
}

/// The same; log1p is trusted to 8 units of float64.
FP8REF_HD float whole_log1p(float n) { return whole_log1p_within(n, 0x1p-49); }

/// RN32(RN32(RN32(log1p(floor(RN32((position + 1) / F)))) * A) + 1), 0 <= position < 2^24. [TEMPERATURE-FACTOR]
FP8REF_HD float temperature_factor(std::int64_t position, float floor_scale, float attn_scale) {
  const float steps = std::floor(div32(static_cast<float>(position + 1), floor_scale));
  return add32(mul32(whole_log1p(steps), attn_scale), 1.0f);
}

/// RNbf(RN32(x * factor)). [TEMPERATURE-PRODUCT]
FP8REF_HD bf16 temperature_product(bf16 x, float factor) { return rnbf(mul32(widen(x), factor)); }

}  // namespace fp8ref
