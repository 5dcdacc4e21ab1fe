// SPDX-License-Identifier: Apache-2.0
// Correct rounding to fp32 of a real number that is not to be had exactly [ROUND-CERTIFY]: float64 gives a bracket that
// holds the result; where its ends differ, exact comparisons of the real number with midpoints decide.
#pragma once

#include <cstdint>

#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

/// The result lies in [low, high]; 0 <= low <= high.
struct Bracket {
  float low, high;

  FP8REF_HD bool closed() const { return bit_cast<std::uint32_t>(low) == bit_cast<std::uint32_t>(high); }
};

/// RN32 of all real numbers within the relative distance `error` of y >= 0. The error has room for two roundings.
FP8REF_HD Bracket bracket(double y, double error) { return {rn32(mul64(y, 1 - error)), rn32(mul64(y, 1 + error))}; }

/// RN32 of a real number r whose bracket is given. compare.sign(tau) is the sign of r - tau, exactly, for a midpoint
/// tau of two neighbours of the bracket; at 2^128, the neighbour of the largest number is infinity.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable  // a comparison may be for the host only
#endif
template <class Compare>
FP8REF_HD float settle(const Bracket& bracket, const Compare& compare) {
  std::uint32_t low = bit_cast<std::uint32_t>(bracket.low), high = bit_cast<std::uint32_t>(bracket.high);
  while (low < high) {
    const std::uint32_t below = low + (high - low) / 2;
    const double upper = below + 1 == 0x7F800000 ? 0x1p128 : static_cast<double>(bit_cast<float>(below + 1));
    const int sign = compare.sign(0.5 * (static_cast<double>(bit_cast<float>(below)) + upper));
    if (sign > 0 || (sign == 0 && (below & 1) != 0)) {
      low = below + 1;
    } else {
      high = below;
    }
  }
  return bit_cast<float>(low);
}

/// A positive double as significand * 2^exponent, the significand odd.
struct OddParts {
  std::uint64_t significand;
  int exponent;
};
FP8REF_HD OddParts odd_parts(double x) {
  const std::uint64_t u = bit_cast<std::uint64_t>(x);
  const int field = static_cast<int>((u >> 52) & 0x7FF);
  const std::uint64_t fraction = u & 0x000FFFFFFFFFFFFF;
  OddParts p{field == 0 ? fraction : fraction | 0x0010000000000000, (field == 0 ? 1 : field) - 1075};
  while ((p.significand & 1) == 0) {
    p.significand >>= 1;
    ++p.exponent;
  }
  return p;
}

}  // namespace fp8ref
