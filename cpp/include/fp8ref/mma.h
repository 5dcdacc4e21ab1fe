// SPDX-License-Identifier: Apache-2.0
// Scalar semantics of spec/mma.md: steps of tensor cores and chains of them, every unit a row of numbers.
#pragma once

#include <cstdint>

#include "fp8ref/operand.h"
#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

// ---- units ----------------------------------------------------------------------------------------------------------
/// What the exact sum of a step becomes [MMA-RESULT]: fp32 numbers of 14 or 24 significant bits, toward zero, or fp16
/// to nearest even.
enum class Conversion { e8m13, fp32, fp16 };
/// `rewritten`: FP8 as fp16, of 32 products those with k % 4 < 2 first, the accumulator added last [MMA-REWRITE].
enum class Order { chain, rewritten };

/// The numbers of a step [MMA-STEP]: products of one step, fraction bits below the largest exponent that are kept,
/// result, and the least that the largest exponent counts as.
struct TensorCore {
  int block, fraction_bits;
  Conversion result;
  int floor;
  Order order = Order::chain;

  friend constexpr bool operator==(const TensorCore&, const TensorCore&) = default;
};

struct Unit {
  Accumulate name;
  OperandClass operands;
  TensorCore core;
};

inline constexpr int kUnits = 28;
struct UnitTable {
  Unit rows[kUnits];
};

/// The table of [MMA-UNITS].
FP8REF_HD constexpr UnitTable unit_table() {
  using enum Accumulate;
  constexpr OperandClass kFp8 = OperandClass::fp8, kBf16 = OperandClass::bf16, kFp16 = OperandClass::fp16;
  constexpr TensorCore kAmpere{8, 24, Conversion::fp32, -132}, kAmpereHalf{8, 24, Conversion::fp16, -20};
  constexpr TensorCore kHopper{16, 25, Conversion::fp32, -133}, kHopperHalf{16, 25, Conversion::fp16, -21};
  constexpr TensorCore kBlackwell{32, 25, Conversion::fp32, -133}, kBlackwellHalf{32, 25, Conversion::fp16, -21};
  return {{
      {sm80_mma, kBf16, kAmpere},
      {sm80_mma, kFp16, kAmpere},
      {sm80_mma, kFp16, kAmpereHalf},
      {sm89_mma, kBf16, kAmpere},
      {sm89_mma, kFp16, kAmpere},
      {sm89_mma, kFp16, kAmpereHalf},
      {sm89_mma, kFp8, {16, 13, Conversion::e8m13, -132}},
      {sm89_mma, kFp8, {16, 13, Conversion::fp16, -20}},
      {sm90_mma_sync, kBf16, kHopper},
      {sm90_mma_sync, kFp16, kHopper},
      {sm90_mma_sync, kFp16, kHopperHalf},
      {sm90_mma_sync, kFp8, {16, 25, Conversion::fp32, -133, Order::rewritten}},
      {sm90_mma_sync, kFp8, {16, 25, Conversion::fp16, -21, Order::rewritten}},
      {sm90_wgmma, kBf16, kHopper},
      {sm90_wgmma, kFp16, kHopper},
      {sm90_wgmma, kFp16, kHopperHalf},
      {sm90_wgmma, kFp8, {32, 13, Conversion::e8m13, -133}},
      {sm90_wgmma, kFp8, {32, 13, Conversion::fp16, -21}},
      {sm100_tcgen05, kBf16, kHopper},
      {sm100_tcgen05, kFp16, kHopper},
      {sm100_tcgen05, kFp16, kHopperHalf},
      {sm100_tcgen05, kFp8, kBlackwell},
      {sm100_tcgen05, kFp8, kBlackwellHalf},
      {sm120_mma, kBf16, kHopper},
      {sm120_mma, kFp16, kHopper},
      {sm120_mma, kFp16, kHopperHalf},
      {sm120_mma, kFp8, kBlackwell},
      {sm120_mma, kFp8, kBlackwellHalf},
  }};
}

/// The unit whose chains an accumulator is made of [MMA-PROMOTE].
FP8REF_HD constexpr Accumulate unit_of(Accumulate accumulate) {
  return accumulate == Accumulate::sm90_wgmma_promoted ? Accumulate::sm90_wgmma : accumulate;
}

/// The core of a unit for such operands and results; block is 0 where the unit has none.
FP8REF_HD constexpr TensorCore tensor_core(Accumulate name, OperandClass operands, OutDtype out) {
  const UnitTable table = unit_table();
  for (const Unit& unit : table.rows) {
    const bool half = unit.core.result == Conversion::fp16;
    if (unit.name == name && unit.operands == operands && half == (out == OutDtype::float16)) return unit.core;
  }
  return {};
}

// ---- results --------------------------------------------------------------------------------------------------------
/// The types of accumulators: fp32 (E8M13 as well) and fp16.
template <class R>
FP8REF_HD R mma_nan();  // [MMA-SPECIAL]
template <>
FP8REF_HD float mma_nan<float>() {
  return bit_cast<float>(0x7FFFFFFF);
}
template <>
FP8REF_HD fp16 mma_nan<fp16>() {
  return fp16{0x7FFF};
}

template <class R>
FP8REF_HD R register_of(std::uint32_t magnitude, bool negative);
template <>
FP8REF_HD float register_of(std::uint32_t magnitude, bool negative) {
  return bit_cast<float>(magnitude | (negative ? 0x80000000 : 0));
}
template <>
FP8REF_HD fp16 register_of(std::uint32_t magnitude, bool negative) {
  return fp16{static_cast<std::uint16_t>(magnitude | (negative ? 0x8000 : 0))};
}

/// A step's sum, an integer times 2^(exponent - fraction_bits), as the next accumulator; zero is +0 [MMA-RESULT].
template <class R>
FP8REF_HD R tensor_core_result(const TensorCore& core, std::int64_t sum, int exponent) {
  const bool negative = sum < 0;
  std::uint64_t magnitude = static_cast<std::uint64_t>(negative ? -sum : sum);
  const int scale = exponent - core.fraction_bits;
  if (core.result != Conversion::fp16) {  // cut to what fp32 holds; past the top the result is infinite all the same
    const int significant_bits = core.result == Conversion::e8m13 ? 14 : 24;
    const int top_drop = bit_length(magnitude) - significant_bits;
    const int bottom_drop = -126 - (significant_bits - 1) - scale;  // the quantum of subnormal results
    const int drop = top_drop > bottom_drop ? top_drop : bottom_drop;
    if (drop >= 64) return register_of<R>(0, false);
    if (drop > 0) magnitude = (magnitude >> drop) << drop;
  }
  const std::uint32_t bits = nearest_bits<R>(magnitude, scale);
  return register_of<R>(bits, negative && bits != 0);
}

/// RN(x + y) in the type of the accumulator [MMA-REWRITE].
FP8REF_HD float add_registers(float x, float y) {
  const float sum = add32(x, y);
  return is_nan(sum) ? mma_nan<float>() : sum;
}
FP8REF_HD fp16 add_registers(fp16 x, fp16 y) {
  const double sum = add64(widen(x), widen(y));  // exact: multiples of 2^-24 below 2^17
  return sum != sum ? mma_nan<fp16>() : rn16(sum);
}

// ---- steps ----------------------------------------------------------------------------------------------------------
/// The infinities and NaNs among the terms of a sum, and the result that they force [MMA-SPECIAL].
class Specials {
 public:
  template <class A, class B>
  FP8REF_HD void add_product(A a, B b) {
    const Kind x = kind(a), y = kind(b);
    if (x < Kind::infinite && y < Kind::infinite) return;
    nan_ |= x == Kind::nan || y == Kind::nan || x == Kind::zero || y == Kind::zero;
    infinite_[sign_bit(a) != sign_bit(b)] = true;
  }

  template <class R>
  FP8REF_HD void add(R c) {
    nan_ |= kind(c) == Kind::nan;
    if (kind(c) == Kind::infinite) infinite_[sign_bit(c)] = true;
  }

  FP8REF_HD bool any() const { return nan_ || infinite_[0] || infinite_[1]; }

  template <class R>
  FP8REF_HD R result() const {
    if (nan_ || (infinite_[0] && infinite_[1])) return mma_nan<R>();
    return register_of<R>(Format<R>::kOverflow, infinite_[1]);
  }

 private:
  bool nan_ = false;
  bool infinite_[2] = {false, false};  // +Inf, -Inf
};

/// significand * 2^shift cut toward zero, for results below 2^62.
FP8REF_HD std::int64_t cut(std::int64_t significand, int shift) {
  const std::int64_t magnitude = significand < 0 ? -significand : significand;
  const std::int64_t kept = shift >= 0 ? magnitude << shift : (shift > -63 ? magnitude >> -shift : 0);
  return significand < 0 ? -kept : kept;
}

/// One step over `count` <= core.block products and the accumulator [MMA-STEP].
template <class A, class B, class R>
FP8REF_HD R tensor_core_step(const TensorCore& core, const A* a, const B* b, int count, R c) {
  Specials specials;
  for (int k = 0; k < count; ++k) specials.add_product(a[k], b[k]);
  specials.add(c);
  if (specials.any()) return specials.result<R>();

  const Factor accumulator = factor(c);
  int largest = core.floor;
  if (accumulator.significand != 0 && accumulator.exponent > largest) largest = accumulator.exponent;
  for (int k = 0; k < count; ++k) {
    const Factor x = factor(a[k]), y = factor(b[k]);
    const int exponent = x.exponent + y.exponent;
    if (x.significand != 0 && y.significand != 0 && exponent > largest) largest = exponent;
  }
  constexpr int kProductFraction = Encoding<A>::kFraction + Encoding<B>::kFraction;
  const int to_grid = core.fraction_bits - largest;
  std::int64_t sum = 0;
  if (accumulator.significand != 0) {
    sum = cut(accumulator.significand, accumulator.exponent + to_grid - Encoding<R>::kFraction);
  }
  for (int k = 0; k < count; ++k) {
    const Factor x = factor(a[k]), y = factor(b[k]);
    const std::int64_t product = x.significand * y.significand;
    if (product != 0) sum += cut(product, x.exponent + y.exponent + to_grid - kProductFraction);
  }
  return tensor_core_result<R>(core, sum, largest);
}

/// 32 products of FP8 as two steps of 16 from +0, and the accumulator after them; codes beyond `count` are 0
/// [MMA-REWRITE].
template <class A, class B, class R>
FP8REF_HD R rewritten_step(const TensorCore& core, const A* a, const B* b, int count, R c) {
  fp16 left[2][16] = {}, right[2][16] = {};
  for (int k = 0; k < count; ++k) {
    left[k % 4 / 2][k / 4 * 2 + k % 2] = to_fp16(a[k]);
    right[k % 4 / 2][k / 4 * 2 + k % 2] = to_fp16(b[k]);
  }
  R sum = register_of<R>(0, false);
  for (int part = 0; part < 2; ++part) sum = tensor_core_step(core, left[part], right[part], 16, sum);
  return add_registers(sum, c);
}

/// One chain over k elements from c [MMA-CHAIN]; without any, it is c.
template <class A, class B, class R>
FP8REF_HD R tensor_core_chain(const TensorCore& core, const A* a, const B* b, std::int64_t k, R c) {
  const int depth = core.order == Order::rewritten ? 2 * core.block : core.block;
  for (std::int64_t i = 0; i < k; i += depth) {
    const int count = static_cast<int>(k - i < depth ? k - i : depth);
    if constexpr (sizeof(A) == 1) {
      c = core.order == Order::rewritten ? rewritten_step(core, a + i, b + i, count, c)
                                         : tensor_core_step(core, a + i, b + i, count, c);
    } else {
      c = tensor_core_step(core, a + i, b + i, count, c);
    }
  }
  return c;
}

// ---- matrix products ------------------------------------------------------------------------------------------------
inline constexpr int kMmaTile = 128;  // elements of k of a promotion, and the grain of split-K

/// Elements of k of each of `split_k` parts but the last: whole tiles [MMA-SPLIT-K].
FP8REF_HD std::int64_t split_depth(std::int64_t k, std::int64_t split_k) {
  const std::int64_t tiles = (k + kMmaTile - 1) / kMmaTile;
  return (tiles / split_k + (tiles % split_k != 0)) * kMmaTile;
}

/// The accumulator over one part of K: one chain, or a chain for every tile and fp32 additions [MMA-PROMOTE].
template <class A, class B>
FP8REF_HD float part_accumulator(const A* a, const B* b, std::int64_t k, Accumulate accumulate) {
  const TensorCore core = tensor_core(unit_of(accumulate), Encoding<A>::kClass, OutDtype::float32);
  if (accumulate != Accumulate::sm90_wgmma_promoted) return tensor_core_chain(core, a, b, k, 0.0f);
  float sum = 0;
  for (std::int64_t i = 0; i < k; i += kMmaTile) {
    sum = add_registers(sum, tensor_core_chain(core, a + i, b + i, k - i < kMmaTile ? k - i : kMmaTile, 0.0f));
  }
  return sum;
}

/// The accumulator of two rows by any unit but `exact`; parts of K are added in order [MMA-SPLIT-K].
template <class A, class B>
FP8REF_HD float mma_accumulate(const A* a, const B* b, std::int64_t k, Accumulate accumulate, std::int64_t split_k) {
  const std::int64_t depth = split_depth(k, split_k);
  float sum = part_accumulator(a, b, depth < k ? depth : k, accumulate);
  for (std::int64_t i = depth; i < k; i += depth) {
    sum = add_registers(sum, part_accumulator(a + i, b + i, depth < k - i ? depth : k - i, accumulate));
  }
  return sum;
}

}  // namespace fp8ref
