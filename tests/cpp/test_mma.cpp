// SPDX-License-Identifier: Apache-2.0
// Tensor cores: the scalar semantics against known answers, and the array loops against the scalar semantics.
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "fp8ref/cpu.h"
#include "fp8ref/errors.h"
#include "fp8ref/linear.h"
#include "fp8ref/mma.h"
#include "kernels.h"

namespace {

using namespace fp8ref;
using test::check;

std::uint32_t bits(float x) { return bit_cast<std::uint32_t>(x); }

/// One chain over the codes of 32 products by a unit with fp32 results.
float step(Accumulate unit, const e4m3* a, const e4m3* b, float c) {
  return tensor_core_chain(tensor_core(unit, OperandClass::fp8, OutDtype::float32), a, b, 32, c);
}

/// The generated steps of spec/mma.md.
void test_generated_steps() {
  const std::uint32_t accumulators[6] = {0, 0x3F800000, 0x40490FDB, 0xC7C35000, 0x47C35000, 0x00800000};
  const std::uint32_t hopper[6] = {0xC79F8C00, 0x4581C400, 0xC7F46000, 0xC7C53000, 0x47A61400, 0xC5CA3000};
  const std::uint32_t ada[6] = {0xC79F9000, 0x4581C400, 0xC7F46000, 0xC7C53000, 0x47A61400, 0xC5CA3000};
  const std::uint32_t blackwell[6] = {0xC79F90D1, 0x4581C443, 0xC7F462F3, 0xC7C52AD6, 0x47A60ED2, 0xC5CA2344};
  for (int t = 0; t < 6; ++t) {
    std::uint32_t state = static_cast<std::uint32_t>(1000 + t);
    e4m3 codes[64];
    for (e4m3& code : codes) {
      state = 1664525 * state + 1013904223;
      code.bits = static_cast<std::uint8_t>(state >> 24);
      if (is_nan(code)) code.bits ^= 1;
    }
    const float c = bit_cast<float>(accumulators[t]);
    check(bits(step(Accumulate::sm90_wgmma, codes, codes + 32, c)) == hopper[t], "sm90_wgmma " + std::to_string(t));
    check(bits(step(Accumulate::sm89_mma, codes, codes + 32, c)) == ada[t], "sm89_mma " + std::to_string(t));
    for (const Accumulate unit : {Accumulate::sm100_tcgen05, Accumulate::sm120_mma}) {
      check(bits(step(unit, codes, codes + 32, c)) == blackwell[t], "F = 25 " + std::to_string(t));
    }
  }
}

/// An accumulator alone is cut to 14 bits, subnormal ones to multiples of 2^-139; mma.sync adds it afterwards.
void test_accumulator_alone() {
  const std::uint32_t alone[9][2] = {{0x40490FDB, 0x40490C00}, {0x7F7FFFFF, 0x7F7FFC00}, {0x00000001, 0},
                                     {0x00000400, 0x00000400}, {0x800007FF, 0x80000400}, {0x80000000, 0},
                                     {0x7F800000, 0x7F800000}, {0xFF800000, 0xFF800000}, {0x7FC00001, 0x7FFFFFFF}};
  const e4m3 zeros[32] = {};
  for (const auto& [before, after] : alone) {
    check(bits(step(Accumulate::sm90_wgmma, zeros, zeros, bit_cast<float>(before))) == after, "an accumulator alone");
  }
  check(bits(step(Accumulate::sm90_mma_sync, zeros, zeros, bit_cast<float>(0x40490FDB))) == 0x40490FDB, "a late one");
}

/// 256 * 256 and twice 2^-4 * 2^-4: which products share a step with the large one, by the place of the last.
void test_rewritten_pairs() {
  for (int j = 2; j < 32; ++j) {
    e4m3 a[32] = {}, b[32] = {};
    a[0] = b[0] = e4m3{0x78};
    a[1] = b[1] = a[j] = b[j] = e4m3{0x18};
    const float hopper = step(Accumulate::sm90_mma_sync, a, b, 0), blackwell = step(Accumulate::sm120_mma, a, b, 0);
    check(bits(hopper) == (j % 4 < 2 ? 0x47800001 : 0x47800000), "mma.sync of FP8, place " + std::to_string(j));
    check(bits(blackwell) == 0x47800001, "one step of 32, place " + std::to_string(j));
  }
}

/// 2^-4 * 2^-4 over a long K sticks at 64 with 13 fraction bits; promotion and parts of K get further.
void test_products() {
  const std::vector<e4m3> row(32 * 520, e4m3{0x18});
  const auto k = static_cast<std::int64_t>(row.size());
  auto sum = [&](Accumulate accumulate, std::int64_t parts) {
    return mma_accumulate(row.data(), row.data(), k, accumulate, parts);
  };
  check(sum(Accumulate::sm90_wgmma, 1) == 64, "a chain that sticks");
  check(sum(Accumulate::sm90_wgmma_promoted, 1) == 65, "a promoted chain");
  check(sum(Accumulate::sm90_wgmma, 2) == 65, "two parts of K");
  check(sum(Accumulate::sm100_tcgen05, 1) == 65, "a chain with 25 fraction bits");
  check(split_depth(300, 2) == 256 && split_depth(300, 7) == 128 && split_depth(0, 3) == 0, "parts of K");
}

/// Any bits; of rounds of 3, two have moderate exponents and no specials.
template <class T>
T random_element(std::mt19937_64& random, int round) {
  const auto pattern = static_cast<std::uint16_t>(random());
  T x{static_cast<decltype(T::bits)>(pattern)};
  if (round % 3 == 0) return x;
  if constexpr (std::is_same_v<T, bf16>) x.bits = static_cast<std::uint16_t>((pattern & 0x83FF) | 0x3C00);
  return kind(x) < Kind::infinite ? x : T{};
}

template <class A, class B, class R>
void test_loops(std::mt19937_64& random, Operand a_type, Operand b_type, OutDtype out_dtype) {
  for (int round = 0; round < 9; ++round) {
    const std::int64_t m = 1 + round % 4, n = 1 + static_cast<std::int64_t>(random() % 12), k = random() % 100;
    std::vector<A> a(static_cast<std::size_t>(m * k));
    std::vector<B> b(static_cast<std::size_t>(n * k));
    std::vector<R> c(static_cast<std::size_t>(m * n)), out(c.size());
    for (A& x : a) x = random_element<A>(random, round);
    for (B& x : b) x = random_element<B>(random, round);
    for (R& x : c) {
      const auto pattern = static_cast<std::uint32_t>(random());
      x = register_of<R>(pattern >> (sizeof(R) == 4 ? 1 : 17), (pattern & 1) != 0);
    }
    for (const Unit& unit : unit_table().rows) {
      const bool half = unit.core.result == Conversion::fp16;
      if (unit.operands != Encoding<A>::kClass || half != (out_dtype == OutDtype::float16)) continue;
      cpu::mma({a.data(), b.data(), a_type, b_type, m, n, k, c.data(), unit.name, out_dtype, out.data()});
      for (std::int64_t i = 0; i < m * n; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const R expected = tensor_core_chain(unit.core, a.data() + i / n * k, b.data() + i % n * k, k, c[at]);
        const bool nans = kind(out[at]) == Kind::nan && kind(expected) == Kind::nan;
        check(nans || pattern(out[at]) == pattern(expected), "loops, round " + std::to_string(round));
      }
    }
  }
}

void test_linear(std::mt19937_64& random) {
  const std::int64_t m = 3, n = 10, k = 70;
  std::vector<bf16> x(static_cast<std::size_t>(m * k)), w(static_cast<std::size_t>(n * k));
  for (auto* values : {&x, &w}) {
    for (bf16& value : *values) value = random_element<bf16>(random, 1);
  }
  std::vector<bf16> out(static_cast<std::size_t>(m * n));
  const std::vector<float> bias(static_cast<std::size_t>(n), 0.3f);
  for (const Accumulate unit : {Accumulate::sm80_mma, Accumulate::sm90_wgmma}) {
    cpu::linear(x.data(), w.data(), m, n, k, bias.data(), unit, out.data());
    for (std::int64_t i = 0; i < m * n; ++i) {
      const bf16 expected = linear_element(x.data() + i / n * k, w.data() + i % n * k, k, bias.data() + i % n, unit);
      check(out[static_cast<std::size_t>(i)].bits == expected.bits, "linear by a unit");
    }
  }
}

void test_refusals() {
  const bf16 x[1] = {};
  float out;
  auto run = [&](Operand a, Operand b, Accumulate unit, OutDtype type) {
    cpu::mma({x, x, a, b, 1, 1, 1, nullptr, unit, type, &out});
  };
  const std::string no = "no such operands";
  test::refuses<OpError>("FP8 on Ampere", no,
                         [&] { run(Operand::e4m3, Operand::e4m3, Accumulate::sm80_mma, OutDtype::float32); });
  test::refuses<OpError>("bf16 in fp16", no,
                         [&] { run(Operand::bf16, Operand::bf16, Accumulate::sm90_wgmma, OutDtype::float16); });
  test::refuses<OpError>("two classes", no,
                         [&] { run(Operand::bf16, Operand::fp16, Accumulate::sm90_wgmma, OutDtype::float32); });
  test::refuses<OpError>("exact", no, [&] { run(Operand::bf16, Operand::bf16, Accumulate::exact, OutDtype::float32); });
  test::refuses<OpError>("promoted", "no unit", [&] {
    run(Operand::e4m3, Operand::e4m3, Accumulate::sm90_wgmma_promoted, OutDtype::float32);
  });
  test::refuses<OpError>("linear, promoted", "no unit", [&] {
    bf16 y;
    cpu::linear(x, x, 1, 1, 1, nullptr, Accumulate::sm90_wgmma_promoted, &y);
  });
}

}  // namespace

int main() {
  std::mt19937_64 random(2);
  test_generated_steps();
  test_accumulator_alone();
  test_rewritten_pairs();
  test_products();
  const std::string chosen(cpu::kernels().name);
  for (const char* isa : {"portable", chosen.c_str()}) {
    cpu::set_isa(isa);
    for (const OutDtype out : {OutDtype::float32, OutDtype::float16}) {
      auto fp8 = [&]<class R>(R) {
        test_loops<e4m3, e4m3, R>(random, Operand::e4m3, Operand::e4m3, out);
        test_loops<e5m2, e4m3, R>(random, Operand::e5m2, Operand::e4m3, out);
        test_loops<e4m3, e5m2, R>(random, Operand::e4m3, Operand::e5m2, out);
        test_loops<e5m2, e5m2, R>(random, Operand::e5m2, Operand::e5m2, out);
        test_loops<fp16, fp16, R>(random, Operand::fp16, Operand::fp16, out);
      };
      out == OutDtype::float32 ? fp8(float{}) : fp8(fp16{});
    }
    test_loops<bf16, bf16, float>(random, Operand::bf16, Operand::bf16, OutDtype::float32);
    test_linear(random);
  }
  test_refusals();
  return test::finish("mma");
}
