// SPDX-License-Identifier: Apache-2.0
// One bf16 operation, one rounding [ROUND-ONCE]: the steps that rmsnorm, rope, silu_mul and residual are made of.
#pragma once

#include <cstdint>

#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

/// RNbf(x * y). The product has 16 bits: from 2^-134 up it is a multiple of 2^-149, so fp32 holds it exactly; below,
/// fp32 gives at most 2^-134, which bf16 takes to zero as it does the product itself. [RMSNORM-PRODUCT]
FP8REF_HD bf16 multiply(bf16 x, bf16 y) { return rnbf(mul32(widen(x), widen(y))); }

/// RNbf(x + y). Rounding to fp32 on the way changes nothing: 24 >= 2 * 8 + 2 bits, and a subnormal sum is exact.
FP8REF_HD bf16 add(bf16 x, bf16 y) { return rnbf(add32(widen(x), widen(y))); }

/// RNbf(x - y).
FP8REF_HD bf16 subtract(bf16 x, bf16 y) { return rnbf(sub32(widen(x), widen(y))); }

}  // namespace fp8ref
