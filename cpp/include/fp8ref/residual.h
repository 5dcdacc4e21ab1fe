// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/residual.md: RNbf(x + y), and the same with y times tanh of a gate.
#pragma once

#include <cmath>

#include "fp8ref/bf16.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

/// [RESIDUAL-SUM]
FP8REF_HD bf16 residual(bf16 x, bf16 y) { return add(x, y); }

/// RNbf(tanh(gate)) by float64: no tanh of a bf16 number is nearer than 2^-17 of itself to a midpoint
/// (tests/cpp/sweep.cpp looks at all of them).
FP8REF_HD bf16 gate_tanh(bf16 gate) { return rnbf(std::tanh(static_cast<double>(widen(gate)))); }

/// RNbf(x + RNbf(factor * y)) with factor = gate_tanh(gate). [RESIDUAL-GATED]
FP8REF_HD bf16 gated_residual(bf16 x, bf16 y, bf16 factor) { return add(x, multiply(factor, y)); }

}  // namespace fp8ref
