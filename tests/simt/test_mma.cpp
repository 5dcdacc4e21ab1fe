// SPDX-License-Identifier: Apache-2.0
// mma, and linear by a unit, by their kernels: every unit, from given accumulators, against the CPU backend.
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "compare.h"
#include "cuda/chains.h"
#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"
#include "fp8ref/errors.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

using Run = std::function<void(const MmaArgs&)>;

/// Any bits, or (`tame`) no special values and moderate exponents; every fourth element repeats the one before it with
/// the other sign, so that sums cancel.
template <class T>
std::vector<T> operands(Random& random, std::int64_t n, bool tame) {
  std::vector<T> values = random_bits<T>(random, n);
  constexpr auto kSign = static_cast<decltype(T::bits)>(1u << (8 * sizeof(T) - 1));
  for (std::size_t i = 0; tame && i < values.size(); ++i) {
    T& x = values[i];
    if constexpr (std::is_same_v<T, bf16>) x.bits = static_cast<std::uint16_t>((x.bits & 0x83FF) | 0x3C00);
    if (kind(x) >= Kind::infinite || random() % 8 == 0) x.bits = static_cast<decltype(T::bits)>(x.bits & kSign);
    if (i % 4 == 3) x.bits = static_cast<decltype(T::bits)>(values[i - 1].bits ^ (random() % 2 == 0 ? kSign : 0));
  }
  return values;
}

template <class R>
std::vector<R> accumulators(Random& random, std::int64_t n, bool tame) {
  std::vector<R> values = random_bits<R>(random, n);
  for (R& x : values) {
    if (random() % 4 == 0) x = register_of<R>(0, random() % 2 == 0);
    if (!tame) continue;
    if constexpr (std::is_same_v<R, float>) x = bit_cast<float>((bit_cast<std::uint32_t>(x) & 0x83FFFFFF) | 0x40000000);
    if (kind(x) >= Kind::infinite) x = register_of<R>(0, false);
  }
  return values;
}

struct Shape {
  std::int64_t m, n, k;
};

template <class A, class B, class R>
void test_units(const std::string& name, Operand a_type, Operand b_type, const Run& run,
                const std::vector<Shape>& shapes) {
  constexpr OutDtype kOut = std::is_same_v<R, float> ? OutDtype::float32 : OutDtype::float16;
  Random random(11);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const auto [m, n, k] = shapes[i];
    const bool tame = i % 3 != 2;
    const std::vector<A> a = operands<A>(random, m * k, tame);
    const std::vector<B> b = operands<B>(random, n * k, tame);
    const std::vector<R> c = accumulators<R>(random, m * n, i % 2 == 0);
    for (const Unit& unit : unit_table().rows) {
      if (unit.operands != Encoding<A>::kClass || (unit.core.result == Conversion::fp16) != (sizeof(R) == 2)) continue;
      for (const R* begin : {c.data(), static_cast<const R*>(nullptr)}) {
        std::vector<R> expected(c.size()), got(c.size());
        MmaArgs args{a.data(), b.data(), a_type, b_type, m, n, k, begin, unit.name, kOut, expected.data()};
        cpu::mma(args);
        args.out = got.data();
        run(args);
        equal(name + ", unit " + std::to_string(static_cast<int>(unit.name)) + ", k = " + std::to_string(k), expected,
              got);
      }
    }
  }
}

void test_all(const std::string& name, const Run& run, const std::vector<Shape>& shapes) {
  const auto fp8 = [&]<class R>(R) {
    test_units<e4m3, e4m3, R>(name, Operand::e4m3, Operand::e4m3, run, shapes);
    test_units<e5m2, e4m3, R>(name, Operand::e5m2, Operand::e4m3, run, shapes);
    test_units<e4m3, e5m2, R>(name, Operand::e4m3, Operand::e5m2, run, shapes);
    test_units<e5m2, e5m2, R>(name, Operand::e5m2, Operand::e5m2, run, shapes);
    test_units<fp16, fp16, R>(name, Operand::fp16, Operand::fp16, run, shapes);
  };
  fp8(float{});
  fp8(fp16{});
  test_units<bf16, bf16, float>(name, Operand::bf16, Operand::bf16, run, shapes);
}

void test_linear(Random& random) {
  const std::int64_t m = 5, n = 9, k = 70;
  const std::vector<bf16> x = random_normal(random, m * k), w = random_normal(random, n * k);
  const std::vector<float> values(static_cast<std::size_t>(n), 0.3f);
  for (const Accumulate unit : {Accumulate::sm80_mma, Accumulate::sm90_wgmma, Accumulate::sm120_mma}) {
    for (const float* bias : {values.data(), static_cast<const float*>(nullptr)}) {
      std::vector<bf16> expected(static_cast<std::size_t>(m * n)), got(expected.size());
      cpu::linear(x.data(), w.data(), m, n, k, bias, unit, expected.data());
      cuda::linear(x.data(), w.data(), m, n, k, bias, unit, got.data(), nullptr);
      equal("linear by a unit", expected, got);
    }
  }
}

void test_refusals() {
  const bf16 x[1] = {};
  float out;
  const auto run = [&](Operand a, Operand b, Accumulate unit, OutDtype type) {
    cuda::mma({x, x, a, b, 1, 1, 1, nullptr, unit, type, &out}, nullptr);
  };
  const std::string no = "no such operands";
  refuses<OpError>("FP8 on Ampere", no,
                   [&] { run(Operand::e4m3, Operand::e4m3, Accumulate::sm80_mma, OutDtype::float32); });
  refuses<OpError>("bf16 in fp16", no,
                   [&] { run(Operand::bf16, Operand::bf16, Accumulate::sm90_wgmma, OutDtype::float16); });
  refuses<OpError>("two classes", no,
                   [&] { run(Operand::bf16, Operand::fp16, Accumulate::sm90_wgmma, OutDtype::float32); });
  refuses<OpError>("promoted", "no unit",
                   [&] { run(Operand::e4m3, Operand::e4m3, Accumulate::sm90_wgmma_promoted, OutDtype::float32); });
}

/// Kernels that the operations themselves may not use on this machine.
void test_other_kernels(const std::vector<Shape>& shapes) {
  test_all("mma_scalar", [](const MmaArgs& args) { cuda::mma_scalar(args, nullptr); }, shapes);
  test_units<fp16, fp16, float>(
      "mma_chains", Operand::fp16, Operand::fp16,
      [](const MmaArgs& args) { check(cuda::mma_chains(args, nullptr), "not taken"); }, shapes);
  Random random(13);
  const std::vector<bf16> x = random_normal(random, 3 * 70), w = random_normal(random, 4 * 70);
  std::vector<bf16> expected(12), got(12);
  cpu::linear(x.data(), w.data(), 3, 4, 70, nullptr, Accumulate::sm90_wgmma, expected.data());
  cuda::linear_unit_scalar(x.data(), w.data(), 3, 4, 70, nullptr, Accumulate::sm90_wgmma, got.data(), nullptr);
  equal("linear_unit_scalar", expected, got);
}

}  // namespace

int main() {
  const std::vector<Shape> shapes = {{3, 5, 70},  {1, 1, 0}, {2, 7, 33},  {5, 3, 1},
                                     {4, 4, 128}, {0, 3, 5}, {65, 35, 17}};
  in_both_orders([&] {
    Random random(12);
    test_all("mma", [](const MmaArgs& args) { cuda::mma(args, nullptr); }, shapes);
    test_linear(random);
  });
  test_other_kernels({{3, 5, 70}, {1, 1, 0}, {2, 7, 33}});
  test_refusals();
  return finish("simt mma");
}
