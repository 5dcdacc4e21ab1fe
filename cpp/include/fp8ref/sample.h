// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/sample.md: the order of logits for the greedy choice.
#pragma once

#include <cstdint>

#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

/// Whether a ranks above b: a NaN ranks above all numbers, and -0 equals +0. [SAMPLE-ORDER]
FP8REF_HD bool ranks_above(float a, float b) { return a > b || (is_nan(a) && !is_nan(b)); }

/// The first index of the highest rank; vocab >= 1. [SAMPLE-GREEDY]
FP8REF_HD std::int64_t greedy(const float* logits, std::int64_t vocab) {
  std::int64_t best = 0;
  float top = logits[0];
  for (std::int64_t i = 1; i < vocab; ++i) {
    if (ranks_above(logits[i], top)) {
      best = i;
      top = logits[i];
    }
  }
  return best;
}

}  // namespace fp8ref
