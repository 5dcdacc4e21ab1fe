// SPDX-License-Identifier: Apache-2.0
// The scalar headers against known answers and against the array loops, which get their results in other ways.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "fp8ref/attention_unit.h"
#include "fp8ref/cpu.h"
#include "fp8ref/linear.h"
#include "fp8ref/modes.h"
#include "fp8ref/scaled_mm.h"
#include "fp8ref/wide.h"

namespace {

using namespace fp8ref;

long failures = 0;

void check(bool held, const char* what, long long detail) {
  if (held) return;
  ++failures;
  std::fprintf(stderr, "failed: %s (%lld)\n", what, detail);
}

std::uint32_t bits(float x) { return bit_cast<std::uint32_t>(x); }

/// Integers of two limbs against the compiler's, and their rounding against that of doubles.
void test_wide(std::mt19937_64& random) {
  for (int round = 0; round < 20000; ++round) {
    const auto x = static_cast<std::int64_t>(random()) >> (random() % 60);
    const auto y = static_cast<std::int64_t>(random()) >> (random() % 60);
    auto wide = [](std::int64_t value) {
      Wide<3> result;
      result.add_shifted(value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value), 0,
                         value < 0);
      return result;
    };
    Wide<3> sum = wide(x), product = wide(x), shifted = wide(x);
    sum.add(wide(y));
    sum.subtract(wide(x));
    check(sum.compare(wide(y)) == 0, "x + y - x", round);
    check(wide(x).compare(wide(y)) == (x < y ? -1 : x > y), "compare", round);
    product.multiply(10);
    for (int i = 0; i < 9; ++i) product.subtract(wide(x));
    check(product.compare(wide(x)) == 0, "10 x - 9 x", round);
    const int shift = static_cast<int>(random() % 120);
    shifted.shift_left(shift);
    check(bits(wide_rn32(shifted, -shift)) == bits(static_cast<float>(x)), "RN32 of an integer", x);
    shifted.shift_right(shift);
    check(shifted.compare(wide(x)) == 0, "shifts", shift);
  }
}

/// RN32 of sums of three terms: a midpoint of fp32 and what lies far below decides.
void test_exact_sum() {
  const bf16 one{0x3F80}, half_ulp{0x3380}, tiny{0x0001}, minus_tiny{0x8001};  // 1, 2^-24, +-2^-133
  ExactSum above, below, tie, nothing;
  for (ExactSum* sum : {&above, &below, &tie}) {
    sum->add_product(one, one);
    sum->add_product(one, half_ulp);
  }
  above.add_product(tiny, tiny);
  below.add_product(tiny, minus_tiny);
  check(bits(above.rn32()) == 0x3F800001, "above a midpoint", 0);
  check(bits(below.rn32()) == 0x3F800000, "below a midpoint", 0);
  check(bits(tie.rn32()) == 0x3F800000, "a tie", 0);
  check(bits(nothing.rn32()) == 0, "nothing", 0);
  below.add(-1.0f);
  below.add(-0x1p-24f);
  check(bits(below.rn32()) == 0x80000000, "underflow keeps its sign", 0);
  check(bits(rn32_sum(0x1.000001p0, 0x1p-80)) == 0x3F800001, "a pair above a midpoint", 0);
  check(bits(rn32_sum(0x1.000001p0, -0x1p-80)) == 0x3F800000, "a pair below a midpoint", 0);
}

/// fp64 to every narrower format, by both roundings of round.h.
template <class T>
void test_rounding(std::mt19937_64& random) {
  for (int round = 0; round < 20000; ++round) {
    const std::uint64_t significand = (random() | 0x8000000000000000) >> 11 >> (random() % 40);
    const int exponent = static_cast<int>(random() % 200) - 200;
    const double x = std::ldexp(static_cast<double>(significand), exponent);
    check(magnitude_bits<T>(x) == nearest_bits<T>(significand, exponent), "rounding", round);
  }
}

void test_scaled_mm(std::mt19937_64& random) {
  for (int round = 0; round < 40; ++round) {
    const std::int64_t m = 1 + round % 6, n = 1 + static_cast<std::int64_t>(random() % 20), k = random() % 90;
    std::vector<e4m3> a(static_cast<std::size_t>(m * k)), b(static_cast<std::size_t>(n * k));
    for (auto* codes : {&a, &b}) {
      for (e4m3& code : *codes) code.bits = static_cast<std::uint8_t>(random() % (round % 4 == 0 ? 256 : 127));
    }
    const float scale = 0.7f;
    std::vector<float> out(static_cast<std::size_t>(m * n));
    for (const Accumulate accumulate : {Accumulate::exact, Accumulate::sm90_wgmma}) {
      cpu::scaled_mm({a.data(),
                      b.data(),
                      m,
                      n,
                      k,
                      {&scale, 0},
                      {&scale, 0},
                      nullptr,
                      accumulate,
                      Epilogue::a_b,
                      OutDtype::float32,
                      out.data()});
      for (std::int64_t i = 0; i < m * n; ++i) {
        const float expected =
            scaled_mm_element(a.data() + i / n * k, b.data() + i % n * k, k, scale, scale, nullptr, accumulate);
        check(bits(out[static_cast<std::size_t>(i)]) == bits(expected), "scaled_mm", round);
      }
    }
  }
}

void test_linear(std::mt19937_64& random) {
  for (int round = 0; round < 40; ++round) {
    const std::int64_t m = 1 + round % 6, n = 1 + static_cast<std::int64_t>(random() % 20), k = random() % 90;
    std::vector<bf16> x(static_cast<std::size_t>(m * k)), w(static_cast<std::size_t>(n * k));
    for (auto* values : {&x, &w}) {
      for (bf16& value : *values) {
        value.bits = static_cast<std::uint16_t>(random());
        if (round % 4 != 0) value.bits = static_cast<std::uint16_t>((value.bits & 0x87FF) | 0x3800);
      }
    }
    std::vector<bf16> out(static_cast<std::size_t>(m * n));
    cpu::linear(x.data(), w.data(), m, n, k, nullptr, nullptr, out.data());
    for (std::int64_t i = 0; i < m * n; ++i) {
      const bf16 expected = linear_element(x.data() + i / n * k, w.data() + i % n * k, k, nullptr);
      check(out[static_cast<std::size_t>(i)].bits == expected.bits, "linear", round);
    }
  }
}

/// Two queries of one head over two superblocks and a bit, key by key, against the array loop. [ATTN-UNIT]
void test_attention_unit(std::mt19937_64& random, Accumulate mode) {
  const std::int64_t keys = 2 * kAttentionSuperblock + 200, d = 3;
  const TensorCore core = tensor_core(bf16_unit(mode), OperandClass::bf16, OutDtype::float32);
  std::vector<bf16> q(2 * d), k(static_cast<std::size_t>(keys * d)), v(k.size()), out(q.size());
  for (auto* values : {&q, &k, &v}) {
    for (bf16& x : *values) x.bits = static_cast<std::uint16_t>((random() & 0x83FF) | 0x3C00);
  }
  const float c = cpu::attention_log2e_scale(2.5);
  cpu::attention({.q = q.data(),
                  .k = k.data(),
                  .v = v.data(),
                  .q_len = 2,
                  .kv_len = keys,
                  .q_heads = 1,
                  .kv_heads = 1,
                  .head_dim = d,
                  .log2e_scale = c,
                  .mask = Mask::full,
                  .out = out.data(),
                  .accumulate = mode});
  const bf16 one{0x3F80};
  for (std::int64_t i = 0; i < 2 * d; ++i) {
    float top[2] = {-INFINITY, -INFINITY}, numerator[2] = {}, denominator[2] = {};  // of a superblock, of the row
    const auto merge = [&](int into, float other_top, float n, float l) {
      const float both = std::max(top[into], other_top);
      const float own = attention_merge_factor(top[into], both), other = attention_merge_factor(other_top, both);
      numerator[into] = attention_merge(numerator[into], own, n, other);
      denominator[into] = attention_merge(denominator[into], own, l, other);
      top[into] = both;
    };
    for (std::int64_t from = 0; from < keys; from += kAttentionBlock) {
      const int count = static_cast<int>(std::min<std::int64_t>(kAttentionBlock, keys - from));
      float t[kAttentionBlock], largest = -INFINITY;
      bf16 weights[kAttentionBlock];
      for (int j = 0; j < count; ++j) {
        t[j] = attention_unit_exponent(core, q.data() + i / d * d, k.data() + (from + j) * d, d, c);
        largest = std::max(largest, t[j]);
      }
      for (int j = 0; j < count; ++j) {
        weights[j] = attention_unit_weight(attention_weight(t[j]), attention_top(largest));
      }
      merge(0, attention_top(largest), attention_unit_sum(core, weights, t, v.data() + from * d + i % d, d, count),
            attention_unit_sum(core, weights, t, &one, 0, count));
      if ((from + kAttentionBlock) % kAttentionSuperblock != 0 && from + kAttentionBlock < keys) continue;
      merge(1, top[0], numerator[0], denominator[0]);
      top[0] = -INFINITY;
      numerator[0] = denominator[0] = 0;
    }
    const bf16 expected = attention_unit_output(numerator[1], denominator[1]);
    check(out[static_cast<std::size_t>(i)].bits == expected.bits, "attention by a unit", i);
  }
}

/// Weights around the end of bf16: ties to even, and zero. [ATTN-UNIT-WEIGHT]
void test_faint_weights() {
  const struct {
    float exponent;
    int significand;
    std::uint16_t bits;
  } rows[] = {{0, 128, 0x3F80},    {-126, 255, 0x00FF}, {-127, 129, 0x0040}, {-127, 131, 0x0042},   {-133, 128, 0x0001},
              {-134, 128, 0x0000}, {-134, 129, 0x0001}, {-135, 255, 0x0000}, {-INFINITY, 0, 0x0000}};
  for (const auto& row : rows) {
    for (const float top : {0.0f, 0x1p20f}) {
      const bf16 w = attention_unit_weight({row.exponent + top, row.significand}, top);
      check(w.bits == row.bits, "faint weight", row.bits);
    }
  }
}

}  // namespace

int main() {
  std::mt19937_64 random(1);
  test_wide(random);
  test_exact_sum();
  test_rounding<float>(random);
  test_rounding<bf16>(random);
  test_rounding<fp16>(random);
  test_rounding<e4m3>(random);
  test_scaled_mm(random);
  test_linear(random);
  test_faint_weights();
  for (const Accumulate mode : {Accumulate::sm80, Accumulate::sm89, Accumulate::sm90})
    test_attention_unit(random, mode);
  if (failures == 0) std::puts("core: all passed");
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
