// SPDX-License-Identifier: Apache-2.0
// What the kernels that quantize share: maxima, factors, and codes of vectors (spec/quantize.md). Internal.
#pragma once

#include "cuda/packed.h"
#include "cuda/rows.h"
#include "fp8ref/quantize.h"

namespace fp8ref::cuda {

inline constexpr int kTile = 128;
template <class T>
inline constexpr int kWidth = 16 / static_cast<int>(sizeof(T));  // elements of a vector

// ---- maxima of magnitudes -------------------------------------------------------------------------------------------
// As bits of fp32: these order as the numbers do, and a NaN lies above infinity.

__device__ __forceinline__ int larger(int a, int b) { return a > b ? a : b; }
struct Larger {
  __device__ int operator()(int a, int b) const { return larger(a, b); }
};

template <class T>
__device__ __forceinline__ int magnitude_of(AmaxNan nan, T x) {
  const int magnitude = bit_cast<int>(widen(x)) & 0x7FFFFFFF;
  return nan == AmaxNan::ignored && magnitude > 0x7F800000 ? 0 : magnitude;
}

/// The maximum so far of a thread: fp32 bits, or two 16-bit numbers whose maxima the hardware takes as a pair.
template <class T>
class Amax {
 public:
  template <int n>
  __device__ __forceinline__ void add(AmaxNan nan, const Vector<T, n>& x) {
    if constexpr (sizeof(T) == 4 || n == 1) {
#pragma unroll
      for (int i = 0; i < n; ++i) value_ = larger(value_, magnitude_of(nan, x.item[i]));
    } else if (nan == AmaxNan::ignored) {
      add_pairs<AmaxNan::ignored>(x);
    } else {
      add_pairs<AmaxNan::propagates>(x);
    }
  }
  __device__ __forceinline__ int bits() const {
    if constexpr (sizeof(T) == 4) return value_;
    // A NaN among the pairs is there because it propagates.
    const AmaxNan nan = AmaxNan::propagates;
    return larger(value_, larger(magnitude_of(nan, low(pairs_)), magnitude_of(nan, high(pairs_))));
  }

 private:
  template <AmaxNan nan, int n>
  __device__ __forceinline__ void add_pairs(const Vector<T, n>& x) {
    struct Pairs {
      std::uint32_t pair[n / 2];
    };
    const Pairs pairs = bit_cast<Pairs>(x);
#pragma unroll
    for (int i = 0; i < n / 2; ++i) pairs_ = max2<T, nan>(pairs_, pairs.pair[i] & 0x7FFF7FFF);
  }
  __device__ static T low(std::uint32_t pair) { return bit_cast<T>(static_cast<Bits>(pair)); }
  __device__ static T high(std::uint32_t pair) { return bit_cast<T>(static_cast<Bits>(pair >> 16)); }
  using Bits = typename std::conditional<sizeof(T) == 4, std::uint32_t, std::uint16_t>::type;

  int value_ = 0;
  std::uint32_t pairs_ = 0;
};

// ---- factors and codes ----------------------------------------------------------------------------------------------
/// Out of line: it is long, and computed once for many elements.
template <class T>
__device__ __noinline__ Factors factors_of_bits(const Rule& rule, int amax, float upper) {
  return factors_of_amax<T>(rule, bit_cast<float>(amax), upper);
}

__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ float widened(bf16 x) { return widen(x); }

/// rounded_in<T> of each.
template <class T, int n>
__device__ __forceinline__ void round_all(float (&y)[n]) {
  if constexpr (sizeof(T) == 2) {
#pragma unroll
    for (int i = 0; i < n; i += 2) {
      const std::uint32_t pair = round2<T>(y[i], i + 1 < n ? y[i + 1] : 0.0f);
      y[i] = widened(low_half<T>(pair));
      if (i + 1 < n) y[i + 1] = widened(high_half<T>(pair));
    }
  }
}

/// What elements that share a scale are divided or multiplied by. reciprocal: of a divisor in the range where
/// quotient_of holds, else 0.
struct Divisor {
  float factor, reciprocal;
};
__device__ __forceinline__ Divisor divisor_of(const Rule& rule, float factor) {
  const bool usual = rule.quotient == Quotient::x_over_s && factor >= 0x1p-64f && factor <= 0x1p64f;
  return {factor, usual ? div32(1.0f, factor) : 0.0f};
}

/// RN32(x / s), or a number with the same code. The first quotient is within 2 units in the last place, the second
/// within 1; that the third is RN32(x / s) is Markstein's theorem: the remainder is exact, the reciprocal is RN32(1/s).
/// It holds while nothing is subnormal or infinite: below 2^-11 all codes are zeros, and from 512 on, where the first
/// quotient stays, all are 448. The signs of the remainders are such that a zero keeps its own.
__device__ __forceinline__ float quotient_of(float x, const Divisor& divisor) {
  const float first = mul32(x, divisor.reciprocal);
  const float second = fma32(-fma32(first, divisor.factor, -x), divisor.reciprocal, first);
  const float third = fma32(-fma32(second, divisor.factor, -x), divisor.reciprocal, second);
  return fabsf(first) < 512.0f ? third : first;
}

template <int n>
__device__ __forceinline__ Vector<e4m3, n> encode_all(const float (&y)[n]) {
  if constexpr (n == 1) {
    return bit_cast<Vector<e4m3, 1>>(static_cast<std::uint8_t>(encode2(y[0], 0.0f)));
  } else {
    struct Words {
      std::uint32_t word[n / 4];
    } words;
#pragma unroll
    for (int i = 0; i < n; i += 4) {
      words.word[i / 4] = encode2(y[i], y[i + 1]) | static_cast<std::uint32_t>(encode2(y[i + 2], y[i + 3])) << 16;
    }
    return bit_cast<Vector<e4m3, n>>(words);
  }
}

/// element_code of each, step by step: the rule's choices are branches that all threads take together, once per vector.
template <class T, int n>
__device__ __forceinline__ Vector<e4m3, n> codes_of(const Vector<T, n>& x, const Rule& rule, const Divisor& divisor) {
  float y[n];
  if (rule.quotient != Quotient::x_over_s) {
#pragma unroll
    for (int i = 0; i < n; ++i) y[i] = mul32(widened(x.item[i]), divisor.factor);
  } else if (divisor.reciprocal != 0) {
#pragma unroll
    for (int i = 0; i < n; ++i) y[i] = quotient_of(widened(x.item[i]), divisor);
  } else {
#pragma unroll
    for (int i = 0; i < n; ++i) y[i] = div32(widened(x.item[i]), divisor.factor);
  }
  if (rule.quotient_type == Step::input) round_all<T>(y);
  if (rule.minus_zero == MinusZero::positive) {
#pragma unroll
    for (float& value : y) value = add32(value, 0.0f);
  }
  // Of the clamps only what they make of a NaN is left to do: encode saturates.
  if (rule.nan_code == NanCode::largest) {
#pragma unroll
    for (float& value : y) value = fminf(value, kE4m3Max);
  } else if (rule.nan_code == NanCode::smallest) {
#pragma unroll
    for (float& value : y) value = fmaxf(value, -kE4m3Max);
  }
  return encode_all(y);
}

// ---- a row in registers ---------------------------------------------------------------------------------------------
/// Writes the codes of a row of T that a team holds in vectors V, and its scale. The scale of a rule that takes one is
/// read, not written: it is for all rows.
template <Team team, class T, class V>
__device__ __forceinline__ void quantize_held(const V (&held)[kHeld], std::int64_t row, int vectors, const Rule& rule,
                                              float upper, e4m3* codes, float* scales, Scratch<int, Factors>& scratch) {
  using Elements = Vector<T, kWidth<T>>;
  Factors factors;
  if (rule.takes_scale()) {
    factors = factors_of_given(rule, *scales);
  } else {
    Amax<T> amax;
    each_held<team>(vectors, [&](int j, int) { amax.add(rule.amax_nan, bit_cast<Elements>(held[j])); });
    factors = team_reduce<team>(amax.bits(), scratch, 0, Larger{},
                                [&](int bits) { return factors_of_bits<T>(rule, bits, upper); });
    if (team_thread<team>() == 0) scales[row] = factors.scale;
  }
  const Divisor divisor = divisor_of(rule, factors.factor);
  e4m3* out = codes + row * vectors * kWidth<T>;
  each_held<team>(
      vectors, [&](int j, int v) { store(codes_of(bit_cast<Elements>(held[j]), rule, divisor), out + v * kWidth<T>); });
}

}  // namespace fp8ref::cuda
