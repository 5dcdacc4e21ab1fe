// SPDX-License-Identifier: Apache-2.0
// scaled_mm with scales of blocks, every order of the scales and E4M3 output, and grouped_mm: the scalar headers
// against known answers, and the array loops, which get their results in other ways, against the scalar headers.
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "fp8ref/cpu.h"
#include "fp8ref/grouped_mm.h"
#include "fp8ref/scaled_mm.h"

namespace {

using namespace fp8ref;
using fp8ref::test::check;

constexpr Epilogue kAll[] = {Epilogue::a_b,      Epilogue::b_a,    Epilogue::ab,
                             Epilogue::deepgemm, Epilogue::triton, Epilogue::triton_ba};

std::uint32_t bits(float x) { return bit_cast<std::uint32_t>(x); }

std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Sums of three terms at a midpoint of fp32; the smallest numbers; what is not finite.
void test_block_sum() {
  const float least = 0x1p-149f, largest = 0x1.fffffep127f;
  BlockSum above, below, cancelled, tiny, nothing, infinite, undefined;
  for (BlockSum* sum : {&above, &below, &cancelled}) {
    sum->add(1, 1, 1);
    sum->add(1, 0x1p-24f, 1);
  }
  above.add(least, least, 0x1p-18);
  below.add(least, least, -0x1p-18);
  cancelled.add(1, 1, -1);
  cancelled.add(-0x1p-24f);
  tiny.add(least, 0.5f, -0x1p-18);
  infinite.add(largest, largest, 448 * 448 * 128.0);
  undefined.add(INFINITY, 1, 0);
  check(bits(above.rn32()) == 0x3F800001, "above a midpoint");
  check(bits(below.rn32()) == 0x3F800000, "below a midpoint");
  check(bits(cancelled.rn32()) == 0, "an exact zero is +0");
  check(bits(tiny.rn32()) == 0x80000000, "underflow keeps its sign");
  check(bits(nothing.rn32()) == 0, "nothing");
  check(bits(infinite.rn32()) == 0x7F800000, "overflow");
  infinite.add(largest, largest, -448 * 448 * 128.0);
  check(bits(infinite.rn32()) == 0, "terms beyond fp32 cancel");
  infinite.add(-INFINITY);
  infinite.add(INFINITY, 1, 1);
  check(bits(infinite.rn32()) == kNan32 && bits(undefined.rn32()) == kNan32, "infinities of both signs, inf * 0");
}

void test_orders() {
  const float a = 0.003779232269152999f, b = 0.0007170428289100528f, acc = 1807.4921875f;
  check(bits(scaled_mm_epilogue(acc, a, b, nullptr, Epilogue::a_b)) == bits(a * (b * acc)), "a_b");
  check(bits(scaled_mm_epilogue(acc, a, b, nullptr, Epilogue::b_a)) == bits(b * (a * acc)), "b_a");
  check(bits(scaled_mm_epilogue(acc, a, b, nullptr, Epilogue::ab)) == bits(a * b * acc), "ab");
  check(bits(add_block(acc, a, b, 3, Epilogue::deepgemm)) == bits(std::fma(a * b, acc, 3.0f)), "deepgemm");
  check(bits(add_block(acc, a, b, 3, Epilogue::triton)) == bits(std::fma(acc * a, b, 3.0f)), "triton");
  check(bits(add_block(acc, a, b, 3, Epilogue::triton_ba)) == bits(std::fma(acc * b, a, 3.0f)), "triton_ba");
}

/// Random operands for `experts` weights, with scales of blocks; with NaN codes and infinite scales if `special`.
struct Problem {
  std::int64_t m, n, k, experts, blocks;
  std::vector<e4m3> a, b;
  std::vector<float> a_scale, b_scale, bias;

  Problem(std::mt19937_64& random, std::int64_t weights, bool special)
      : m(1 + static_cast<std::int64_t>(random() % 7)),
        n(1 + static_cast<std::int64_t>(random() % 140)),
        k(static_cast<std::int64_t>(random() % 400)),
        experts(weights),
        blocks((k + kScaleBlock - 1) / kScaleBlock),
        a(index(m * k)),
        b(index(experts * n * k)),
        a_scale(index(m * blocks)),
        b_scale(index(experts * ((n + 127) / 128) * blocks)),
        bias(index(experts * n)) {
    for (auto* codes : {&a, &b}) {
      for (e4m3& code : *codes) {
        code.bits = static_cast<std::uint8_t>(random());
        if (is_nan(code) && (!special || random() % 8 != 0)) code.bits ^= 1;
      }
    }
    for (auto* scales : {&a_scale, &b_scale}) {
      for (float& scale : *scales) {
        scale = bit_cast<float>(static_cast<std::uint32_t>(random() % (special ? 0x80000000 : 0x7F800000)));
      }
    }
    for (float& x : bias) x = bit_cast<float>(static_cast<std::uint32_t>(random()));
  }

  ScaledMmArgs arguments(Epilogue epilogue, OutDtype out_dtype, void* out) const {
    ScaledMmArgs args{};
    args.a = a.data();
    args.b = b.data();
    args.m = m;
    args.n = n;
    args.k = k;
    args.a_scale = {a_scale.data(), blocks};
    args.b_scale = {b_scale.data(), blocks, 7};
    args.bias = bias.data();
    args.accumulate = Accumulate::exact;
    args.epilogue = epilogue;
    args.out_dtype = out_dtype;
    args.out = out;
    args.scales = Scales::blocks;
    return args;
  }

  float element(std::int64_t expert, std::int64_t i, std::int64_t j, Epilogue epilogue) const {
    const float* b_scales = b_scale.data() + (expert * ((n + 127) / 128) + j / 128) * blocks;
    return scaled_mm_block_element(a.data() + i * k, b.data() + (expert * n + j) * k, k, a_scale.data() + i * blocks,
                                   b_scales, bias.data() + expert * n + j, Accumulate::exact, epilogue);
  }
};

void test_blocks(std::mt19937_64& random) {
  for (int round = 0; round < 60; ++round) {
    const Problem problem(random, 1, round % 3 == 0);
    const Epilogue epilogue = kAll[round % 6];
    std::vector<float> out(index(problem.m * problem.n));
    std::vector<e4m3> narrow(out.size());
    cpu::scaled_mm(problem.arguments(epilogue, OutDtype::float32, out.data()));
    ScaledMmArgs args = problem.arguments(epilogue, OutDtype::float8_e4m3fn, narrow.data());
    args.out_scale = 0x1.8p-20f;
    args.overflow = round % 2 == 0 ? Overflow::nan : Overflow::saturate;
    cpu::scaled_mm(args);
    for (std::int64_t at = 0; at < problem.m * problem.n; ++at) {
      const float expected = problem.element(0, at / problem.n, at % problem.n, epilogue);
      check(bits(out[index(at)]) == bits(expected), "blocks, round " + std::to_string(round));
      const e4m3 code = encode(expected * args.out_scale, args.overflow);
      check(narrow[index(at)].bits == code.bits, "blocks to E4M3, round " + std::to_string(round));
    }
  }
}

void test_experts() {
  const std::int64_t offsets[] = {1, 3, 3, 3, 5, 5};
  const std::int64_t expected[] = {-1, 0, 0, 3, 3, -1, -1};
  for (std::int64_t row = 0; row < 7; ++row) {
    check(expert_of_row(offsets, 5, row) == expected[row], "the expert of row " + std::to_string(row));
  }
  check(expert_of_row(offsets, 0, 1) == -1, "no experts");
}

/// Every row has its expert's result or keeps what it held.
void test_groups(std::mt19937_64& random) {
  for (int round = 0; round < 30; ++round) {
    const Problem problem(random, 1 + round % 4, false);
    std::vector<std::int64_t> offsets(index(problem.experts + 1));
    for (std::int64_t& offset : offsets) {
      offset = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(problem.m + 1));
    }
    std::sort(offsets.begin(), offsets.end());
    std::vector<float> out(index(problem.m * problem.n), 7.0f);
    const std::int64_t stride = (problem.n + 127) / 128 * problem.blocks;
    const Epilogue epilogue = kAll[round % 6];
    cpu::grouped_mm(
        {problem.arguments(epilogue, OutDtype::float32, out.data()), problem.experts, offsets.data(), stride});
    for (std::int64_t at = 0; at < problem.m * problem.n; ++at) {
      const std::int64_t i = at / problem.n, expert = expert_of_row(offsets.data(), problem.experts, i);
      const float expected = expert < 0 ? 7.0f : problem.element(expert, i, at % problem.n, epilogue);
      check(bits(out[index(at)]) == bits(expected), "groups, round " + std::to_string(round));
    }
  }
}

}  // namespace

int main() {
  std::mt19937_64 random(3);
  test_block_sum();
  test_orders();
  test_blocks(random);
  test_experts();
  test_groups(random);
  return test::finish("matmul");
}
