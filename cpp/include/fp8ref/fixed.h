// SPDX-License-Identifier: Apache-2.0
// Elementary functions in fixed point: Wide<W> with 64 * (W - 1) fraction bits, non-negative. They are what decides
// where float64 does not, so each states an absolute error; they are written to be short and certain, not to be fast.
#pragma once

#include <cstdint>

#include "fp8ref/platform.h"
#include "fp8ref/wide.h"

namespace fp8ref {

template <int W>
FP8REF_HD Wide<W> fixed_one() {
  Wide<W> one;
  one.limb[W - 1] = 1;
  return one;
}

/// floor(a * b) in units of the last bit.
template <int W>
FP8REF_HD Wide<W> fixed_multiply(const Wide<W>& a, const Wide<W>& b) {
  std::uint32_t digits[4 * W] = {};
  for (int i = 0; i < 2 * W; ++i) {
    const std::uint64_t x = (a.limb[i / 2] >> (i % 2 * 32)) & 0xFFFFFFFF;
    std::uint64_t carry = 0;
    for (int j = 0; j < 2 * W; ++j) {
      const std::uint64_t y = (b.limb[j / 2] >> (j % 2 * 32)) & 0xFFFFFFFF;
      carry += x * y + digits[i + j];  // at most (2^32 - 1)^2 + 2 * (2^32 - 1): no wrap
      digits[i + j] = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
    digits[i + 2 * W] = static_cast<std::uint32_t>(carry);
  }
  Wide<W> product;
  for (int i = 0; i < W; ++i) {
    const int first = 2 * (W - 1) + 2 * i;
    product.limb[i] = digits[first] | (static_cast<std::uint64_t>(digits[first + 1]) << 32);
  }
  return product;
}

/// floor(a / divisor).
template <int W>
FP8REF_HD Wide<W> fixed_divide(Wide<W> a, std::uint32_t divisor) {
  std::uint64_t rest = 0;
  for (int i = W - 1; i >= 0; --i) {
    const std::uint64_t high = (rest << 32) | (a.limb[i] >> 32);
    const std::uint64_t low = ((high % divisor) << 32) | (a.limb[i] & 0xFFFFFFFF);
    a.limb[i] = ((high / divisor) << 32) | (low / divisor);
    rest = low % divisor;
  }
  return a;
}

template <int W>
struct FixedSinCos {
  Wide<W> sin, cos;
};

/// Sine and cosine of an angle in [0, pi/4] by Taylor's series: fewer than 64 terms, each off by at most 3 units, so
/// the error is below 2^8 units of the last bit.
template <int W>
FP8REF_HD FixedSinCos<W> fixed_sin_cos(const Wide<W>& angle) {
  static_assert(W <= 4);
  const Wide<W> square = fixed_multiply(angle, angle);
  Wide<W> even = fixed_one<W>(), odd = angle;
  FixedSinCos<W> sum{odd, even};
  for (std::uint32_t n = 2; !even.zero(); n += 2) {
    even = fixed_divide(fixed_multiply(even, square), (n - 1) * n);
    odd = fixed_divide(fixed_multiply(odd, square), n * (n + 1));
    if (n % 4 == 2) {
      sum.cos.subtract(even);
      sum.sin.subtract(odd);
    } else {
      sum.cos.add(even);
      sum.sin.add(odd);
    }
  }
  return sum;
}

/// exp(-m * 2^exponent) for 0 < m * 2^exponent < 2^7, exponent >= -133: Taylor's series of 2^-12 of the argument (fewer
/// than 64 terms, each off by at most 2 units), then 12 squarings, each of which at most doubles the error and adds a
/// unit. The error is below 2^20 units of the last bit.
template <int W>
FP8REF_HD Wide<W> fixed_exp_minus(std::uint32_t m, int exponent) {
  static_assert(W >= 4 && W <= 8);
  constexpr int kHalvings = 12;
  Wide<W> x, term = fixed_one<W>(), sum = term;
  x.add_shifted(m, 64 * (W - 1) + exponent - kHalvings, false);
  for (std::uint32_t n = 1; !term.zero(); ++n) {
    term = fixed_divide(fixed_multiply(term, x), n);
    if (n % 2 == 1) {
      sum.subtract(term);
    } else {
      sum.add(term);
    }
  }
  for (int i = 0; i < kHalvings; ++i) sum = fixed_multiply(sum, sum);
  return sum;
}

}  // namespace fp8ref
