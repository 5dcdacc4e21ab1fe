// SPDX-License-Identifier: Apache-2.0
// What the tests of this folder share: random inputs, and comparison by bits. The memory of the emulated device is that
// of the host, so vectors serve both backends.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "fp8ref/platform.h"
#include "simt.h"

namespace fp8ref::test {

using Random = std::mt19937_64;

template <class T>
std::vector<T> random_bits(Random& random, std::int64_t n) {
  std::vector<T> values(static_cast<std::size_t>(n));
  for (T& value : values) {
    const std::uint64_t bits = random();
    std::memcpy(&value, &bits, sizeof value);
  }
  return values;
}

/// Codes that are no NaN.
inline std::vector<e4m3> random_codes(Random& random, std::int64_t n) {
  std::vector<e4m3> codes = random_bits<e4m3>(random, n);
  for (e4m3& code : codes) code.bits = (code.bits & 0x7F) == 0x7F ? 0 : code.bits;
  return codes;
}

/// bf16 numbers of normal distribution.
inline std::vector<bf16> random_normal(Random& random, std::int64_t n, float sigma = 1.0f) {
  std::normal_distribution<float> normal(0, sigma);
  std::vector<bf16> values(static_cast<std::size_t>(n));
  for (bf16& value : values) {
    const float x = normal(random);
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    value.bits = static_cast<std::uint16_t>(bits >> 16);
  }
  return values;
}

template <class T>
bool is_nan_bits(T value);
template <>
inline bool is_nan_bits(float value) {
  return value != value;
}
template <>
inline bool is_nan_bits(bf16 value) {
  return (value.bits & 0x7FFF) > 0x7F80;
}
template <>
inline bool is_nan_bits(fp16 value) {
  return (value.bits & 0x7FFF) > 0x7C00;
}
template <>
inline bool is_nan_bits(e4m3 value) {
  return (value.bits & 0x7F) == 0x7F;
}
template <>
inline bool is_nan_bits(std::int64_t) {
  return false;
}

/// Every element has the same bits, or both are NaN [NAN-CANONICAL].
template <class T>
void equal(const std::string& what, const std::vector<T>& expected, const std::vector<T>& got) {
  std::size_t different = 0, first = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::memcmp(&expected[i], &got[i], sizeof(T)) == 0) continue;
    if (is_nan_bits(expected[i]) && is_nan_bits(got[i])) continue;
    if (different++ == 0) first = i;
  }
  check(different == 0 && expected.size() == got.size(), what + ": " + std::to_string(different) + " of " +
                                                             std::to_string(expected.size()) +
                                                             " differ, the first at " + std::to_string(first));
}

/// The test with the threads of a block in both orders.
template <class Test>
void in_both_orders(const Test& test) {
  for (const simt::Order order : {simt::Order::ascending, simt::Order::descending}) {
    simt::set_order(order);
    test();
  }
  simt::set_order(simt::Order::ascending);
}

}  // namespace fp8ref::test
