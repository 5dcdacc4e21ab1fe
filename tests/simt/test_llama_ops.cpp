// SPDX-License-Identifier: Apache-2.0
// silu_mul, rope_table, rope, temperature and sample.
#include <cmath>
#include <limits>

#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"
#include "fp8ref/silu_mul.h"
#include "hostile.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

void test_silu_mul() {
  Random random(5);
  for (const int offset : {0, 1}) {
    for (const std::int64_t n : {0, 1, 7, 8, 100, 3001}) {
      Placed<bf16> gate(random_bits<bf16>(random, n), offset), up(random_bits<bf16>(random, n), 0), out(n, 0);
      std::vector<bf16> expected(static_cast<std::size_t>(n));
      cpu::silu_mul(gate.data(), up.data(), static_cast<std::size_t>(n), expected.data());
      cuda::silu_mul(gate.data(), up.data(), static_cast<std::size_t>(n), out.data(), nullptr);
      equal("silu_mul", expected, out.values());
    }
  }
  std::vector<bf16> gate(1 << 16), up(1 << 16, bf16{0x3F80}), expected(1 << 16), out(1 << 16);
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i].bits = static_cast<std::uint16_t>(i);
  cpu::silu_mul(gate.data(), up.data(), gate.size(), expected.data());
  cuda::silu_mul(gate.data(), up.data(), gate.size(), out.data(), nullptr);
  equal("silu of every number", expected, out);
}

/// What silu_bf16 relies on: the silu of every number settles its rounding to bf16 if known to 2^-25 of itself.
void test_silu_settled() {
  for (int i = 0; i < 1 << 16; ++i) {
    const bf16 g{static_cast<std::uint16_t>(i)};
    const bf16 expected = rnbf(silu(g)), got = silu_bf16(g);
    check(expected.bits == got.bits, "silu_bf16 " + std::to_string(i));
    if (silu_known(g).known) continue;
    const Bracket range = bracket(silu_magnitude(widen(g)), 0x1p-25 + kSiluError);
    check(rnbf(range.low).bits == rnbf(range.high).bits, "silu is near a midpoint: " + std::to_string(i));
  }
}

void test_rope_table() {
  Random random(6);
  for (const std::int64_t half : {1, 5, 64}) {
    std::vector<float> inv(static_cast<std::size_t>(half));
    cpu::rope_frequencies(2 * half, 500000.0, nullptr, inv.data());
    const std::vector<std::int64_t> positions = {0, 1, 2, 1000, 131071, (1 << 24) - 1};
    const auto count = static_cast<std::int64_t>(positions.size());
    std::vector<float> cos(static_cast<std::size_t>(count * half)), sin(cos), got_cos(cos), got_sin(cos);
    cpu::rope_table(positions.data(), count, inv.data(), half, cos.data(), sin.data());
    cuda::rope_table(positions.data(), count, inv.data(), half, got_cos.data(), got_sin.data(), nullptr);
    equal("cosines", cos, got_cos);
    equal("sines", sin, got_sin);
  }
}

void compare_rope(RopeLayout layout, Rows kind, std::int64_t tokens, std::int64_t heads, std::int64_t half,
                  int offset) {
  Random random(7);
  Placed<bf16> x(hostile<bf16>(random, kind, tokens * heads, 2 * half), offset), out(tokens * heads * 2 * half, offset);
  Placed<float> cos(hostile<float>(random, Rows::special, tokens, half), 0);
  Placed<float> sin(hostile<float>(random, Rows::normal, tokens, half), 0);
  std::vector<bf16> expected(static_cast<std::size_t>(tokens * heads * 2 * half));
  cpu::rope(x.data(), tokens, heads, half, cos.data(), sin.data(), layout, expected.data());
  cuda::rope(x.data(), tokens, heads, half, cos.data(), sin.data(), layout, out.data(), nullptr);
  const std::string what = (layout == RopeLayout::interleaved ? "interleaved rope " : "rope ") +
                           std::to_string(tokens) + " " + std::to_string(heads) + " " + std::to_string(half);
  equal(what, expected, out.values());
  cuda::rope(x.data(), tokens, heads, half, cos.data(), sin.data(), layout, x.data(), nullptr);
  equal(what + " in place", expected, x.values());
}

void test_rope() {
  for (const RopeLayout layout : {RopeLayout::rotate_half, RopeLayout::interleaved}) {
    for (const Rows kind : kAllRows) {
      compare_rope(layout, kind, 3, 5, 64, 0);
      compare_rope(layout, kind, 2, 3, 12, 0);
      compare_rope(layout, kind, 2, 3, 16, 1);
    }
    compare_rope(layout, Rows::normal, 0, 3, 16, 0);
    compare_rope(layout, Rows::normal, 2, 0, 16, 0);
    compare_rope(layout, Rows::normal, 1, 40, 128, 0);
    compare_rope(layout, Rows::normal, 4, 3, 1, 0);
    compare_rope(layout, Rows::wide, 2, 3, 3, 0);
  }
}

void test_temperature() {
  std::vector<std::int64_t> positions = {0, 1, 8190, 8191, 8192, 16383, 131071, 10485759, (1 << 24) - 1};
  Random random(9);
  for (int i = 0; i < 300; ++i) positions.push_back(static_cast<std::int64_t>(random() % (1 << 24)));
  const auto count = static_cast<std::int64_t>(positions.size());
  std::vector<float> expected(positions.size()), got(positions.size());
  for (const float floor_scale : {8192.0f, 1.0f, 0.3f, 1e-44f, 3e38f}) {
    for (const float attn_scale : {0.1f, 3e38f}) {
      cpu::temperature_factors(positions.data(), count, floor_scale, attn_scale, expected.data());
      cuda::temperature_factors(positions.data(), count, floor_scale, attn_scale, got.data(), nullptr);
      equal("temperature_factors " + std::to_string(floor_scale), expected, got);
    }
  }
  for (const Rows kind : kAllRows) {
    for (const std::int64_t width : {0, 1, 8, 13, 640}) {
      for (const int offset : {0, 1}) {
        Placed<bf16> x(hostile<bf16>(random, kind, 5, width), offset), out(5 * width, 0);
        const std::vector<float> factors = hostile<float>(random, Rows::special, 5, 1);
        std::vector<bf16> products(static_cast<std::size_t>(5 * width));
        cpu::temperature(x.data(), 5, width, factors.data(), products.data());
        cuda::temperature(x.data(), 5, width, factors.data(), out.data(), nullptr);
        equal("temperature of " + std::to_string(width), products, out.values());
      }
    }
  }
}

void test_sample(const std::string& what, const std::vector<float>& logits, std::int64_t rows, std::int64_t vocab,
                 int offset) {
  Placed<float> placed(logits, offset);
  std::vector<std::int64_t> expected(static_cast<std::size_t>(rows), -1), got(static_cast<std::size_t>(rows), -2);
  cpu::sample(placed.data(), rows, vocab, expected.data());
  cuda::sample(placed.data(), rows, vocab, got.data(), nullptr);
  equal("sample " + what, expected, got);
}

void test_samples() {
  Random random(8);
  for (const std::int64_t vocab : {1, 2, 31, 4096, 5001}) {
    for (const int offset : {0, 1}) {
      for (const Rows kind : kAllRows) {
        test_sample(std::to_string(vocab), hostile<float>(random, kind, 3, vocab), 3, vocab, offset);
      }
      // Equal logits everywhere: the first wins whichever thread has it.
      std::vector<float> few(static_cast<std::size_t>(2 * vocab));
      for (float& value : few) value = random() % 2 == 0 ? -0.0f : 0.0f;
      test_sample("of ties", few, 2, vocab, offset);
      few[static_cast<std::size_t>(vocab - 1)] = std::numeric_limits<float>::quiet_NaN();
      few[static_cast<std::size_t>(vocab / 2)] = -std::numeric_limits<float>::quiet_NaN();
      test_sample("of NaNs", few, 2, vocab, offset);
    }
  }
  test_sample("of no rows", {}, 0, 5, 0);
}

}  // namespace

int main() {
  in_both_orders([] {
    test_silu_mul();
    test_silu_settled();
    test_rope_table();
    test_rope();
    test_temperature();
    test_samples();
  });
  return finish("simt llama ops");
}
