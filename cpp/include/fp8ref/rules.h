// SPDX-License-Identifier: Apache-2.0
// The scale rules as data [QUANT-RULE]: each is a row of choices, and quantize.h knows what each choice means,
// rule_table.h has the rows. A library that changes its bits in a new version is one more row.
#pragma once

#include <string_view>

#include "fp8ref/platform.h"

namespace fp8ref {

/// Which elements share a scale: a row, all, 128 along a row, or 128 x 128.
enum class Granularity { row, tensor, group, block };
/// What amax makes of a NaN element.
enum class AmaxNan { ignored, propagates };
/// The type that a step rounds to; input: that of the tensor.
enum class Step { fp32, input, fp64 };
/// What the caller's upper bound is a bound of.
enum class Bound { none, amax, scale };
/// How the scale s, and the multiplier a of rules that have one, follow from amax. [QUANT-SCALE]
enum class ScaleOf {
  given,                         // s is the caller's
  given_multiplier,              // a is the caller's; s = 1/a
  amax_over_448,                 // s = amax / 448
  amax_times_reciprocal,         // s = amax * RN32(1/448)
  multiplier_448_over_amax,      // a = 448 / amax; s = 1/a
  multiplier_reciprocal_448,     // a = (1 / amax) * 448; s = 1/a
  reciprocal_and_448_over_amax,  // s = amax * RN32(1/448); a = 448 / amax
};
/// amax for which a is 1 whatever the formula says.
enum class UnitMultiplier { never, zero_or_infinite, not_positive };
/// What an infinite a becomes.
enum class InfiniteMultiplier { kept, one, largest_fp32, largest_input };
/// Powers of two in the place of a (down) or of s (up, nearest). [QUANT-UE8M0], [QUANT-LOG2]
enum class Power {
  none,
  down_bits,          // a: the mantissa cleared
  down_log2,          // a: 2^floor(RN32(log2 a))
  up_bits,            // s: the exponent, one more if the mantissa is not 0
  up_bits_finite,     // s: the same kept below the exponent of Inf and NaN, which become 2^127
  up_log2,            // s: 2^ceil(RN32(log2 s))
  up_log2_or_nan,     // s: the same as an E8M0 code, which has no infinity
  nearest_log2_input  // s: 2^round(RN_T(log2 s)), ties to even
};
/// What a scale of 0 becomes; epsilon: finfo(T).eps.
enum class ZeroScale { kept, epsilon };
/// The number y that is encoded. [QUANT-DIVIDE]
enum class Quotient {
  x_over_s,
  x_times_reciprocal,          // x * (1/s)
  x_times_guarded_reciprocal,  // the same with 0 for 1/0
  x_times_a,
};
/// The code of a NaN y: NaN, or what a clamp by fminf and fmaxf gives.
enum class NanCode { nan, largest, smallest };
/// -0: keeps its sign, or a zero point of +0 is added. [QUANT-MINUS-ZERO]
enum class MinusZero { kept, positive };
/// Rules that try several scales [QUANT-MSE].
enum class Search { none, mse };

struct Rule {
  std::string_view name;
  Granularity granularity;
  AmaxNan amax_nan = AmaxNan::ignored;
  Step amax_type = Step::fp32;  // of the floor and the bound
  double amax_floor = 0;
  float empty_amax = 0;  // of no elements [QUANT-EMPTY]
  Bound bound = Bound::none;
  ScaleOf scale = ScaleOf::amax_over_448;
  Step scale_type = Step::fp32;
  UnitMultiplier unit_multiplier = UnitMultiplier::never;
  InfiniteMultiplier infinite_multiplier = InfiniteMultiplier::kept;
  float scale_floor = 0;
  ZeroScale zero_scale = ZeroScale::kept;
  Power power = Power::none;
  Quotient quotient = Quotient::x_over_s;
  Step quotient_type = Step::fp32;
  NanCode nan_code = NanCode::nan;
  MinusZero minus_zero = MinusZero::kept;
  Search search = Search::none;

  FP8REF_HD constexpr bool takes_scale() const { return scale == ScaleOf::given || scale == ScaleOf::given_multiplier; }
};

}  // namespace fp8ref
