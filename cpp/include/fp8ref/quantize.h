// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/quantize.md: what each choice of a rule (rules.h) means for one scale and for one element,
// and dequantize. T is the type of the tensor (float, bf16, fp16); steps of type `input` round to it.
#pragma once

#include <cstdint>
#include <limits>

#include "fp8ref/e4m3.h"
#include "fp8ref/log2.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"
#include "fp8ref/rules.h"

namespace fp8ref {

/// A step of fp32 rounded to T. For a quotient of two values of T this is one rounding in effect: fp32 has more than
/// twice the significant bits of bf16 and fp16, subnormals included, so it never lands on a midpoint that the quotient
/// missed. Products of two values of T are exact in fp32, but for bf16 ones so small that their code is 0 anyway.
template <class T>
FP8REF_HD float rounded_in(float x);
template <>
FP8REF_HD float rounded_in<float>(float x) {
  return x;
}
template <>
FP8REF_HD float rounded_in<bf16>(float x) {
  return widen(rnbf(x));
}
template <>
FP8REF_HD float rounded_in<fp16>(float x) {
  return widen(rn16(x));
}
template <class T>
FP8REF_HD float rounded_in(Step type, float x) {
  return type == Step::input ? rounded_in<T>(x) : x;
}

/// finfo(T).eps.
template <class T>
FP8REF_HD float epsilon() {
  return exp2_of<float>(1 - Format<T>::kPrecision);
}
/// The largest finite number of T.
template <class T>
FP8REF_HD float largest() {
  return from_pattern<T>(Format<T>::kOverflow - 1);
}

inline constexpr float kReciprocal448 = 1.0f / 448.0f;

// ---- one scale ------------------------------------------------------------------------------------------------------
/// The scale that is stored, and what the elements are divided or multiplied by.
struct Factors {
  float scale, factor;
};

/// amax with the floor and the bound of the rule, in fp64 (exact). A NaN stays.
template <class T>
FP8REF_HD double limited_amax(const Rule& rule, float amax, float upper) {
  double x = amax, floor = rule.amax_floor;
  if (rule.amax_type != Step::fp64) floor = rounded_in<T>(rule.amax_type, static_cast<float>(floor));
  if (x < floor) x = floor;
  if (rule.bound == Bound::amax) {
    const double bound = rounded_in<T>(rule.amax_type, upper);
    if (x > bound) x = bound;
  }
  return x;
}

/// The multiplier a of the rules that have one.
template <class T>
FP8REF_HD float multiplier_of(const Rule& rule, double amax) {
  const float narrow = static_cast<float>(amax);
  float a;
  if (rule.scale != ScaleOf::multiplier_reciprocal_448) {
    a = div32(kE4m3Max, narrow);
  } else if (rule.scale_type == Step::fp64) {
    a = rn32(mul64(div64(1.0, amax), 448.0));
  } else {
    a = rounded_in<T>(rule.scale_type, mul32(rounded_in<T>(rule.scale_type, div32(1.0f, narrow)), kE4m3Max));
  }
  const bool dead =
      rule.unit_multiplier == UnitMultiplier::zero_or_infinite ? amax == 0 || is_inf(narrow) : !(amax > 0);
  if (rule.unit_multiplier != UnitMultiplier::never && dead) a = 1;
  if (is_inf(a) && rule.infinite_multiplier != InfiniteMultiplier::kept) {
    a = rule.infinite_multiplier == InfiniteMultiplier::one            ? 1.0f
        : rule.infinite_multiplier == InfiniteMultiplier::largest_fp32 ? largest<float>()
                                                                       : largest<T>();
  }
  if (rule.power == Power::down_bits) return power_below(a);
  return rule.power == Power::down_log2 ? power_by_log2<float>(a, ToInteger::down) : a;
}

/// The power of two in the place of s, where the rule has one. [QUANT-UE8M0], [QUANT-LOG2]
template <class T>
FP8REF_HD float power_of(Power power, float s) {
  switch (power) {
    case Power::none:
    case Power::down_bits:
    case Power::down_log2:
      return s;
    case Power::up_bits:
      return power_above(s);
    case Power::up_bits_finite:
      return is_inf(s) || is_nan(s) ? 0x1p127f : power_above(s);
    case Power::up_log2:
      return power_above_by_log2(s);
    case Power::up_log2_or_nan: {
      const float up = power_above_by_log2(s);
      return is_inf(up) ? bit_cast<float>(kNan32) : up;
    }
    case Power::nearest_log2_input:
      return power_by_log2<T>(s, ToInteger::nearest);
  }
  return s;
}

/// What the elements are divided or multiplied by, of the final scale s and the multiplier a.
FP8REF_HD Factors with_factor(const Rule& rule, float s, float a) {
  switch (rule.quotient) {
    case Quotient::x_over_s:
      return {canonical(s), s};
    case Quotient::x_times_reciprocal:
      return {canonical(s), div32(1.0f, s)};
    case Quotient::x_times_guarded_reciprocal:
      return {canonical(s), s == 0 ? 0.0f : div32(1.0f, s)};
    case Quotient::x_times_a:
      break;
  }
  return {canonical(s), a};
}

/// amax: the largest magnitude from 0, NaN if the rule says so; upper: the caller's bound, or Inf.
template <class T>
FP8REF_HD Factors factors_of_amax(const Rule& rule, float amax, float upper) {
  const double limited = limited_amax<T>(rule, amax, upper);
  float s, a = 0;
  switch (rule.scale) {
    case ScaleOf::multiplier_448_over_amax:
    case ScaleOf::multiplier_reciprocal_448:
      a = multiplier_of<T>(rule, limited);
      s = div32(1.0f, a);
      break;
    case ScaleOf::reciprocal_and_448_over_amax:
      a = multiplier_of<T>(rule, limited);
      s = mul32(static_cast<float>(limited), kReciprocal448);
      break;
    case ScaleOf::amax_times_reciprocal:
      s = mul32(static_cast<float>(limited), kReciprocal448);
      break;
    default:
      s = rounded_in<T>(rule.scale_type, div32(static_cast<float>(limited), kE4m3Max));
  }
  if (rule.bound == Bound::scale && s > upper) s = upper;
  if (s < rule.scale_floor) s = rule.scale_floor;  // a NaN stays
  if (s == 0 && rule.zero_scale == ZeroScale::epsilon) s = epsilon<T>();
  return with_factor(rule, power_of<T>(rule.power, s), a);
}

/// For rules whose scale or multiplier is the caller's.
FP8REF_HD Factors factors_of_given(const Rule& rule, float given) {
  if (rule.scale == ScaleOf::given_multiplier) return with_factor(rule, div32(1.0f, given), given);
  return with_factor(rule, given, 0);
}

// ---- one element ----------------------------------------------------------------------------------------------------
/// fmaxf(-448, fminf(y, 448)): NaN becomes 448.
FP8REF_HD float clamp_nan_to_largest(float y) { return y < kE4m3Max ? (y > -kE4m3Max ? y : -kE4m3Max) : kE4m3Max; }
/// fminf(fmaxf(y, -448), 448): NaN becomes -448.
FP8REF_HD float clamp_nan_to_smallest(float y) { return y > -kE4m3Max ? (y < kE4m3Max ? y : kE4m3Max) : -kE4m3Max; }

/// The code of x, of what Factors says. The choices are arguments of the template, so that loops hold none of them.
template <class T, bool divides, Step type, NanCode nan_code, MinusZero minus_zero>
FP8REF_HD e4m3 element_code(float x, float factor) {
  float y = divides ? div32(x, factor) : mul32(x, factor);
  if (type == Step::input) y = rounded_in<T>(y);
  if (minus_zero == MinusZero::positive) y = add32(y, 0.0f);
  if (nan_code == NanCode::largest) y = clamp_nan_to_largest(y);
  if (nan_code == NanCode::smallest) y = clamp_nan_to_smallest(y);
  return encode(y, Overflow::saturate);
}

/// A choice of the template's arguments as a number below kElementKinds.
inline constexpr int kElementKinds = 24;
FP8REF_HD constexpr int element_kind(const Rule& rule) {
  return (rule.quotient == Quotient::x_over_s ? 12 : 0) + (rule.quotient_type == Step::input ? 6 : 0) +
         2 * static_cast<int>(rule.nan_code) + static_cast<int>(rule.minus_zero);
}
template <class T, int kind>
FP8REF_HD e4m3 element_code_of_kind(float x, float factor) {
  return element_code<T, kind / 12 == 1, kind / 6 % 2 == 1 ? Step::input : Step::fp32,
                      static_cast<NanCode>(kind / 2 % 3), static_cast<MinusZero>(kind % 2)>(x, factor);
}

/// RN32(code * scale), before the rounding to the output type.
FP8REF_HD float dequantize(e4m3 code, float scale) { return canonical(mul32(decode(code), scale)); }

}  // namespace fp8ref
