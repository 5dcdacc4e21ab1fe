// SPDX-License-Identifier: Apache-2.0
// Loops over elements that the scale rules share: maxima, and codes of one choice of factors. Internal.
// Maxima are taken on the bits of magnitudes: these order as the numbers do, a NaN lies above infinity, and an integer
// maximum is the same in any order.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "fp8ref/quantize.h"
#include "parallel.h"

namespace fp8ref::cpu {

inline constexpr std::int64_t kQuantizeGrain = 1 << 15;

/// The largest magnitude from 0, as bits of fp32.
template <AmaxNan nan, class T>
std::int32_t largest_magnitude(const T* x, std::int64_t n) {
  constexpr std::int32_t kInfinity = 0x7F800000;
  std::int32_t largest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t magnitude = bit_cast<std::int32_t>(widen(x[i])) & 0x7FFFFFFF;
    largest = std::max(largest, nan == AmaxNan::ignored && magnitude > kInfinity ? 0 : magnitude);
  }
  return largest;
}
template <class T>
std::int32_t largest_magnitude(AmaxNan nan, const T* x, std::int64_t n) {
  return nan == AmaxNan::ignored ? largest_magnitude<AmaxNan::ignored>(x, n)
                                 : largest_magnitude<AmaxNan::propagates>(x, n);
}

/// amax of a whole tensor.
template <class T>
float tensor_amax(AmaxNan nan, const T* x, std::int64_t n) {
  std::atomic<std::int32_t> largest{0};
  parallel_for(n, kQuantizeGrain, [&](std::int64_t begin, std::int64_t end) {
    const std::int32_t mine = largest_magnitude(nan, x + begin, end - begin);
    std::int32_t seen = largest.load();
    while (seen < mine && !largest.compare_exchange_weak(seen, mine)) {
    }
  });
  return bit_cast<float>(largest.load());
}

/// codes[i] = the code of x[i] by a factor. One function for each kind of element code, chosen once per array.
template <class T>
using Encoder = void (*)(const T* x, std::int64_t n, float factor, e4m3* codes);

template <class T, int kind>
void encode_elements(const T* x, std::int64_t n, float factor, e4m3* codes) {
  for (std::int64_t i = 0; i < n; ++i) codes[i] = element_code_of_kind<T, kind>(widen(x[i]), factor);
}

template <class T, int... kinds>
Encoder<T> encoder_of(int kind, std::integer_sequence<int, kinds...>) {
  static constexpr Encoder<T> table[] = {encode_elements<T, kinds>...};
  return table[kind];
}
template <class T>
Encoder<T> encoder_of(const Rule& rule) {
  return encoder_of<T>(element_kind(rule), std::make_integer_sequence<int, kElementKinds>());
}

/// One factor for all elements.
template <class T>
void encode_all(Encoder<T> encode, const T* x, std::int64_t n, float factor, e4m3* codes) {
  parallel_for(n, kQuantizeGrain,
               [&](std::int64_t begin, std::int64_t end) { encode(x + begin, end - begin, factor, codes + begin); });
}

/// Rules that search for the scale (cpp/quantize_mse.cpp).
template <class T>
void quantize_mse(const T* x, std::int64_t rows, std::int64_t cols, const Rule& rule, e4m3* codes, float* scale);

}  // namespace fp8ref::cpu
