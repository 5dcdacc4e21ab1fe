// SPDX-License-Identifier: Apache-2.0
// Exact sums: a fixed-width two's complement integer, and a fixed-point accumulator of bf16 products on top of it.
// These are the exact fallbacks of the operations, so they are written to be short and certain, not to be fast.
#pragma once

#include <cstdint>

#include "fp8ref/platform.h"
#include "fp8ref/round.h"

namespace fp8ref {

/// A two's complement integer of W limbs of 64 bits, least significant first. Arithmetic wraps; choose W large enough.
template <int W>
struct Wide {
  static_assert(W >= 2);
  std::uint64_t limb[W] = {};

  FP8REF_HD bool negative() const { return (limb[W - 1] >> 63) != 0; }

  FP8REF_HD bool zero() const {
    std::uint64_t any = 0;
    for (int i = 0; i < W; ++i) any |= limb[i];
    return any == 0;
  }

  /// -1, 0 or 1.
  FP8REF_HD int sign() const { return negative() ? -1 : (zero() ? 0 : 1); }

  FP8REF_HD void add(const Wide& other) {
    std::uint64_t carry = 0;
    for (int i = 0; i < W; ++i) {
      const std::uint64_t partial = limb[i] + carry;
      carry = partial < carry;
      limb[i] = partial + other.limb[i];
      carry += limb[i] < partial;
    }
  }

  FP8REF_HD void subtract(const Wide& other) {
    std::uint64_t borrow = 0;
    for (int i = 0; i < W; ++i) {
      const std::uint64_t partial = limb[i] - borrow;
      borrow = limb[i] < borrow;
      limb[i] = partial - other.limb[i];
      borrow += partial < other.limb[i];
    }
  }

  FP8REF_HD void negate() {
    Wide result;
    result.subtract(*this);
    *this = result;
  }

  /// Adds (or subtracts) magnitude * 2^shift, 0 <= shift < 64 * W.
  FP8REF_HD void add_shifted(std::uint64_t magnitude, int shift, bool subtracted) {
    const int first = shift / 64, offset = shift % 64;
    const std::uint64_t high = offset == 0 ? 0 : magnitude >> (64 - offset);
    std::uint64_t part = magnitude << offset, carry = 0;
    for (int i = first; i < W; ++i) {
      const std::uint64_t before = limb[i];
      const std::uint64_t step = part + carry;  // the second part is below 2^63: no wrap where carry is 1
      limb[i] = subtracted ? before - step : before + step;
      carry = subtracted ? before < step : limb[i] < before;
      part = i == first ? high : 0;
      if (part == 0 && carry == 0) return;
    }
  }

  /// Multiplies by 2^shift, shift >= 0.
  FP8REF_HD void shift_left(int shift) {
    const int limbs = shift / 64, offset = shift % 64;
    for (int i = W - 1; i >= 0; --i) {
      const std::uint64_t low = i - limbs >= 0 ? limb[i - limbs] : 0;
      const std::uint64_t below = i - limbs >= 1 ? limb[i - limbs - 1] : 0;
      limb[i] = offset == 0 ? low : (low << offset) | (below >> (64 - offset));
    }
  }

  /// Divides by 2^shift, toward minus infinity.
  FP8REF_HD void shift_right(int shift) {
    const int limbs = shift / 64, offset = shift % 64;
    const std::uint64_t fill = negative() ? ~std::uint64_t{0} : 0;
    for (int i = 0; i < W; ++i) {
      const std::uint64_t low = i + limbs < W ? limb[i + limbs] : fill;
      const std::uint64_t above = i + limbs + 1 < W ? limb[i + limbs + 1] : fill;
      limb[i] = offset == 0 ? low : (low >> offset) | (above << (64 - offset));
    }
  }

  /// Multiplies by a small factor.
  FP8REF_HD void multiply(std::uint32_t factor) {
    std::uint64_t carry = 0;
    for (int i = 0; i < W; ++i) {
      const std::uint64_t low = (limb[i] & 0xFFFFFFFF) * factor + carry;
      const std::uint64_t high = (limb[i] >> 32) * factor + (low >> 32);
      limb[i] = (high << 32) | (low & 0xFFFFFFFF);
      carry = high >> 32;
    }
  }

  /// Bits of a non-negative value up to its highest set one.
  FP8REF_HD int length() const {
    for (int i = W - 1; i >= 0; --i) {
      if (limb[i] != 0) return 64 * i + bit_length(limb[i]);
    }
    return 0;
  }

  /// The sign of this - other, for values whose difference does not wrap.
  FP8REF_HD int compare(const Wide& other) const {
    Wide difference = *this;
    difference.subtract(other);
    return difference.sign();
  }
};

/// value * 2^exponent rounded once to T (float, bf16, fp16), as bits with the sign. Zero gives +0; a non-zero value
/// that underflows keeps its sign; overflow gives infinity.
template <class T, int W>
FP8REF_HD std::uint32_t wide_bits(Wide<W> value, int exponent) {
  constexpr std::uint32_t kSign = sizeof(T) == 4 ? 0x80000000 : 0x8000;
  const bool negative = value.negative();
  if (negative) value.negate();
  const int excess = value.length() - 64;  // bits below the top 64
  std::uint64_t top = value.limb[0];
  if (excess > 0) {
    Wide<W> high = value;
    high.shift_right(excess);
    top = high.limb[0];
    high.shift_left(excess);
    top |= high.compare(value) != 0;
    exponent += excess;
  }
  return nearest_bits<T>(top, exponent) | (negative ? kSign : 0);
}

/// RN32(value * 2^exponent).
template <int W>
FP8REF_HD float wide_rn32(const Wide<W>& value, int exponent) {
  return bit_cast<float>(wide_bits<float>(value, exponent));
}

/// A finite bf16 as sign, integer magnitude below 2^8, and exponent: value = +-magnitude * 2^exponent.
struct Bf16Parts {
  bool negative;
  std::uint32_t magnitude;
  int exponent;
};
FP8REF_HD Bf16Parts parts(bf16 x) {
  const int field = (x.bits >> 7) & 0xFF;
  const std::uint32_t fraction = x.bits & 0x7F;
  return {x.bits >= 0x8000, field == 0 ? fraction : fraction | 0x80, (field == 0 ? 1 : field) - 134};
}

/// The exact sum of products of finite bf16 numbers and of finite fp32 numbers: fixed point with quantum 2^-266 (the
/// smallest product of two subnormals) and 9 limbs, which holds 2^52 products below 2^256.
class ExactSum {
 public:
  static constexpr int kExponent = -266;

  FP8REF_HD void add_product(bf16 a, bf16 b) {
    const Bf16Parts x = parts(a), y = parts(b);
    const std::uint32_t product = x.magnitude * y.magnitude;
    if (product != 0) sum_.add_shifted(product, x.exponent + y.exponent - kExponent, x.negative != y.negative);
  }

  FP8REF_HD void add(float x) {
    const std::uint32_t u = bit_cast<std::uint32_t>(x);
    const int field = static_cast<int>((u >> 23) & 0xFF);
    const std::uint32_t fraction = u & 0x7FFFFF;
    const std::uint32_t magnitude = field == 0 ? fraction : fraction | 0x800000;
    if (magnitude != 0) sum_.add_shifted(magnitude, (field == 0 ? 1 : field) - 150 - kExponent, (u >> 31) != 0);
  }

  FP8REF_HD void add(const ExactSum& other) { sum_.add(other.sum_); }

  FP8REF_HD bool zero() const { return sum_.zero(); }

  /// RN32 of the sum; an exact zero is +0.
  FP8REF_HD float rn32() const { return wide_rn32(sum_, kExponent); }

 private:
  Wide<9> sum_;
};

}  // namespace fp8ref
