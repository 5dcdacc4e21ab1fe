// SPDX-License-Identifier: Apache-2.0
// Correctly rounded values of real functions by GNU MPFR, the outside judge of the elementary functions.
#pragma once

#include <mpfr.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "fp8ref/platform.h"

namespace fp8ref::test {

/// How often a real function was evaluated by MPFR, in all threads.
inline std::atomic<std::int64_t> evaluations{0};

/// A number of MPFR with its memory.
class Real {
 public:
  explicit Real(mpfr_prec_t precision = 256) { mpfr_init2(value_, precision); }
  ~Real() { mpfr_clear(value_); }
  Real(const Real&) = delete;
  Real& operator=(const Real&) = delete;
  operator mpfr_ptr() { return value_; }  // NOLINT: it is passed to MPFR's functions

 private:
  mpfr_t value_;
};

/// RN32 of the real number that `evaluate(precision, result)` rounds to so many bits, with an error below 2^3 units of
/// the last. Where that does not decide, it is asked again for twice the bits. Values must not be midpoints, or must
/// be exact at 256 bits.
template <class Evaluate>
float rn32_of(const Evaluate& evaluate) {
  for (mpfr_prec_t precision = 256;; precision *= 2) {
    if (precision > 1 << 16) std::abort();
    Real value(precision), low(precision), high(precision);
    ++evaluations;
    if (evaluate(precision, value) == 0) return mpfr_get_flt(value, MPFR_RNDN);  // exact
    mpfr_set(low, value, MPFR_RNDN);
    mpfr_set(high, value, MPFR_RNDN);
    for (int i = 0; i < 8; ++i) {
      mpfr_nextbelow(low);
      mpfr_nextabove(high);
    }
    const float below = mpfr_get_flt(low, MPFR_RNDN), above = mpfr_get_flt(high, MPFR_RNDN);
    if (bit_cast<std::uint32_t>(below) == bit_cast<std::uint32_t>(above)) return below;
  }
}

/// One of MPFR's functions of one argument.
using Function = int (*)(mpfr_t, const mpfr_t, mpfr_rnd_t);

/// RN32(function(x)).
inline float rn32_of(Function function, float x) {
  return rn32_of([&](mpfr_prec_t, mpfr_ptr value) {
    Real argument(24);
    mpfr_set_flt(argument, x, MPFR_RNDN);
    return function(value, argument, MPFR_RNDN);
  });
}

/// RN32(x / (1 + exp(-x))).
inline float silu_of(float x) {
  if (x < -1e6f) return -0.0f;  // exp(-x) may leave MPFR's range; the result is far below 2^-150
  return rn32_of([&](mpfr_prec_t precision, mpfr_ptr value) {
    Real power(precision);
    mpfr_set_flt(value, -x, MPFR_RNDN);
    mpfr_exp(power, value, MPFR_RNDN);
    mpfr_add_ui(power, power, 1, MPFR_RNDN);
    mpfr_set_flt(value, x, MPFR_RNDN);
    mpfr_div(value, value, power, MPFR_RNDN);
    return x == 0 ? 0 : 1;  // three roundings: less than 4 units
  });
}

/// RN32(factor / (1 + exp(-x))).
inline float sigmoid_of(float x, double factor) {
  if (x < -1e6f) return 0.0f;  // as above
  return rn32_of([&](mpfr_prec_t precision, mpfr_ptr value) {
    Real power(precision);
    mpfr_set_flt(value, -x, MPFR_RNDN);
    mpfr_exp(power, value, MPFR_RNDN);
    mpfr_add_ui(power, power, 1, MPFR_RNDN);
    mpfr_set_d(value, factor, MPFR_RNDN);
    return mpfr_div(value, value, power, MPFR_RNDN) == 0 && x == 0 ? 0 : 1;
  });
}

/// RNbf(factor * tanh(x)), widened: 8 bits of any exponent are RNbf where the result is normal, or x itself.
inline float tanh_of(float x, double factor) {
  ++evaluations;
  Real value(256), narrow(8);
  mpfr_set_flt(value, x, MPFR_RNDN);
  mpfr_tanh(value, value, MPFR_RNDN);
  mpfr_mul_d(value, value, factor, MPFR_RNDN);
  mpfr_set(narrow, value, MPFR_RNDN);
  return mpfr_get_flt(narrow, MPFR_RNDN);
}

/// RN32(ln(1 + n)) for 1 <= n < 2^128: no such value is subnormal, so 24 bits of any exponent will do.
inline float log1p_of(float n) {
  ++evaluations;
  Real value(24);
  mpfr_set_flt(value, n, MPFR_RNDN);
  mpfr_log1p(value, value, MPFR_RNDN);
  return mpfr_get_flt(value, MPFR_RNDN);
}

/// The magnitude pattern of RN8(|x|), x finite; 0x7F where it is above 448: MPFR's own rounding to nearest, even.
inline std::uint32_t rn8_of(float x) {
  ++evaluations;
  Real value(24), unit(24);
  mpfr_set_flt(value, x < 0 ? -x : x, MPFR_RNDN);
  if (mpfr_zero_p(static_cast<mpfr_ptr>(value))) return 0;
  const mpfr_exp_t exponent =
      mpfr_get_exp(static_cast<mpfr_ptr>(value)) - 1;  // value in [2^exponent, 2^(exponent + 1))
  const mpfr_exp_t quantum = (exponent < -6 ? -6 : exponent) - 3;
  mpfr_mul_2si(unit, value, -quantum, MPFR_RNDN);
  mpfr_rint(unit, unit, MPFR_RNDN);  // nearest integer, ties to even
  const long kept = mpfr_get_si(unit, MPFR_RNDN);
  const std::int64_t pattern = (quantum + 9) * 8 + kept;  // a carry runs into the exponent
  return pattern > 0x7E ? 0x7F : static_cast<std::uint32_t>(pattern);
}

/// 2^fraction rounded to 8 significant bits, times 2^7; 0 <= fraction <= 1 is t - floor(t).
inline int power_of(float t) {
  ++evaluations;
  Real fraction(256), power(8);
  mpfr_set_flt(fraction, t, MPFR_RNDN);
  Real whole(256);
  mpfr_floor(whole, fraction);
  mpfr_sub(fraction, fraction, whole, MPFR_RNDN);  // exact: at most 150 bits
  mpfr_exp2(power, fraction, MPFR_RNDN);
  mpfr_mul_2si(power, power, 7, MPFR_RNDN);
  return static_cast<int>(mpfr_get_si(power, MPFR_RNDN));
}

}  // namespace fp8ref::test
