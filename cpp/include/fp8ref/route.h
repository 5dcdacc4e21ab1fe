// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/route.md: the order of logits, the score of one, the exact sum of what the experts give.
#pragma once

#include <cmath>
#include <cstdint>

#include "fp8ref/bf16.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"
#include "fp8ref/wide.h"

namespace fp8ref {

// ---- route ----------------------------------------------------------------------------------------------------------

/// Of two experts of a token, below 2^32, the one of the higher rank comes first; no two are equal. [ROUTE-TOP]
FP8REF_HD std::uint64_t route_rank(bf16 logit, std::int64_t expert) {
  const std::uint32_t magnitude = logit.bits & 0x7FFF;
  const std::uint32_t key = is_nan(logit) ? 0xFFFF : logit.bits >= 0x8000 ? 0x8000 - magnitude : 0x8000 + magnitude;
  return (static_cast<std::uint64_t>(key) << 32) | (0xFFFFFFFF - static_cast<std::uint64_t>(expert));
}
/// The expert of a rank.
FP8REF_HD std::int64_t route_expert(std::uint64_t rank) {
  return static_cast<std::int64_t>(0xFFFFFFFF - (rank & 0xFFFFFFFF));
}

/// RNbf(RN32(sigmoid(l))) by float64 alone: where the two roundings together change lies further than 2^-27 of it from
/// the sigmoid of every bf16 number (tests/cpp/sweep.cpp looks at all of them). Where exp overflows, the zero is right.
/// [ROUTE-SCORE]
FP8REF_HD bf16 route_score(bf16 logit) {
  return rnbf(rn32(div64(1.0, add64(1.0, std::exp(-static_cast<double>(widen(logit)))))));
}

// ---- combine --------------------------------------------------------------------------------------------------------

/// One element of what the experts of a token give: value j is routed[rows[j] * stride]. rows is `back` of
/// [COMBINE-SUM].
struct RoutedElements {
  const bf16* routed;
  const std::int64_t* rows;
  std::int64_t stride, count;

  FP8REF_HD bf16 value(std::int64_t j) const { return routed[rows[j] * stride]; }
};

/// RN32 of the exact sum of finite values; an exact zero is +0.
FP8REF_HD float routed_sum_exact(const RoutedElements& values) {
  ExactSum sum;
  for (std::int64_t j = 0; j < values.count; ++j) sum.add(widen(values.value(j)));
  return sum.rn32();
}

/// RN32 of the exact sum. float64 loses at most (count - 1) 2^-53 of the sum of magnitudes; twice that is allowed for
/// here, and what it leaves open is added exactly. No such sum overflows float64, so one that is not finite is IEEE's.
FP8REF_HD float routed_sum(const RoutedElements& values) {
  double sum = 0, magnitudes = 0;
  for (std::int64_t j = 0; j < values.count; ++j) {
    const double value = widen(values.value(j));
    sum = add64(sum, value);
    magnitudes = add64(magnitudes, std::fabs(value));
  }
  if (values.count == 1 || !(std::fabs(sum) < INFINITY)) return rn32(sum);  // 0 + -0 is +0 [SUM-ZERO]
  const double error = mul64(magnitudes, static_cast<double>(values.count) * 0x1p-52);
  const float low = rn32(sub64(sum, error)), high = rn32(add64(sum, error));
  return bit_cast<std::uint32_t>(low) == bit_cast<std::uint32_t>(high) ? low : routed_sum_exact(values);
}

/// RNbf(shared + RNbf(RN32(sum))). [COMBINE-SUM]
FP8REF_HD bf16 combine_output(const RoutedElements& values, bf16 shared) {
  return add(shared, rnbf(routed_sum(values)));
}

}  // namespace fp8ref
