// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/rope.md: frequencies (host), correctly rounded cosines and sines, the rotation.
#pragma once

#include <cmath>
#include <cstdint>
#include <numeric>

#include "fp8ref/bf16.h"
#include "fp8ref/fixed.h"
#include "fp8ref/natural.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"
#include "fp8ref/settle.h"
#include "fp8ref/wide.h"

namespace fp8ref {

// ---- frequencies ----------------------------------------------------------------------------------------------------

/// base^(p/q) against a midpoint tau, exactly: base^p against tau^q.
struct PowerCompare {
  double base;
  std::int64_t p, q;

  int sign(double tau) const {
    const OddParts b = odd_parts(base), t = odd_parts(tau);
    const Natural left = Natural(b.significand).power(p), right = Natural(t.significand).power(q);
    const std::int64_t shift = b.exponent * p - t.exponent * q;
    return shift >= 0 ? left.shifted_left(shift).compare(right) : left.compare(right.shifted_left(-shift));
  }
};

/// RN32(base^(p/q)) of the exact rational exponent, 0 <= p/q < 1, base > 0 and finite. [ROPE-POWER]
inline float rope_power(double base, std::int64_t p, std::int64_t q) {
  const std::int64_t common = std::gcd(p, q);
  // The rounding of p/q costs |ln(base) p/q| units, pow itself a few.
  const double error = (16 + std::fabs(std::log(base))) * 0x1p-52;
  const Bracket range = bracket(std::pow(base, static_cast<double>(p) / static_cast<double>(q)), error);
  return range.closed() ? range.low : settle(range, PowerCompare{base, p / common, q / common});
}

/// RN32(1 / RN32(base^(2i/head_dim))). [ROPE-FREQUENCIES]
inline float rope_frequency(std::int64_t head_dim, double base, std::int64_t i) {
  return div32(1.0f, rope_power(base, 2 * i, head_dim));
}

/// The frequencies of Llama 3.1 and later; every operation rounds to fp32. [ROPE-LLAMA3]
FP8REF_HD float rope_llama3(float inv, float factor, float low, float high, float original) {
  constexpr float kTwoPi = 0x1.921fb6p+2f;  // RN32(2 pi)
  const float wavelength = mul32(div32(1.0f, inv), kTwoPi);
  if (wavelength > div32(original, low)) return div32(inv, factor);
  if (wavelength < div32(original, high) || low == high) return inv;
  const float smooth = div32(sub32(mul32(div32(1.0f, wavelength), original), low), sub32(high, low));
  const float scaled = div32(mul32(sub32(1.0f, smooth), inv), factor);
  return canonical(add32(scaled, mul32(smooth, inv)));
}

// ---- cosines and sines ----------------------------------------------------------------------------------------------

struct CosSin {
  float cos, sin;
};

/// RN32(position * inv), 0 <= position < 2^24. [ROPE-ANGLE]
FP8REF_HD float rope_angle(std::int64_t position, float inv) { return mul32(static_cast<float>(position), inv); }

/// floor(2^448 * 2/pi) and floor(2^192 * pi/2).
FP8REF_HD Wide<8> two_over_pi() {
  return {{0xFE1DEB1CB129A73E, 0x06492EEA09D1921C, 0xB7246E3A424DD2E0, 0xFE5163ABDEBBC561, 0xDB6295993C439041,
           0xFC2757D1F534DDC0, 0xA2F9836E4E441529, 0}};
}
FP8REF_HD Wide<4> half_pi() { return {{0x52049C1114CF98E8, 0x898CC51701B839A2, 0x921FB54442D18469, 1}}; }

/// cos and sin of 2^-12 <= |x| < 2^128 with an error below 2^-183, rounded to fp32. No such value is nearer to a
/// midpoint than 2^-100 of itself (tests/backends/test_rope.py looks at all of them) or below 2^-40, so these are RN32.
FP8REF_HD CosSin cos_sin_fixed(float x) {
  const std::uint32_t u = bit_cast<std::uint32_t>(x);
  const int exponent = static_cast<int>((u >> 23) & 0xFF) - 150;
  // The number of quarter turns, 192 fraction bits: the product is off by less than 2^-320, the shift by 2^-192.
  Wide<8> turns = two_over_pi();
  turns.multiply((u & 0x7FFFFF) | 0x800000);
  turns.shift_right(256 - exponent);
  const std::uint64_t quadrant = turns.limb[3];
  Wide<4> fraction{{turns.limb[0], turns.limb[1], turns.limb[2], 0}};
  const bool mirrored = (fraction.limb[2] >> 63) != 0;  // beyond pi/4: measure from the next axis
  if (mirrored) {
    Wide<4> rest = fixed_one<4>();
    rest.subtract(fraction);
    fraction = rest;
  }
  const FixedSinCos<4> value = fixed_sin_cos(fixed_multiply(fraction, half_pi()));
  const float sine = wide_rn32(value.sin, -192), cosine = wide_rn32(value.cos, -192);
  const bool swapped = mirrored != ((quadrant & 1) != 0);
  const float c = swapped ? sine : cosine, s = swapped ? cosine : sine;
  const bool cos_negative = ((quadrant + 1) & 2) != 0, sin_negative = ((quadrant & 2) != 0) != ((u >> 31) != 0);
  return {cos_negative ? -c : c, sin_negative ? -s : s};
}

/// RN32(cos(x)) and RN32(sin(x)) from float64 functions trusted to a relative `error`. [ROPE-TABLE]
FP8REF_HD CosSin cos_sin_within(float x, double error) {
  const float nan = bit_cast<float>(kNan32), magnitude = std::fabs(x);
  if (is_nan(x) || is_inf(x)) return {nan, nan};
  // Below 2^-12 neither 1 - cos(x) < x^2 / 2 nor |x - sin(x)| < |x|^3 / 6 reaches half of the distance to the
  // neighbour.
  if (magnitude < 0x1p-12f) return {1.0f, x};
  const double c = std::cos(static_cast<double>(x)), s = std::sin(static_cast<double>(x));
  const Bracket cosine = bracket(std::fabs(c), error), sine = bracket(std::fabs(s), error);
  if (!cosine.closed() || !sine.closed()) return cos_sin_fixed(x);
  return {c < 0 ? -cosine.low : cosine.low, s < 0 ? -sine.low : sine.low};
}

/// cos and sin are trusted to 8 units of float64.
FP8REF_HD CosSin cos_sin(float x) { return cos_sin_within(x, 0x1p-49); }

// ---- rotation -------------------------------------------------------------------------------------------------------

/// (x, y) = (x[i], x[i + d/2]) becomes RNbf(RNbf(x c) - RNbf(y s)), RNbf(RNbf(y c) + RNbf(x s)). [ROPE-ROTATE]
FP8REF_HD void rope_rotate(bf16 c, bf16 s, bf16& x, bf16& y) {
  const bf16 turned = subtract(multiply(x, c), multiply(y, s));
  y = add(multiply(y, c), multiply(x, s));
  x = turned;
}

/// (x, y) = (x[2i], x[2i + 1]) times c + i s in fp32, each product and each sum rounded, then to bf16.
/// [ROPE-INTERLEAVED]
FP8REF_HD void rope_interleaved(float c, float s, bf16& x, bf16& y) {
  const float a = widen(x), b = widen(y);
  x = rnbf(sub32(mul32(a, c), mul32(b, s)));
  y = rnbf(add32(mul32(a, s), mul32(b, c)));
}

}  // namespace fp8ref
