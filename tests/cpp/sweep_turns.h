// SPDX-License-Identifier: Apache-2.0
// All cosines and sines of fp32 numbers in minutes. The numbers of a binade are x0 + k u, u their distance. MPFR gives
// cos and sin of every 256th one and of k u for k < 256; the addition theorem gives the rest in float64, with an error
// bound; and where that leaves RN32 open, MPFR is asked for the number itself.
#pragma once

#include <cmath>
#include <memory>

#include "fp8ref/rope.h"
#include "sweep.h"

namespace fp8ref::test {

inline constexpr std::uint32_t kPiece = 256;       // inputs for one anchor
inline constexpr std::uint32_t kBinade = 1 << 23;  // patterns with one exponent

/// RN64 of cos and sin of x.
struct Turn {
  double cos = 1, sin = 0;

  static Turn of(double x) {
    ++evaluations;
    Real argument(53), cosine(53), sine(53);
    mpfr_set_d(argument, x, MPFR_RNDN);
    mpfr_sin_cos(sine, cosine, argument, MPFR_RNDN);
    return {mpfr_get_d(cosine, MPFR_RNDN), mpfr_get_d(sine, MPFR_RNDN)};
  }
};

/// The turns by k u of a binade.
struct Steps {
  Turn turn[kPiece];

  explicit Steps(double unit) {
    for (std::uint32_t k = 0; k < kPiece; ++k) turn[k] = Turn::of(k * unit);  // exact: k has 8 bits
  }
};

/// Whether RN32 of the real number x y + z w has the bits of `result`; -1 where float64 does not tell. All four are
/// within 2^-53 of themselves; the two products and the addition add as much again, in all less than 2^-50.
inline int verdict(double x, double y, double z, double w, float result) {
  const double first = x * y, second = z * w, error = 0x1p-50 * (std::fabs(first) + std::fabs(second));
  const double value = first + second;
  const float low = static_cast<float>(value - error), high = static_cast<float>(value + error);
  return bits_of(low) != bits_of(high) ? -1 : bits_of(low) == bits_of(result);
}

/// The inputs part.first .. part.last, at most kPiece of one binade, and their negatives.
template <class Function>
void check_turns(Range part, const Steps& steps, Tally& tally, const Function& function) {
  const Turn anchor = Turn::of(float_of(part.first));
  for (std::uint32_t bits = part.first; bits <= part.last; ++bits) {
    const float x = float_of(bits);
    const CosSin found = function(x), mirrored = function(-x);
    const Turn& step = steps.turn[bits - part.first];
    int cosine = verdict(anchor.cos, step.cos, -anchor.sin, step.sin, found.cos);
    int sine = verdict(anchor.sin, step.cos, anchor.cos, step.sin, found.sin);
    if (cosine < 0) cosine = bits_of(rn32_of(mpfr_cos, x)) == bits_of(found.cos);
    if (sine < 0) sine = bits_of(rn32_of(mpfr_sin, x)) == bits_of(found.sin);
    tally.see(cosine == 1 && bits_of(mirrored.cos) == bits_of(found.cos), "cos", bits);
    tally.see(sine == 1 && bits_of(mirrored.sin) == (bits_of(found.sin) ^ 0x80000000), "sin", bits);
    tally.inputs += 2;
  }
}

/// All normal numbers from `first`, a power of two, to the largest, and their negatives.
template <class Function>
Tally sweep_turns(std::uint32_t first, const Function& function) {
  Tally total;
  for (std::uint32_t start = first; start < 0x7F800000; start += kBinade) {
    const double unit = static_cast<double>(float_of(start + 1)) - static_cast<double>(float_of(start));
    const auto steps = std::make_unique<Steps>(unit);
    total.add(in_pieces({start, start + kBinade - 1}, kPiece,
                        [&](Range part, Tally& tally) { check_turns(part, *steps, tally, function); }));
  }
  return total;
}

}  // namespace fp8ref::test
