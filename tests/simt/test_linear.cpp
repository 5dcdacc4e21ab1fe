// SPDX-License-Identifier: Apache-2.0
// linear against the CPU: sizes around the tiles, unaligned rows, ties, specials that must not leak, lists of open
// outputs that overflow.
#include <vector>

#include "compare.h"
#include "cuda/linear.h"
#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

struct Shape {
  std::int64_t m, n, k;
};

std::string name(const Shape& s) { return std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k); }

void compare(const std::string& what, const Shape& s, const std::vector<bf16>& x, const std::vector<bf16>& w,
             const float* bias) {
  std::vector<bf16> expected(static_cast<std::size_t>(s.m * s.n)), got(expected.size());
  cpu::linear(x.data(), w.data(), s.m, s.n, s.k, bias, nullptr, expected.data());
  cuda::linear(x.data(), w.data(), s.m, s.n, s.k, bias, nullptr, got.data(), nullptr);
  equal(what + " " + name(s), expected, got);
  std::vector<RowFacts> facts(static_cast<std::size_t>(s.n));
  cuda::linear_row_facts(w.data(), s.n, s.k, facts.data(), nullptr);
  std::fill(got.begin(), got.end(), bf16{0});
  cuda::linear(x.data(), w.data(), s.m, s.n, s.k, bias, facts.data(), got.data(), nullptr);
  equal(what + " with facts " + name(s), expected, got);
}

std::vector<float> random_bias(Random& random, std::int64_t n) {
  std::vector<float> bias(static_cast<std::size_t>(n));
  for (float& b : bias) b = static_cast<float>(static_cast<double>(random() % 2000001) / 1e6 - 1);
  return bias;
}

// linear_few with 1, 2, 4 and 8 rows and both widths; linear_tile with its three tiles; rows of whole and of broken
// 16 bytes; nothing at all. The emulated device has two multiprocessors.
constexpr Shape kShapes[] = {{1, 130, 264}, {1, 7, 64},   {1, 5, 33},    {2, 9, 512},    {2, 131, 20}, {3, 129, 40},
                             {4, 10, 17},   {5, 6, 100},  {8, 33, 256},  {9, 70, 40},    {31, 65, 33}, {33, 64, 16},
                             {64, 130, 24}, {65, 66, 19}, {257, 130, 8}, {130, 257, 19}, {1, 3, 1},    {10, 3, 1},
                             {1, 3, 0},     {12, 3, 0},   {0, 3, 8},     {3, 0, 8}};

void test_shapes() {
  Random random(11);
  for (const Shape& s : kShapes) {
    const std::vector<bf16> x = random_normal(random, s.m * s.k), w = random_normal(random, s.n * s.k, 0.05f);
    compare("normal", s, x, w, nullptr);
    compare("bias", s, x, w, random_bias(random, s.n).data());
  }
}

/// Any bits: NaN and Inf in some rows, sums of every magnitude, cancellation.
void test_any_bits() {
  Random random(12);
  for (const Shape& s : {Shape{1, 40, 24}, Shape{7, 5, 24}, Shape{10, 20, 24}, Shape{33, 6, 3}}) {
    const std::vector<bf16> x = random_bits<bf16>(random, s.m * s.k), w = random_bits<bf16>(random, s.n * s.k);
    compare("any bits", s, x, w, nullptr);
    compare("any bits, any bias", s, x, w, random_bits<float>(random, s.n).data());
  }
}

/// One NaN and one Inf in x and in w: only their rows and columns are concerned. [LINEAR-SPECIAL]
void test_specials() {
  Random random(13);
  for (const Shape& s : {Shape{4, 20, 64}, Shape{12, 20, 48}}) {
    std::vector<bf16> x = random_normal(random, s.m * s.k), w = random_normal(random, s.n * s.k);
    x[static_cast<std::size_t>(s.k + 3)].bits = 0x7FC1;
    x[static_cast<std::size_t>(2 * s.k + 5)].bits = 0xFF80;
    w[static_cast<std::size_t>(7 * s.k + 1)].bits = 0x7F80;
    w[static_cast<std::size_t>(9 * s.k)].bits = 0xFFFF;
    w[static_cast<std::size_t>(3 * s.k + 5)].bits = 0x0000;  // times the Inf of x
    compare("specials", s, x, w, random_bias(random, s.n).data());
  }
}

/// Sums at and near midpoints of bf16 and of fp32, and extremes of magnitude: what no interval proves.
void test_open() {
  constexpr std::uint16_t kValues[] = {0x3F80, 0x3B80, 0xBB80, 0x3080, 0x0001, 0x8001,
                                       0x7F7F, 0xFF7F, 0x5D80, 0xDD80, 0};
  Random random(14);
  for (const Shape& s : {Shape{1, 50, 16}, Shape{3, 20, 12}, Shape{33, 8, 5}, Shape{10, 40, 16}}) {
    std::vector<bf16> x(static_cast<std::size_t>(s.m * s.k)), w(static_cast<std::size_t>(s.n * s.k));
    for (bf16& v : x) v.bits = kValues[random() % std::size(kValues)];
    for (bf16& v : w) v.bits = random() % 2 == 0 ? 0x3F80 : kValues[random() % std::size(kValues)];
    compare("open", s, x, w, nullptr);
    compare("open with bias", s, x, w, random_bias(random, s.n).data());
  }
}

/// The examples of spec/linear.md, one row of w each, by both kernels.
void test_examples() {
  const auto pow2 = [](int e) { return bf16{static_cast<std::uint16_t>((e + 127) << 7)}; };
  const bf16 minus{static_cast<std::uint16_t>(pow2(60).bits | 0x8000)};
  const bf16 rows[5][3] = {{pow2(0), pow2(-8), pow2(-30)},
                           {pow2(0), pow2(-8), pow2(-12)},
                           {pow2(0), pow2(-8), bf16{0}},
                           {pow2(0), pow2(-8), bf16{0}},
                           {pow2(60), pow2(0), minus}};
  const float bias[5] = {0, 0, 0x1p-20f, 0x1p-30f, 0};
  const std::uint16_t expected[5] = {0x3F80, 0x3F81, 0x3F81, 0x3F80, 0x3F80};
  for (const std::int64_t m : {1, 20}) {
    const std::vector<bf16> x(static_cast<std::size_t>(3 * m), pow2(0));
    std::vector<bf16> got(static_cast<std::size_t>(5 * m));
    cuda::linear(x.data(), rows[0], m, 5, 3, bias, nullptr, got.data(), nullptr);
    for (std::size_t i = 0; i < got.size(); ++i) check(got[i].bits == expected[i % 5], "examples");
  }
}

/// More open outputs than the list holds.
void test_overflow() {
  const Shape s{36, 30, 2};
  static_assert(36 * 30 > cuda::kOpenListed);
  Random random(15);
  std::vector<bf16> x = random_normal(random, s.m * s.k), w = random_normal(random, s.n * s.k);
  for (std::int64_t i = 0; i < s.m; ++i) x[static_cast<std::size_t>(i * s.k)].bits = i % 2 == 0 ? 0x7F80 : 0x7FFF;
  compare("overflow", s, x, w, nullptr);
}

/// The tensor core of the emulated sm_90, chains over sums of every magnitude. [LINEAR-UNIT]
void test_unit() {
  Random random(16);
  for (const Shape& s :
       {Shape{1, 70, 100}, Shape{33, 130, 40}, Shape{130, 200, 17}, Shape{5, 3, 0}, Shape{20, 9, 64}}) {
    for (const bool any : {false, true}) {
      const std::vector<bf16> x = any ? random_bits<bf16>(random, s.m * s.k) : random_normal(random, s.m * s.k);
      const std::vector<bf16> w = random_normal(random, s.n * s.k);
      const std::vector<float> bias = random_bias(random, s.n);
      for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
        std::vector<bf16> expected(static_cast<std::size_t>(s.m * s.n)), got(expected.size());
        cpu::linear(x.data(), w.data(), s.m, s.n, s.k, b, Accumulate::sm90_wgmma, expected.data());
        cuda::linear(x.data(), w.data(), s.m, s.n, s.k, b, Accumulate::sm90_wgmma, got.data(), nullptr);
        equal("unit " + name(s), expected, got);
      }
    }
  }
  for (const Accumulate unit : {Accumulate::sm80_mma, Accumulate::sm90_mma_sync}) {
    check(cuda::linear_in_hardware(nullptr, nullptr, 0, 1, 0, nullptr, unit, nullptr, nullptr) ==
              (unit != Accumulate::sm80_mma),
          "sm_90 has its own unit, not that of sm_80");
  }
}

}  // namespace

int main() {
  in_both_orders([] {
    test_shapes();
    test_any_bits();
    test_specials();
    test_open();
    test_examples();
    test_overflow();
    test_unit();
  });
  return finish("simt linear");
}
