// SPDX-License-Identifier: Apache-2.0
// e4m3, residual and gated_residual: all inputs of two bytes, and random ones.
#include <vector>

#include "compare.h"
#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

template <class T>
void test_encode(const std::string& name, const std::vector<T>& x) {
  for (const Overflow overflow : {Overflow::saturate, Overflow::nan}) {
    std::vector<e4m3> expected(x.size()), got(x.size());
    cpu::encode(x.data(), x.size(), overflow, expected.data());
    cuda::encode(x.data(), x.size(), overflow, got.data(), nullptr);
    equal("encode " + name, expected, got);
  }
}

template <class T>
std::vector<T> all_of_16_bits() {
  std::vector<T> values(1 << 16);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = T{static_cast<std::uint16_t>(i)};
  return values;
}

void test_e4m3() {
  Random random(2);
  test_encode("bfloat16", all_of_16_bits<bf16>());
  test_encode("float16", all_of_16_bits<fp16>());
  test_encode("float32", random_bits<float>(random, 3001));
  test_encode("float64", random_bits<double>(random, 3001));
  std::vector<e4m3> codes(256);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i].bits = static_cast<std::uint8_t>(i);
  std::vector<float> expected(256), got(256);
  cpu::decode(codes.data(), 256, expected.data());
  cuda::decode(codes.data(), 256, got.data(), nullptr);
  equal("decode", expected, got);
}

void test_residual() {
  Random random(3);
  for (const std::int64_t n : {0, 1, 255, 1000}) {
    const std::vector<bf16> x = random_bits<bf16>(random, n), y = random_bits<bf16>(random, n);
    std::vector<bf16> expected(x.size()), got(x.size());
    cpu::residual(x.data(), y.data(), x.size(), expected.data());
    cuda::residual(x.data(), y.data(), x.size(), got.data(), nullptr);
    equal("residual", expected, got);
    for (const std::uint16_t gate : {0x3F80, 0xBEC3, 0x8000, 0x7F80, 0xFFC1}) {
      const bf16 g{gate};
      cpu::gated_residual(x.data(), y.data(), &g, x.size(), expected.data());
      cuda::gated_residual(x.data(), y.data(), &g, x.size(), got.data(), nullptr);
      equal("gated_residual by " + std::to_string(gate), expected, got);
    }
  }
  const bf16 zero{0}, one{0x3F80};  // 0 + tanh(gate) * 1
  for (int i = 0; i < 1 << 16; i += 509) {
    const bf16 gate{static_cast<std::uint16_t>(i)};
    std::vector<bf16> expected(1), got(1);
    cpu::gated_residual(&zero, &one, &gate, 1, expected.data());
    cuda::gated_residual(&zero, &one, &gate, 1, got.data(), nullptr);
    equal("tanh of " + std::to_string(gate.bits), expected, got);
  }
}

}  // namespace

int main() {
  test_e4m3();
  test_residual();
  return finish("simt elementwise");
}
