// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/residual.md: RNbf(x + y).
#pragma once

#include "fp8ref/bf16.h"
#include "fp8ref/platform.h"

namespace fp8ref {

/// [RESIDUAL-SUM]
FP8REF_HD bf16 residual(bf16 x, bf16 y) { return add(x, y); }

}  // namespace fp8ref
