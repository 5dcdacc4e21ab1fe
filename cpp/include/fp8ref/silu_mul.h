// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/silu_mul.md: RNbf(RNbf(RN32(silu(g))) * u), silu(g) = g / (1 + exp(-g)).
#pragma once

#include <cmath>
#include <cstdint>

#include "fp8ref/bf16.h"
#include "fp8ref/fixed.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"
#include "fp8ref/settle.h"
#include "fp8ref/wide.h"

namespace fp8ref {

/// |silu(g)| against midpoints, for 0 < |g| < 2^7. With a = |g| and e = exp(-a), |silu(g)| is a / (1 + e) for positive
/// g and a e / (1 + e) for negative g, so it is above tau where a, or a e, is above tau (1 + e). The error of e is
/// below 2^-428, hence that of both sides below 2^-270 of them; the hardest bf16 number, -2^-24, needs 2^-77.
class SiluCompare {
 public:
  FP8REF_HD explicit SiluCompare(bf16 g) : g_(parts(g)), e_(fixed_exp_minus<kLimbs>(g_.magnitude, g_.exponent)) {}

  FP8REF_HD int sign(double tau) const {
    const OddParts t = odd_parts(tau);
    Wide<kLimbs> left = g_.negative ? e_ : fixed_one<kLimbs>();
    Wide<kLimbs> right = fixed_one<kLimbs>();
    right.add(e_);
    left.multiply(g_.magnitude);
    right.multiply(static_cast<std::uint32_t>(t.significand));
    left.shift_left(g_.exponent - t.exponent);  // the last bit of tau is below that of g; both sides are below 2^26
    return left.compare(right);
  }

 private:
  static constexpr int kLimbs = 8;
  Bf16Parts g_;
  Wide<kLimbs> e_;
};

/// |silu(x)| in float64, for 0 < |x| < 2^7: exp is trusted to 8 units, three roundings follow it.
FP8REF_HD double silu_magnitude(double x) {
  const double a = std::fabs(x), e = std::exp(-a);
  return (x > 0 ? a : mul64(a, e)) / add64(1.0, e);
}
inline constexpr double kSiluError = 0x1p-48;  // of itself

/// Whether silu(g) is known without computing: NaN, or rounding gives g or -0. exp(-2^7) is below 2^-184: it changes no
/// g >= 2^7, and for g <= -2^7 leaves less than half of 2^-149.
struct SiluKnown {
  bool known;
  float value;
};
FP8REF_HD SiluKnown silu_known(bf16 g) {
  const float x = widen(g);
  if (is_nan(g) || x == -INFINITY) return {true, bit_cast<float>(kNan32)};
  if (is_zero(g) || x >= 0x1p7f) return {true, x};
  return {x <= -0x1p7f, -0.0f};
}

/// RN32(silu(g)), computed in float64 with `error` as the relative slack of its bracket. [SILU-VALUE]
FP8REF_HD float silu_within(bf16 g, double error) {
  const SiluKnown known = silu_known(g);
  if (known.known) return known.value;
  const double x = widen(g);
  const Bracket range = bracket(silu_magnitude(x), error);
  const float result = range.closed() ? range.low : settle(range, SiluCompare(g));
  return x > 0 ? result : -result;
}

/// RN32(silu(g)).
FP8REF_HD float silu(bf16 g) { return silu_within(g, kSiluError); }

/// RNbf(RN32(silu(g))) by float64 alone: where this rounding changes lies further than 2^-25 of it from the silu of
/// every bf16 number (tests/simt/test_llama_ops.cpp looks at all of them).
FP8REF_HD bf16 silu_bf16(bf16 g) {
  const SiluKnown known = silu_known(g);
  if (known.known) return rnbf(known.value);
  const double x = widen(g), magnitude = silu_magnitude(x);
  return rnbf(rn32(x > 0 ? magnitude : -magnitude));
}

/// RNbf(RNbf(RN32(silu(g))) * u). [SILU-MUL]
FP8REF_HD bf16 silu_mul(bf16 gate, bf16 up) { return multiply(rnbf(silu(gate)), up); }

}  // namespace fp8ref
