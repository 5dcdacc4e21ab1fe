// SPDX-License-Identifier: Apache-2.0
// Two operations in one kernel: the bits of one after the other on the CPU, with and without what is between.
#include <limits>

#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"
#include "hostile.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

constexpr float kEps = 1e-5f;

struct Case {
  Rows kind;
  std::int64_t rows, cols;
  int offset;

  std::int64_t size() const { return rows * cols; }
  std::string name() const {
    return std::to_string(rows) + " x " + std::to_string(cols) + " rows " + std::to_string(static_cast<int>(kind));
  }
};

std::size_t scales_of(const Rule& rule, const Case& shape) {
  return static_cast<std::size_t>(rule.granularity == Granularity::tensor  ? 1
                                  : rule.granularity == Granularity::group ? shape.rows * ((shape.cols + 127) / 128)
                                                                           : shape.rows);
}

/// run(values or nullptr, codes, scales) against quantize of the values expected.
template <class Run>
void test_quantized(const std::string& what, const Case& shape, const Rule& rule, const std::vector<bf16>& values,
                    float given, const Run& run) {
  std::vector<e4m3> expected(values.size());
  std::vector<float> expected_scales(scales_of(rule, shape), given);
  cpu::quantize(values.data(), shape.rows, shape.cols, rule, expected.data(), expected_scales.data());
  for (const bool kept : {true, false}) {
    Placed<bf16> between(shape.size(), shape.offset);
    Placed<e4m3> codes(shape.size(), shape.offset);
    std::vector<float> scales(expected_scales.size(), given);
    run(kept ? between.data() : nullptr, codes.data(), scales.data());
    const std::string name = what + " " + std::string(rule.name) + " " + shape.name();
    equal(name, expected, codes.values());
    equal(name + ": scales", expected_scales, scales);
    if (kept) equal(name + ": between", values, between.values());
  }
}

void test_quantizes(const Case& shape) {
  Random random(static_cast<std::uint64_t>(shape.cols));
  Placed<bf16> x(hostile<bf16>(random, shape.kind, shape.rows, shape.cols), shape.offset);
  Placed<bf16> y(hostile<bf16>(random, Rows::special, shape.rows, shape.cols), shape.offset);
  Placed<bf16> weights(hostile<bf16>(random, Rows::normal, 1, shape.cols), 0);
  std::vector<bf16> normed(static_cast<std::size_t>(shape.size())), product(normed);
  const bf16* weight = shape.rows % 2 == 0 ? nullptr : weights.data();
  cpu::rmsnorm(x.data(), weight, shape.rows, shape.cols, kEps, normed.data());
  cpu::silu_mul(x.data(), y.data(), normed.size(), product.data());
  for (const char* name : {"vllm.per_token", "fbgemm.per_row_torch", "vllm.per_tensor_static",
                           "transformer_engine.delayed", "vllm.group_128", "compressed_tensors.tensor"}) {
    const Rule& rule = *find_rule(name);
    const float given = shape.kind == Rows::zero ? -std::numeric_limits<float>::quiet_NaN() : 0.03f;
    test_quantized("rmsnorm_quantize", shape, rule, normed, given, [&](bf16* between, e4m3* codes, float* scales) {
      cuda::rmsnorm_quantize(x.data(), weight, shape.rows, shape.cols, kEps, rule, between, codes, scales, nullptr);
    });
    test_quantized("silu_mul_quantize", shape, rule, product, given, [&](bf16* between, e4m3* codes, float* scales) {
      cuda::silu_mul_quantize(x.data(), y.data(), shape.rows, shape.cols, rule, between, codes, scales, nullptr);
    });
  }
}

void test_residual_rmsnorm(const Case& shape) {
  Random random(static_cast<std::uint64_t>(shape.cols));
  Placed<bf16> x(hostile<bf16>(random, shape.kind, shape.rows, shape.cols), shape.offset);
  Placed<bf16> y(hostile<bf16>(random, shape.kind, shape.rows, shape.cols), shape.offset);
  Placed<bf16> weights(hostile<bf16>(random, Rows::normal, 1, shape.cols), 0), normed(shape.size(), shape.offset);
  const bf16* weight = shape.rows % 2 == 0 ? nullptr : weights.data();
  std::vector<bf16> sum(static_cast<std::size_t>(shape.size())), expected(sum);
  cpu::residual(x.data(), y.data(), sum.size(), sum.data());
  cpu::rmsnorm(sum.data(), weight, shape.rows, shape.cols, kEps, expected.data());
  // The sum in the place of x, as a residual stream has it.
  cuda::residual_rmsnorm(x.data(), y.data(), weight, shape.rows, shape.cols, kEps, x.data(), normed.data(), nullptr);
  equal("residual_rmsnorm " + shape.name() + ": sum", sum, x.values());
  equal("residual_rmsnorm " + shape.name(), expected, normed.values());
}

/// The sum of a residual stream is a midpoint of fp32: the exact sum reads what the kernel has written.
void test_open_bracket() {
  Placed<bf16> x(8 * 40, 0), y(8 * 40, 0), normed(8 * 40, 0);
  x.data()[0] = y.data()[0] = rnbf(2048.0f);
  x.data()[319] = rnbf(1.0f);
  std::vector<bf16> sum(320), expected(320);
  cpu::residual(x.data(), y.data(), 320, sum.data());
  cpu::rmsnorm(sum.data(), nullptr, 1, 320, kEps, expected.data());
  cuda::residual_rmsnorm(x.data(), y.data(), nullptr, 1, 320, kEps, x.data(), normed.data(), nullptr);
  equal("residual_rmsnorm of a midpoint", expected, normed.values());
}

}  // namespace

int main() {
  in_both_orders([] {
    for (const Rows kind : kAllRows) {
      for (const Case& shape : {Case{kind, 5, 256, 0}, {kind, 2, 1032, 0}, {kind, 2, 77, 0}, {kind, 3, 64, 1}}) {
        test_quantizes(shape);
        test_residual_rmsnorm(shape);
      }
    }
    test_quantizes({Rows::normal, 0, 64, 0});
    test_residual_rmsnorm({Rows::normal, 0, 64, 0});
    test_residual_rmsnorm({Rows::normal, 1, 4096, 0});
    test_open_bracket();
  });
  return finish("simt fused");
}
