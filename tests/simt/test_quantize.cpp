// SPDX-License-Identifier: Apache-2.0
// quantize by every rule, and dequantize.
#include <limits>

#include "cuda/quantize.h"
#include "fp8ref/cpu.h"
#include "fp8ref/cuda.h"
#include "hostile.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

std::size_t scales_of(Granularity granularity, std::int64_t rows, std::int64_t cols) {
  const std::int64_t across = (cols + 127) / 128;
  switch (granularity) {
    case Granularity::row:
      return static_cast<std::size_t>(rows);
    case Granularity::tensor:
      return 1;
    case Granularity::group:
      return static_cast<std::size_t>(rows * across);
    case Granularity::block:
      return static_cast<std::size_t>((rows + 127) / 128 * across);
  }
  return 0;
}

struct Shape {
  std::int64_t rows, cols;
  int offset;
};

/// given: for rules whose scale is the caller's.
template <class T>
void compare_quantize(const std::string& type, const Rule& rule, const T* x, Shape shape, float given, float upper,
                      const std::string& rows) {
  const std::int64_t n = shape.rows * shape.cols;
  const std::size_t scales = scales_of(rule.granularity, shape.rows, shape.cols);
  std::vector<e4m3> expected(static_cast<std::size_t>(n));
  Placed<e4m3> got(n, shape.offset);
  std::vector<float> expected_scales(scales, given), got_scales(scales, given);
  cpu::quantize(x, shape.rows, shape.cols, rule, expected.data(), expected_scales.data(), upper);
  cuda::quantize(x, shape.rows, shape.cols, rule, got.data(), got_scales.data(), upper, nullptr);
  const std::string what = std::string(rule.name) + " " + type + " " + std::to_string(shape.rows) + " x " +
                           std::to_string(shape.cols) + " + " + std::to_string(shape.offset) + " rows " + rows;
  equal(what, expected, got.values());
  equal(what + ": scales", expected_scales, got_scales);
}

template <class T>
void test_rule(const std::string& type, const Rule& rule, Rows kind, Shape shape, float given, float upper) {
  Random random(static_cast<std::uint64_t>(shape.rows * 7919 + shape.cols) + static_cast<std::uint64_t>(kind));
  Placed<T> x(hostile<T>(random, kind, shape.rows, shape.cols), shape.offset);
  compare_quantize(type, rule, x.data(), shape, given, upper, std::to_string(static_cast<int>(kind)));
}

/// Every rule with every kind of rows; the shapes take turns.
template <class T>
void test_all_rules(const std::string& type) {
  constexpr Shape kShapes[] = {{3, 384, 0}, {2, 130, 0}, {2, 264, 1}, {3, 1, 0}, {2, 136, 0}};
  std::size_t turn = 0;
  for (const Rule& rule : kRules) {
    for (const Rows kind : kAllRows) {
      test_rule<T>(type, rule, kind, kShapes[turn++ % 5], 0.0078125f, rule.bound == Bound::none ? kInf : 1.5f);
    }
    for (const Shape& shape : {Shape{0, 128, 0}, {1, 8, 0}}) test_rule<T>(type, rule, Rows::normal, shape, 0.3f, kInf);
  }
}

/// Shapes that reach every path once: more than one block, rows of a block, rows that do not fit, several tiles.
template <class T>
void test_shapes(const std::string& type) {
  for (const char* name : {"vllm.per_token", "vllm.per_tensor", "compressed_tensors.tensor",
                           "transformer_engine.delayed", "autofp8.per_tensor_static", "deepgemm.group_128_ue8m0",
                           "deepgemm.block_128x128", "compressed_tensors.block_128x128", "torchao.train_row_pow2"}) {
    const Rule& rule = *find_rule(name);
    for (const Shape& shape : {Shape{2, 2048, 0}, {1, 33000, 0}, {140, 136, 0}, {129, 5, 0}, {20, 512, 0}}) {
      test_rule<T>(type, rule, Rows::special, shape, shape.rows == 1 ? 3.0f : kNan, kInf);
    }
  }
}

/// The ends of the search: of several rows one improves late, of zeros none does.
void test_search() {
  const Rule& rows = *find_rule("llm_compressor.mse_channel");
  const Rule& all = *find_rule("llm_compressor.mse_tensor");
  for (const Shape& shape : {Shape{2, 500, 0}, {1, 9000, 0}}) {
    for (const Rows kind : {Rows::normal, Rows::zero, Rows::one_nan}) {
      test_rule<bf16>("bf16", rows, kind, shape, 1.0f, kInf);
      test_rule<fp16>("fp16", all, kind, shape, 1.0f, kInf);
    }
  }
  test_rule<float>("float", rows, Rows::normal, {2, 100, 0}, 1.0f, kInf);
  // With 448 in the row, 226.6 comes near to a number of E4M3 again in step 5, when four steps did not improve; 225
  // does so in step 6, too late.
  for (const float value : {226.6f, 225.0f}) {
    std::vector<float> x(9000, value);
    x[0] = 448;
    compare_quantize("float", rows, x.data(), {1, 9000, 0}, 1.0f, kInf, "late");
  }
}

template <class Out>
void test_dequantize(OutDtype type, Shape shape, std::int64_t tile_rows, std::int64_t tile_cols) {
  Random random(9);
  const std::int64_t n = shape.rows * shape.cols;
  const std::int64_t tiles = ((shape.rows + tile_rows - 1) / tile_rows) * ((shape.cols + tile_cols - 1) / tile_cols);
  Placed<e4m3> codes(random_bits<e4m3>(random, n), shape.offset);
  const std::vector<float> scales = hostile<float>(random, Rows::special, 1, tiles);
  const TileScales view{scales.data(), tile_rows, tile_cols};
  Placed<Out> got(n, 0);
  std::vector<Out> expected(static_cast<std::size_t>(n));
  cpu::dequantize(codes.data(), shape.rows, shape.cols, view, type, expected.data());
  cuda::dequantize(codes.data(), shape.rows, shape.cols, view, type, got.data(), nullptr);
  equal("dequantize", expected, got.values());
}

void test_dequantizes() {
  for (const Shape& shape : {Shape{3, 256, 0}, {130, 136, 0}, {3, 77, 0}, {2, 64, 1}, {0, 8, 0}, {1, 5000, 0}}) {
    for (const std::int64_t tile_rows : {1, 128, 1000}) {
      for (const std::int64_t tile_cols : {1, 128, 10000}) {
        test_dequantize<float>(OutDtype::float32, shape, tile_rows, tile_cols);
        test_dequantize<bf16>(OutDtype::bfloat16, shape, tile_rows, tile_cols);
        test_dequantize<fp16>(OutDtype::float16, shape, tile_rows, tile_cols);
        test_dequantize<e4m3>(OutDtype::float8_e4m3fn, shape, tile_rows, tile_cols);
      }
    }
  }
}

/// quotient_of against the division, by their codes: any numbers, multiples of E4M3's midpoints and their neighbours.
void test_quotients() {
  Random random(10);
  const Rule& rule = *find_rule("autofp8.per_tensor_static");
  for (int i = 0; i < 400000; ++i) {
    const float s = std::fabs(random_number<float>(random, -70, 70));
    const cuda::Divisor divisor = cuda::divisor_of(rule, s);
    float x = from_bits<float>(random());
    if (i % 4 != 0) x = s * random_number<float>(random, -12, 10);
    if (i % 4 > 1) {
      const float midpoint = random_number<float>(random, -10, 9);
      x = s * from_bits<float>(bit_cast<std::uint32_t>(midpoint) & 0xFFF80000);
      x = from_bits<float>(bit_cast<std::uint32_t>(x) + static_cast<std::uint32_t>(random() % 3) - 1);
    }
    if (divisor.reciprocal == 0) continue;
    const e4m3 expected = encode(div32(x, s), Overflow::saturate);
    const e4m3 got = encode(cuda::quotient_of(x, divisor), Overflow::saturate);
    check(expected.bits == got.bits, "the quotient " + std::to_string(x) + " / " + std::to_string(s));
  }
}

template <class T>
void test_type(const std::string& type) {
  test_all_rules<T>(type);
  test_shapes<T>(type);
}

}  // namespace

int main() {
  test_quotients();
  test_type<float>("float");
  test_type<bf16>("bf16");
  test_type<fp16>("fp16");
  simt::set_order(simt::Order::descending);
  test_shapes<bf16>("bf16");
  test_search();
  simt::set_order(simt::Order::ascending);
  test_dequantizes();
  return finish("simt quantize");
}
