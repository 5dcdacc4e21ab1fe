// SPDX-License-Identifier: Apache-2.0
// One bf16 operation, one rounding [ROUND-ONCE]: the steps that rmsnorm, rope, silu_mul and residual are made of.
#pragma once

#include <cstdint>

#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

/// RNbf(x * y). The product has 16 bits, so fp32 holds it exactly unless it is subnormal there, where fp32 would round
/// first and bf16 again; then float64 holds it. (A product that fp32 rounds up to 2^-126 rounds to that in bf16 too.)
FP8REF_HD bf16 multiply(bf16 x, bf16 y) {
  const float product = mul32(widen(x), widen(y));
  if (product >= 0x1p-126f || product <= -0x1p-126f) return rnbf(product);
  return rnbf(mul64(widen(x), widen(y)));
}

/// RNbf(x + y). Rounding to fp32 on the way changes nothing: 24 >= 2 * 8 + 2 bits, and a subnormal sum is exact.
FP8REF_HD bf16 add(bf16 x, bf16 y) { return rnbf(add32(widen(x), widen(y))); }

/// RNbf(x - y).
FP8REF_HD bf16 subtract(bf16 x, bf16 y) { return rnbf(sub32(widen(x), widen(y))); }

}  // namespace fp8ref
