// SPDX-License-Identifier: Apache-2.0
// The scale rules: logarithms and powers against longer arithmetic, known answers, loops against the scalar functions.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

#include "fp8ref/cpu.h"
#include "fp8ref/mse.h"
#include "fp8ref/quantize.h"
#include "quantize_loops.h"

namespace {

using namespace fp8ref;

long failures = 0;

void check(bool held, const char* what, long long detail) {
  if (held) return;
  ++failures;
  std::fprintf(stderr, "failed: %s (%lld)\n", what, detail);
}

std::uint32_t bits(float x) { return bit_cast<std::uint32_t>(x); }

/// What fixed_log2 rests on: no significand but 1 has a logarithm so little above a unit that its squares' cuts matter.
/// The long double of x86 has 64 bits; a shorter one could not tell.
void test_every_significand() {
  static_assert(sizeof(long double) > 8);
  long double nearest = 1;
  for (std::uint32_t i = 1; i < 1u << 23; ++i) {
    const float x = bit_cast<float>(0x3F800000 | i);
    const long double units = std::ldexp(std::log2(static_cast<long double>(x)), FixedLog2::kFraction);
    const FixedLog2 log2 = fixed_log2(x);
    check(!log2.exact && log2.units == static_cast<std::int64_t>(units), "log2 of a significand", i);
    nearest = std::min(nearest, units - std::floor(units));
  }
  check(std::ldexp(nearest, -FixedLog2::kFraction) > 0x1p-50L, "the nearest logarithm above a unit", 0);
}

void test_powers() {
  for (int n = -149; n < 128; ++n) {
    const float power = std::ldexp(1.0f, n);
    check(fixed_log2(power).exact && fixed_log2(power).units == n * (1ll << FixedLog2::kFraction), "log2", n);
    check(power_by_log2<float>(power, ToInteger::up) == power, "up from a power", n);
    check(power_by_log2<float>(power, ToInteger::down) == power, "down from a power", n);
  }
  // One float above 2^-8 has a logarithm that rounds to -8, two above 2^-10, five above 2^-20.
  for (const auto& [n, lost] : {std::pair(-8, 1), {-10, 2}, {-20, 5}}) {
    float x = std::ldexp(1.0f, n);
    for (int i = 1; i <= lost + 1; ++i) {
      x = std::nextafter(x, 1.0f);
      const int expected = i <= lost ? n : n + 1;
      check(power_by_log2<float>(x, ToInteger::up) == std::ldexp(1.0f, expected), "lost by log2", n);
      check(power_above(x) == std::ldexp(1.0f, n + 1), "not lost by bits", n);
    }
  }
  for (std::uint32_t u = 1; u < 0x7F800000; u += 4093) {
    const float x = bit_cast<float>(u), near = bit_cast<float>((u & 0x7F800000) | u % 80);
    check(power_above_by_log2(x) == power_by_log2<float>(x, ToInteger::up), "the short way up", u);
    check(power_above_by_log2(near) == power_by_log2<float>(near, ToInteger::up), "the short way up, near", u);
  }
  // RNbf(log2 x) is 8.5, a tie that goes to the even 8, for x up to 2^(8.5 + 1/32); then 9.
  check(power_by_log2<bf16>(0x1.7p8f, ToInteger::nearest) == 0x1p8f, "a tie of bf16", 0);
  check(power_by_log2<bf16>(0x1.74p8f, ToInteger::nearest) == 0x1p9f, "above a tie of bf16", 0);
  check(power_by_log2<float>(0x1.7p8f, ToInteger::nearest) == 0x1p9f, "no tie of fp32", 0);
  check(power_by_log2<fp16>(0x1p-24f, ToInteger::nearest) == 0x1p-24f, "the least of fp16", 0);
}

/// d^e from doubles against long double, and the exact decision where doubles leave two candidates.
template <class T>
void test_mse_power(std::uint32_t step) {
  const long double exponent =
      std::ldexp(static_cast<long double>(MseExponent<T>::kNumerator), -MseExponent<T>::kShift);
  for (std::uint32_t u = 1; u < Format<T>::kOverflow; u += step) {
    const float d = from_pattern<T>(u);
    const long double power = std::pow(static_cast<long double>(d), exponent);
    const float result = mse_power<T>(d);
    const float below = widen(round_to<T>(static_cast<double>(power * (1 - 0x1p-40L))));
    const float above = widen(round_to<T>(static_cast<double>(power * (1 + 0x1p-40L))));
    check(below <= result && result <= above, "d^2.4", u);
    const double near = approximate_power<T>(d);
    const float low = widen(round_to<T>(near * (1 - 0x1p-45))), high = widen(round_to<T>(near * (1 + 0x1p-45)));
    check(sizeof(T) == 4 || low == high, "16 bits need no logarithm", u);
    check(std::abs(near - power) <= 0x1p-46L * power, "approximate d^2.4", u);
  }
}

/// The nearest to a midpoint of all floats, and its neighbourhood of candidates, decided by long double too.
void test_mse_power_decides() {
  std::mt19937_64 random(5);
  for (int round = 0; round < 2000; ++round) {
    const float d = bit_cast<float>(static_cast<std::uint32_t>(random() % 0x7E000000) + 0x00800000);
    const long double exponent = std::ldexp(static_cast<long double>(MseExponent<float>::kNumerator), -21);
    const long double power = std::pow(static_cast<long double>(d), exponent);
    for (const long double shift : {-0x1p-44L, 0x1p-44L}) {
      const auto middle = static_cast<double>(power * (1 + shift));
      if (middle > 0 && std::isfinite(middle)) {
        check(power_exceeds<float>(d, middle) == (shift < 0), "d^2.4 beside a number", round);
      }
    }
  }
}

/// Every rule's loops over tiles with tails against its scalar functions and against one element at a time.
template <class T>
void test_rule(const Rule& rule, std::mt19937_64& random) {
  const std::int64_t rows = 131, cols = 140;
  std::vector<T> x(static_cast<std::size_t>(rows * cols));
  for (T& value : x) value = round_to<T>(static_cast<double>(static_cast<std::int64_t>(random() % 2001) - 1000) / 7);
  const bool rowwise = rule.granularity == Granularity::row, all = rule.granularity == Granularity::tensor;
  const std::int64_t height = all ? rows : rule.granularity == Granularity::block ? 128 : 1;
  const std::int64_t width = all || rowwise ? cols : 128;
  const std::int64_t across = (cols + width - 1) / width, down = (rows + height - 1) / height;
  std::vector<float> scales(static_cast<std::size_t>(across * down), 0.37f);
  std::vector<e4m3> codes(x.size());
  const cpu::Encoder<T> encode = cpu::encoder_of<T>(rule);
  cpu::quantize(x.data(), rows, cols, rule, codes.data(), scales.data(), 77.0f);
  for (std::int64_t tile = 0; tile < across * down; ++tile) {
    const std::int64_t top = tile / across * height, left = tile % across * width;
    const std::int64_t bottom = std::min(top + height, rows), right = std::min(left + width, cols);
    float amax = 0;
    for (std::int64_t i = top; i < bottom; ++i) {
      for (std::int64_t j = left; j < right; ++j)
        amax = std::max(amax, std::abs(widen(x[static_cast<std::size_t>(i * cols + j)])));
    }
    const Factors factors = rule.takes_scale() ? factors_of_given(rule, 0.37f) : factors_of_amax<T>(rule, amax, 77.0f);
    check(bits(scales[static_cast<std::size_t>(tile)]) == bits(factors.scale), rule.name.data(), tile);
    for (std::int64_t i = top; i < bottom; ++i) {
      for (std::int64_t j = left; j < right; ++j) {
        e4m3 alone;
        encode(&x[static_cast<std::size_t>(i * cols + j)], 1, factors.factor, &alone);
        check(codes[static_cast<std::size_t>(i * cols + j)].bits == alone.bits, rule.name.data(), i * cols + j);
      }
    }
  }
}

void test_rules() {
  std::mt19937_64 random(9);
  for (const Rule& rule : kRules) {
    if (rule.search != Search::none) continue;
    test_rule<float>(rule, random);
    test_rule<bf16>(rule, random);
    test_rule<fp16>(rule, random);
    check(find_rule(rule.name) == &rule, "a name twice", &rule - kRules);
  }
  check(find_rule("vllm.per_tok") == nullptr, "an unknown name", 0);
}

}  // namespace

int main() {
  test_every_significand();
  test_powers();
  test_mse_power<bf16>(1);
  test_mse_power<fp16>(1);
  test_mse_power<float>(1009);
  test_mse_power_decides();
  test_rules();
  if (failures == 0) return EXIT_SUCCESS;
  std::fprintf(stderr, "%ld failures\n", failures);
  return EXIT_FAILURE;
}
